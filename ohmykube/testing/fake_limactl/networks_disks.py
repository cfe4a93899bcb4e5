"""The verbs of the fake limactl for what instances share: networks and disks."""

from __future__ import annotations

import ipaddress
import json
import shutil
from typing import TYPE_CHECKING, TextIO

from ohmykube.testing.fake_limactl import lima_yaml
from ohmykube.testing.fake_limactl.faults import Fault
from ohmykube.testing.fake_limactl.log import Fatal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ohmykube.testing.fake_limactl.lima_home import Home


def network_list(home: Home, out: TextIO) -> None:
    """`network list --json`."""
    for name, network in sorted(home.networks().items()):
        named = {"name": name, **network} if home.profile.networks_named else network
        out.write(json.dumps(named, separators=(",", ":")) + "\n")


def network_create(home: Home, name: str, *, gateway: str, mode: str) -> None:
    """`network create`."""
    networks = home.networks()
    if name in networks:
        raise Fatal(f"network {home.profile.quote(name)} already exists")
    quote = home.profile.quote
    if not gateway:
        raise Fatal(f"network mode {quote(mode)} requires specifying gateway")
    try:
        interface = ipaddress.ip_interface(gateway)
    except ValueError as error:
        raise Fatal(
            f"failed to parse CIDR {quote(gateway)}: invalid CIDR address: {gateway}"
        ) from error
    networks[name] = {
        "mode": mode,
        "gateway": str(interface.ip),
        "netmask": str(interface.network.netmask),
    }
    home.write_networks(networks)


def network_delete(home: Home, names: Sequence[str], *, force: bool) -> None:
    """`network delete`: used or not, there or not."""
    if not force:
        raise Fatal("`limactl network delete` currently always requires `--force`")
    networks = home.networks()
    home.write_networks({k: v for k, v in networks.items() if k not in names})


def _disk(home: Home, name: str) -> Path:
    return home.root / "_disks" / name


def _user(directory: Path) -> Path | None:
    link = directory / "in_use_by"
    return link.readlink() if link.is_symlink() else None


def disk_create(home: Home, name: str, *, size: str, kind: str) -> None:
    """`disk create`: a file that says how large it is."""
    quote = home.profile.quote
    home.check_name(name, "")
    if kind not in ("qcow2", "raw"):
        raise Fatal(f'disk format {quote(kind)} not supported, use "qcow2" or "raw" instead')
    directory = _disk(home, name)
    if directory.exists():
        raise Fatal(f"disk {quote(name)} already exists ({quote(directory)})")
    value = lima_yaml.size(size)
    home.output.info(f"Creating {kind} disk {quote(name)} with size {lima_yaml.size_text(value)}")
    if home.fault(Fault.NO_SPACE, name):
        raise Fatal(f"failed to create disk: write {directory}: no space left on device")
    directory.mkdir(parents=True)
    (directory / "datadisk").write_text(json.dumps({"size": value, "format": "qcow2"}))


def disk_list(home: Home, out: TextIO) -> None:
    """`disk list --json`."""
    for path in sorted((home.root / "_disks").glob("*/datadisk")):
        user = _user(path.parent)
        entry = {
            "name": path.parent.name,
            **json.loads(path.read_text()),
            "dir": str(path.parent),
            "instance": user.name if user else "",
            "instanceDir": str(user or ""),
            "mountPoint": f"/mnt/lima-{path.parent.name}",
        }
        out.write(json.dumps(entry, separators=(",", ":")) + "\n")


def disk_delete(home: Home, names: Sequence[str], *, force: bool) -> None:
    """`disk delete`."""
    quote = home.profile.quote
    for name in names:
        directory = _disk(home, name)
        if not directory.exists():
            home.output.warning(f"Ignoring non-existent disk {quote(name)}")
            continue
        user = _user(directory)
        if user and not force:
            raise Fatal(f"cannot delete disk {quote(name)} in use by instance {quote(user.name)}")
        if not force and _referred(home, name):
            continue
        shutil.rmtree(directory)
        home.output.info(f"Deleted {quote(name)} ({quote(directory)})")


def _referred(home: Home, name: str) -> bool:
    quote = home.profile.quote
    for instance in home.names():
        found = home.inspect(instance)
        if found is None:
            home.trip()
        elif name in _disk_names((found.config or {}).get("additionalDisks", [])):
            home.output.warning(
                f"Skipping deleting disk {quote(name)}, disk is referenced by one or more "
                f"non-running instances: [{quote(instance)}]"
            )
            home.output.warning(
                f"To delete anyway, run {quote(f'limactl disk delete --force {name}')}"
            )
            return True
    return False


def _disk_names(disks: Sequence[object]) -> list[object]:
    return [one["name"] if isinstance(one, dict) else one for one in disks]


def disk_resize(home: Home, name: str, *, size: str) -> None:
    """`disk resize`: only larger."""
    quote = home.profile.quote
    directory = _disk(home, name)
    if not directory.exists():
        raise Fatal(f"disk {quote(name)} does not exists")
    disk = json.loads((directory / "datadisk").read_text())
    value = lima_yaml.size(size)
    if value < disk["size"]:
        raise Fatal(
            f"specified size {quote(lima_yaml.size_text(value))} is less than the current disk "
            f"size {quote(lima_yaml.size_text(disk['size']))}. "
            "Disk shrinking is currently unavailable"
        )
    user = _user(directory)
    found = home.inspect(user.name) if user else None
    if user and found and found.status == "Running":
        raise Fatal(
            f"cannot resize disk {quote(name)} used by running instance {quote(user.name)}. "
            "Please stop the VM instance"
        )
    (directory / "datadisk").write_text(json.dumps({**disk, "size": value}))
    home.output.info(f"Resized disk {quote(name)} ({quote(directory)})")


def disk_unlock(home: Home, names: Sequence[str]) -> None:
    """`disk unlock`."""
    quote = home.profile.quote
    for name in names:
        directory = _disk(home, name)
        if not directory.exists():
            home.output.warning(f"Ignoring non-existent disk {quote(name)}")
            continue
        user = _user(directory)
        if user is None:
            home.output.warning(f"Ignoring unlocked disk {quote(name)}")
            continue
        found = home.inspect(user.name)
        if found and found.status == "Running":
            home.output.warning(
                f"Cannot unlock disk {quote(name)} used by running instance {quote(user.name)}"
            )
            continue
        (directory / "in_use_by").unlink()
        home.output.info(f"Unlocked disk {quote(name)} ({quote(directory)})")
