"""Templates: instances that the collection prepared, stopped and without identity, to be cloned.

A template is an instance under a name of its own, made by moving the prepared machine's directory:
one step, before which there is the machine and after which there is the template.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from ohmykube.errors import NotFoundError, ProviderError
from ohmykube.kit import files, process
from ohmykube.providers import template_file
from ohmykube.providers.base import NO_TEMPLATE
from ohmykube.providers.lima import marker
from ohmykube.providers.lima.marker import TEMPLATE, Marker

if TYPE_CHECKING:
    from pathlib import Path

    from ohmykube.model.machine import SshTarget
    from ohmykube.providers.base import NewTemplate, Template
    from ohmykube.providers.lima.guest_shell import Guest
    from ohmykube.providers.lima.lima_home import Home
    from ohmykube.providers.lima.limactl import Limactl

SCHEMA = 1
"""Raised when a template of before cannot be cloned by the code below."""
DISK_GIB = 10
"""Of the machines that become templates: a clone's disk is at least as large."""
_FILE = "ohmykube-template.json"
_FLATTEN_SECONDS = 1800

STRIP = """
set -eu
systemctl stop kubelet containerd 2>/dev/null || true
cd /var/lib/containerd 2>/dev/null && rm -rf io.containerd.grpc.v1.introspection tmpmounts/* \\
  io.containerd.content.v1.content/ingest/* || true
: >/etc/machine-id
rm -f /var/lib/dbus/machine-id /var/lib/systemd/random-seed
rm -rf /var/tmp/* /etc/ohmykube
for home in /root /home/*; do rm -rf "$home/.ansible" "$home/.cache"; done
find /var/log -type f -delete
fstrim --all 2>/dev/null || true
sync
"""
"""What makes a machine itself: two clones with one machine id would be one node to many programs.
Host keys are no part of it, for cloud-init makes new ones at each boot."""


class Flatten(Protocol):
    """Makes the disk of a stopped instance independent of all other files."""

    def __call__(self, directory: Path) -> None:
        """Do it; without effect on one that is."""
        ...


def flatten(directory: Path) -> None:
    """Copy what a disk has from another file into it: up to Lima 2.0 a clone's disk needs both.

    Raises:
        ProviderError: it could not be done.
    """
    disk = directory / "diffdisk"
    if not disk.is_file():
        return  # from 2.1 on there is one file, which stands alone
    try:
        told = process.run(["qemu-img", "info", "--output=json", str(disk)], timeout=60).stdout
        if "backing-filename" in json.loads(told):
            argv = ["qemu-img", "rebase", "-f", "qcow2", "-b", "", str(disk)]
            process.run(argv, timeout=_FLATTEN_SECONDS)
    except (process.CommandFailed, ValueError) as error:
        raise ProviderError(
            f"the disk {disk} could not be made to stand alone",
            why=str(error),
            hint="ohmykube up --template never",
            id="OMK-P-561",
        ) from error


def instance_of(key: str) -> str:
    """Return the instance of a template."""
    return f"template-{hashlib.sha256(key.encode()).hexdigest()[:16]}"


class TemplateStore:
    """The templates of one home."""

    def __init__(self, home: Home, limactl: Limactl, flat: Flatten = flatten) -> None:
        self._home = home
        self._limactl = limactl
        self._flatten = flat

    def all(self) -> list[Template]:
        """Return the templates, sorted by key."""
        owned = marker.owned(self._home)
        names = [name for name, whose in owned.items() if not whose.cluster]
        found = (self._read(self._home.directory(name)) for name in names)
        return sorted((one for one in found if one is not None), key=lambda one: one.key)

    def find(self, key: str) -> Template | None:
        """Return a template; None when there is none."""
        return next((one for one in self.all() if one.key == key), None)

    def need(self, key: str) -> Marker:
        """Return the mark of a template.

        Raises:
            NotFoundError: there is none.
        """
        whose = marker.owner(self._home, instance_of(key))
        if whose is None or self.find(key) is None:
            raise _absent(key)
        return whose

    def _read(self, directory: Path) -> Template | None:
        def size() -> int:
            entries = os.scandir(directory)
            return 512 * sum(entry.stat(follow_symlinks=False).st_blocks for entry in entries)

        def is_place(key: str) -> bool:
            return instance_of(key) == directory.name

        return template_file.read(directory / _FILE, SCHEMA, is_place=is_place, size=size)

    def strip(self, ask: Guest, target: SshTarget) -> None:
        """Take off a running machine what makes it itself; it is good for nothing but a template.

        Raises:
            ProviderError: it could not be done.
        """
        ask(target, ["sh", "-c", STRIP])

    def keep(self, whose: Marker, new: NewTemplate) -> None:
        """Make a stopped machine a template; the home is held alone.

        Raises:
            ProviderError: its disk cannot stand alone.
        """
        name, directory = instance_of(new.key), self._home.directory(whose.instance)
        self._flatten(directory)
        # The network of a build goes with it, and limactl wants the networks of all there are.
        self._limactl.edit(whose.instance, ".networks = []")
        template_file.write(directory / _FILE, SCHEMA, new)
        mark = Marker(instance=name, cluster="", node=TEMPLATE, id=whose.id, origin=whose.origin)
        marker.claim(self._home, mark)
        directory.rename(self._home.directory(name))
        files.sync_directory(self._home.root)
        marker.write(self._home.directory(name), replace(mark, complete=True))
        marker.drop_claim(self._home, name)

    def cloned(self, key: str) -> None:
        """Remember that a template was used."""
        template_file.used(self._home.directory(instance_of(key)) / _FILE)


def _absent(key: str) -> NotFoundError:
    return NotFoundError(
        f"there is no template {key}",
        why="it was removed meanwhile, or was made in another home of Lima",
        hint="the same command again, or ohmykube template list",
        id=NO_TEMPLATE,
    )
