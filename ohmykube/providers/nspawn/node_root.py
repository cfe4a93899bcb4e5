"""A node's root: an overlay over the base image, and the files that make it this node."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING

from ohmykube.kit import files
from ohmykube.providers.nspawn import uplink_rules
from ohmykube.providers.nspawn.host_system import run_checked, run_deletion

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ohmykube.providers.nspawn.host_system import HostSystem
    from ohmykube.providers.nspawn.layout import NodeFiles
    from ohmykube.providers.nspawn.records import MachineRecord


def mounts_below(host: HostSystem, path: Path) -> list[str]:
    """Return mount points at and below ``path``, the last mounted first."""
    prefix = str(path)
    points = [point for point, _, _ in host.mounts()]
    return [p for p in reversed(points) if p == prefix or p.startswith(prefix + "/")]


def mount(host: HostSystem, node: NodeFiles, layers: Sequence[Path]) -> None:
    """Mount the node's root over ``layers``, the uppermost first; without effect when it is."""
    for directory in (node.upper, node.work, node.root, *(source for source, _ in node.binds)):
        files.ensure_directory(directory, mode=0o755)
    if mounts_below(host, node.root):
        return
    lower = ":".join(_escaped(layer) for layer in layers)
    options = f"lowerdir={lower},upperdir={_escaped(node.upper)},workdir={_escaped(node.work)}"
    what = f"mount the root of node {node.root_dir.name}"
    run_checked(host, what, ["mount", "-t", "overlay", "overlay", "-o", options, str(node.root)])


def empty(node: NodeFiles) -> None:
    """Remove what an earlier try to make the node has left of its files. It must not be mounted."""
    own = (node.lower, node.upper, node.work, *(source for source, _ in node.binds))
    for directory in own:
        files.remove_tree(directory)


def _escaped(path: Path) -> str:
    # Overlayfs splits lower directories at colons and options at commas.
    text = str(path)
    for special in ("\\", ":", ","):
        text = text.replace(special, "\\" + special)
    return text


def unmount(host: HostSystem, node: NodeFiles) -> None:
    """Unmount everything at and below the node's root."""
    for point in mounts_below(host, node.root_dir):
        if host.commands.run(["umount", point], timeout=30, check=False).code != 0:
            unmount_lazily(host, point)


def unmount_lazily(host: HostSystem, point: str) -> None:
    """Take a mount out of the tree, in use or not; one that is gone is fine."""
    run_deletion(
        host,
        f"unmount {point}",
        ["umount", "--lazy", point],
        lambda: point in [mounted for mounted, _, _ in host.mounts()],
    )


def make_host_key(host: HostSystem, node: NodeFiles) -> str:
    """Make the node's ssh host key unless it is there; return the public one (type and key)."""
    public = make_key(host, node.host_key, node.root_dir.name)
    return " ".join(public.split()[:2])


def make_key(host: HostSystem, path: Path, comment: str) -> str:
    """Make an ed25519 key pair unless it is there; return the public file's text."""
    public = path.with_name(path.name + ".pub")
    if not public.exists():
        # ssh-keygen writes the public file last: without it the pair is half made.
        path.unlink(missing_ok=True)
        argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)]
        run_checked(host, f"make the key {path.name}", argv)
    return public.read_text()


def populate(node: NodeFiles, record: MachineRecord, authorized_key: str) -> None:
    """Write the files that differ from node to node; repeatable until the node is complete."""
    root = node.root
    marker = {"schema": 1, "cluster": record.cluster, "node": record.node, "id": record.id}
    _put(root / "etc/ohmykube/machine.json", json.dumps(marker) + "\n")
    _put(root / "etc/hostname", record.node + "\n")
    names = f"127.0.0.1 localhost\n::1 localhost ip6-localhost\n{record.address} {record.node}\n"
    _put(root / "etc/hosts", names)
    if not (root / "etc/machine-id").exists():
        _put(root / "etc/machine-id", uuid.uuid4().hex + "\n", 0o444)
    for directory in ("root/.ssh", "var/lib/ohmykube"):
        files.ensure_directory(root / directory, mode=0o700)
    _put(root / "root/.ssh/authorized_keys", authorized_key, 0o600)
    public = node.host_key.with_name(node.host_key.name + ".pub")
    _put(root / "etc/ssh/ssh_host_ed25519_key", node.host_key.read_text(), 0o600)
    _put(root / "etc/ssh/ssh_host_ed25519_key.pub", public.read_text())


def set_resolver(node: NodeFiles, server: str, search: tuple[str, ...]) -> None:
    """Let a node whose root is mounted ask the cluster's resolver, with these search domains."""
    path, text = node.root / "etc/resolv.conf", uplink_rules.node_resolv_conf(server, search)
    if not path.parent.is_dir() or (path.is_file() and path.read_text() == text):
        return
    _put(path, text)


def _put(path: Path, text: str, mode: int = 0o644) -> None:
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(text)
    path.chmod(mode)
