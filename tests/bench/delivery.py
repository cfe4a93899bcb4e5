"""Images to a node, against the peers' ways re-enacted on the same node with the same files.

    scp and import         one OCI archive, `scp`, `ctr images import`, `rm`
    kind, k3d              one archive with raw layers, streamed into `ctr images import -`
    minikube, kubespray    an archive with raw layers for each image, one by one: scp, import, rm

Every way starts from files on this host's disk and ends when containerd has unpacked the images.
What a cluster's own pods do meanwhile is the same for all. Ours finds the images repacked, as a
load to several nodes leaves them; what that costs, and a load without it, are measured beside it.
"""

from __future__ import annotations

import shlex
import subprocess
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import image_set

from ohmykube.cache import oci, repack
from ohmykube.kit import paths
from ohmykube.progress import NullReporter
from ohmykube.steps import wanted_images
from ohmykube.steps.context import Services
from ohmykube.steps.deliver_images import deliver_images
from ohmykube.steps.probe_nodes import probe_nodes
from ohmykube.steps.wanted_images import union
from ohmykube.workflows import session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from figures import Figures
    from image_set import Image, ImageSet

    from ohmykube.cache.store import Ref

CTR = "ctr -n k8s.io"
CHANGED_MIB = 10
LIMITS = {
    "load_cold_to_scp_import": 1 / 2.0,
    "load_cold_to_kind": 1 / 2.5,
    "load_cold_to_minikube": 1 / 5.0,
    "load_changed_to_full": 0.2,
    "load_changed_wire_to_missing": 1.01,
    "load_unchanged_seconds": 0.3,
    "load_unchanged_bytes": 0.0,
}


@dataclass(frozen=True)
class Node:
    """A running cluster's only node."""

    cluster: str
    name: str
    ssh_config: Path
    services: Services
    names: frozenset[str] = frozenset()
    """Images that it had before any round."""
    kept: frozenset[str] = frozenset()
    """Blobs and committed snapshots that it had before any round."""

    def run(self, command: str, stdin: Path | None = None) -> str:
        """Run a command on the node, over a connection of its own."""
        argv = ["ssh", "-F", str(self.ssh_config), "-o", "ControlPath=none", self.name, command]
        with (stdin or Path("/dev/null")).open("rb") as stream:
            done = subprocess.run(argv, stdin=stream, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"{command}: {done.stderr[-2000:]}")
        return done.stdout

    def send(self, path: Path, target: str) -> None:
        """Copy a file to the node with scp."""
        argv = ["scp", "-q", "-F", str(self.ssh_config), "-o", "ControlPath=none", str(path)]
        subprocess.run([*argv, f"{self.name}:{target}"], check=True)


def node_of(cluster: str, home: Path) -> Node:
    """Return the node of a cluster whose state is below ``home``."""
    places = paths.from_environment({"OHMYKUBE_HOME": str(home)})
    services = Services(paths=places, reporter=NullReporter())
    _, described = session.recorded(services, cluster)
    directory = services.state.directory(cluster)
    node = Node(cluster, described.nodes[0].name, directory / "ssh_config", services)
    return replace(node, names=_names(node), kept=_kept(node))


def measure(figures: Figures, node: Node, made: ImageSet) -> None:
    """One round of all ways; the node ends as it began."""
    refs = [image.ref for image in made.images]
    if not repack.known(made.store):
        _cold(figures, node, made, "load_gzip_seconds")
    begin = time.monotonic()
    if repack.make(made.store, repack.plan(made.store, refs)):
        figures.add("repack_seconds", time.monotonic() - begin)
    cold = _cold(figures, node, made, "load_cold_seconds")
    again, sent = deliver(node, made, refs)
    figures.add("load_unchanged_seconds", again)
    figures.add("load_unchanged_bytes", sent)
    _changed(figures, node, made, cold)
    wipe(node)

    peers: dict[str, Callable[[], object]] = {
        "scp_import": lambda: scp_and_import(node, [made.oci_archive]),
        "kind": lambda: stream(node, made.raw_archive),
        "minikube": lambda: scp_and_import(node, made.raw_archives()),
    }
    for name, way in peers.items():
        begin = time.monotonic()
        way()
        seconds = time.monotonic() - begin
        figures.add(f"load_{name}_seconds", seconds)
        figures.add(f"load_cold_to_{name}", cold / seconds)
        _check(node, made.images)
        wipe(node)


def _cold(figures: Figures, node: Node, made: ImageSet, name: str) -> float:
    """Load all images on a node that has none of them; return the seconds."""
    refs = [image.ref for image in made.images]
    wipe(node)
    nothing: frozenset[str] = frozenset()
    wanted = wanted_images.wanted_of(made.store, refs)
    size = sum(union(w.cheapest(nothing).lacking(nothing) for w in wanted).values())
    cold, sent = deliver(node, made, refs)
    if sent < size:
        raise SystemExit(f"the node was not wiped: {sent} of {size} bytes were sent")
    figures.add(name, cold)
    return cold


def _changed(figures: Figures, node: Node, made: ImageSet, cold: float) -> None:
    before = made.images[0]
    after = image_set.changed(made, CHANGED_MIB)
    seconds, sent = deliver(node, made, [after.ref])
    figures.add("load_changed_seconds", seconds)
    figures.add("load_changed_to_full", seconds / cold)
    figures.add("load_changed_wire_to_missing", sent / _missing(made, before, after))
    made.store.set_ref(before.ref)


def _missing(made: ImageSet, before: Image, after: Image) -> int:
    had = {blob.digest for blob in oci.image_blobs(made.store, before.ref.digest)}
    needs = oci.image_blobs(made.store, after.ref.digest)
    return sum(blob.size for blob in needs if blob.digest not in had)


def deliver(node: Node, made: ImageSet, refs: list[Ref]) -> tuple[float, int]:
    """Bring images as ``ohmykube image load`` does once they are in the cache.

    Returns seconds, the tunnel's opening included, and bytes sent.
    """
    _, cluster = session.recorded(node.services, node.cluster)
    with session.working(node.services, cluster) as ctx:
        probed = probe_nodes(ctx, [node.name])
        begin = time.monotonic()
        (done,) = deliver_images(ctx, probed, refs, made.store)
        seconds = time.monotonic() - begin
    if done.error is not None:
        raise done.error
    if done.delivered and done.way != "pull":
        raise SystemExit(f"images came by {done.way}, not by pull")
    return seconds, done.sent


def scp_and_import(node: Node, archives: Iterable[Path]) -> None:
    """Copy each archive to the node, import it and remove it."""
    for archive in archives:
        node.send(archive, "/root/bench.tar")
        node.run(f"{CTR} images import /root/bench.tar && rm /root/bench.tar")


def stream(node: Node, archive: Path) -> None:
    """Stream an archive into the node's containerd, with the flags that kind uses."""
    command = f"{CTR} images import --all-platforms --digests --snapshotter=overlayfs -"
    node.run(command, stdin=archive)


def wipe(node: Node) -> None:
    """Remove images with content and snapshots, until the node is as it was at first.

    The kubelet's side of containerd adds a name made of the config's digest, on its own time.
    """
    for _ in range(60):
        extra = sorted(_names(node) - node.names)
        if extra:
            node.run(f"{CTR} images rm --sync {shlex.join(extra)}")
        elif _kept(node) == node.kept:
            node.run("sync")
            return
        else:
            node.run(f"{CTR} content prune references >/dev/null; sleep 0.2")
    raise SystemExit(f"the node was not wiped: {sorted(_kept(node) - node.kept)}")


def _names(node: Node) -> frozenset[str]:
    return frozenset(node.run(f"{CTR} images ls -q").split())


def _kept(node: Node) -> frozenset[str]:
    committed = f"{CTR} snapshots ls | awk '$NF == \"Committed\" {{ print $1 }}'"
    return frozenset(node.run(f"{CTR} content ls -q; {committed}").split())


def _check(node: Node, images: Iterable[Image]) -> None:
    rows = node.run(f"{CTR} images check").splitlines()
    complete = {row.split()[0] for row in rows if " complete " in row and row.endswith("true")}
    missing = [image.ref.name for image in images if image.ref.name not in complete]
    if missing:
        raise SystemExit(f"not unpacked by a peer's way: {', '.join(missing)}")
