"""Additional raw disks: created, grown and removed with their machines, never shrunk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.providers.lima import names
from ohmykube.providers.lima.lima_yaml import GIB

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ohmykube.providers.lima.lima_home import Home
    from ohmykube.providers.lima.limactl import Limactl
    from ohmykube.providers.lima.limactl_output import Disk


class Disks:
    """The additional disks of one home; its holder holds it alone."""

    def __init__(self, home: Home, limactl: Limactl) -> None:
        self._home = home
        self._limactl = limactl

    def of(self, instance: str) -> list[Disk]:
        """Return the disks of an instance."""
        if not (self._home.root / "_disks").is_dir():
            return []
        return [d for d in self._limactl.disk_list() if names.is_disk_of(d.name, instance)]

    def ensure(self, instance: str, sizes: Sequence[int]) -> None:
        """Create missing disks, and grow those that are smaller than wanted (GiB)."""
        there = {disk.name: disk for disk in self.of(instance)} if sizes else {}
        for number, size in enumerate(sizes, 1):
            name = names.disk(instance, number)
            if name not in there:
                self._limactl.disk_create(name, size * GIB, kind="raw")
            elif there[name].size < size * GIB:
                self._limactl.disk_resize(name, size * GIB)

    def remove(self, instance: str) -> None:
        """Remove the disks of an instance that does not run."""
        for disk in self.of(instance):
            if disk.instance:
                self._limactl.disk_unlock(disk.name)
            self._limactl.disk_delete(disk.name, force=True)
