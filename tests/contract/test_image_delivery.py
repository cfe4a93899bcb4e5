"""Images on their way into a real containerd: every way there, and what can go wrong on it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING

import pytest
from ansible_collections.ohmykube.cluster.plugins.module_utils import pulls as role

from ohmykube.cache import manifest, oci, repack
from ohmykube.cache.archive import archive_reader, images
from ohmykube.cache.serve import Server
from ohmykube.cache.store import Ref, Store
from ohmykube.errors import IntegrityError, Interrupted, NodeError, UnreachableError
from ohmykube.kit import interrupt, paths, pipe, process, retry
from ohmykube.model.artifact import Kind
from ohmykube.steps import wanted_images
from ohmykube.steps.context import Services
from ohmykube.steps.deliver_to_node import Access, Delivery, NodeDelivery
from ohmykube.steps.node_images import NodeImages, Survey
from ohmykube.testing.reporter import RecordingReporter
from tests import image_maker
from tests.contract.own_containerd import TOKEN, Containerd
from tests.contract.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

pytestmark = pytest.mark.nodes

APP = "docker.io/library/app:dev"
OTHER = "docker.io/library/other:dev"
HOSTS = """\
[host."http://127.0.0.1:{port}"]
capabilities = ["pull", "resolve"]
[host."http://127.0.0.1:{port}".header]
Authorization = ["Bearer {token}"]
"""
FAR = """\
import os, subprocess, sys, threading
far = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, start_new_session=True)
def relay():
    while data := os.read(0, 65536):
        far.stdin.write(data)
    far.stdin.close()
threading.Thread(target=relay, daemon=True).start()
code = far.wait()
sys.stderr.flush()
os._exit(code)
"""


class LocalShell:
    """The node is this host, and its ``ctr`` speaks to the test's containerd."""

    node = "n1"

    def __init__(self, containerd: Containerd) -> None:
        wrapper = containerd.directory / "bin" / "ctr"
        wrapper.parent.mkdir()
        socket_file = containerd.directory / "c.sock"
        wrapper.write_text(
            f'#!/bin/sh\nexec {containerd.programs / "ctr"} --address {socket_file} "$@"\n'
        )
        wrapper.chmod(0o755)
        self._env = ["env", f"PATH={wrapper.parent}:{os.environ['PATH']}"]

    def __call__(self, argv: Sequence[str], stdin: str = "", timeout: float = 30) -> str:
        try:
            return process.run([*self._env, *argv], input=stdin, timeout=timeout).stdout
        except process.CommandFailed as error:
            raise NodeError("it failed", why=error.why) from error

    def feed(self, argv: Sequence[str], write: Callable[[IO[bytes]], None], timeout: float) -> None:
        try:
            pipe.feed([*self._env, *argv], write, timeout=timeout)
        except process.CommandFailed as error:
            raise NodeError("it failed", why=error.why) from error

    def hold(self, argv: Sequence[str], timeout: float) -> None:
        # As ssh without a terminal: of its end the far side sees the end of its input, no more.
        far = [sys.executable, "-c", FAR, *self._env, *argv]
        try:
            pipe.hold(far, timeout=timeout)
        except process.CommandFailed as error:
            raise NodeError("it failed", why=error.why) from error


class Link:
    """The tunnel to a node: what is wired through it can be refused, or cut until it is opened."""

    def __init__(self, wire: Wire) -> None:
        self.refuse = False
        self.opened = 0
        self._wire = wire
        wire.up = False

    def open(self, port: int) -> Link:
        self._wire.target = port
        return self

    def wait(self, _clock: object, _limit: object) -> None:
        if self.refuse:
            raise UnreachableError("no forwarding here")
        if not self._wire.up:
            self.opened += 1
        self._wire.up = True

    def close(self) -> None:
        self._wire.up = False


class Node:
    """A containerd, the way to it, and a store to fill it from."""

    def __init__(self, containerd: Containerd, directory: Path) -> None:
        self.store = Store(directory / "cache")
        self.wire = Wire(stays_cut=True)
        self.link = Link(self.wire)
        self.shell = LocalShell(containerd)
        self.certs = containerd.directory / "certs.d"
        self.images = NodeImages(self.shell, str(self.certs))
        root = paths.Paths(state=directory / "s", data=directory / "d", cache=directory / "cache")
        self.services = Services(paths=root, reporter=RecordingReporter())
        hosts = self.certs / "_default" / "hosts.toml"
        hosts.parent.mkdir(parents=True)
        hosts.write_text(HOSTS.format(port=self.wire.port, token=TOKEN))

    def ref(self, name: str, image: image_maker.Image) -> Ref:
        """Put an image into the store."""
        image.put(self.store)
        size = len(image.manifest) + sum(map(len, image.blobs.values()))
        ref = Ref(Kind.IMAGE, name, "dev", "amd64", image.digest, size, "load")
        self.store.set_ref(ref)
        return ref

    def bring(self, *refs: Ref, images: NodeImages | None = None) -> Delivery:
        delivery = Delivery("n1")
        access = Access(TOKEN, self.link.open)
        wanted = wanted_images.wanted_of(self.store, refs)
        with NodeDelivery(
            self.services, images or self.images, delivery, self.store, access
        ) as work:
            work.look(wanted)
            work.bring(wanted)
        return delivery

    def has(self, *refs: Ref) -> bool:
        survey = self.images.survey(TOKEN)
        return all(survey.has(ref.name, ref.digest) for ref in refs)


@pytest.fixture
def node(containerd: Containerd, tmp_path: Path) -> Iterator[Node]:
    made = Node(containerd, tmp_path)
    yield made
    made.wire.close()


def changed(image: image_maker.Image, seed: int) -> tuple[image_maker.Image, int]:
    """Return the image with another top layer, and the bytes that are new in it."""
    other = image_maker.with_layer(image, 50_000, seed)
    new = {d: b for d, b in other.blobs.items() if d not in image.blobs}
    return other, len(other.manifest) + sum(map(len, new.values()))


def test_only_what_is_missing_travels(node: Node) -> None:
    base = image_maker.image(3_000_000, 200_000)
    first = node.ref(APP, base)
    cold = node.bring(first)
    assert (cold.way, cold.delivered) == ("pull", [APP])
    assert first.size <= cold.sent <= first.size * 1.01
    assert node.has(first)

    image, new = changed(base, 2)
    second = node.ref(APP, image)
    warm = node.bring(second)
    assert new <= warm.sent <= new * 1.01
    assert warm.skipped == second.size - warm.sent
    assert node.has(second)
    assert not node.has(first)
    survey = node.images.survey()
    assert f"docker.io/library/app@{first.digest}" not in survey.images

    again = node.bring(second)
    assert (again.way, again.sent, again.delivered) == ("none", 0, [])
    assert node.link.opened == 2


class Watched(NodeImages):
    """A node that counts how often it is looked at at length."""

    surveys = 0

    def survey(self, token: str = "", references: Sequence[str] = ()) -> Survey:
        self.surveys += 1
        return super().survey(token, references)


def test_what_is_whole_is_seen_by_a_short_look(node: Node) -> None:
    images = Watched(node.shell, str(node.certs))
    refs = [
        node.ref(APP, image_maker.image(1000)),
        node.ref(OTHER, image_maker.image(3000, seed=3)),
    ]
    node.bring(*refs, images=images)
    assert images.surveys == 1, "that they have arrived is seen by a short look"
    again = node.bring(*refs, images=images)
    assert (again.way, again.sent, again.delivered) == ("none", 0, [])
    assert again.skipped == sum(ref.size for ref in refs)
    assert images.surveys == 1
    whole = {ref.name: ref.digest for ref in refs}
    assert images.held(whole).names == set(whole)
    assert images.held({APP: refs[1].digest}).names == set()

    node.shell(["ctr", "-n", "k8s.io", "images", "label", APP, "io.cri-containerd.pinned="])
    assert node.bring(refs[0], images=images).delivered == [APP], "it was not pinned any more"
    assert images.surveys == 2
    exact = f"docker.io/library/app@{refs[0].digest}"
    node.shell(["ctr", "-n", "k8s.io", "images", "rm", "--sync", APP, exact])
    assert node.bring(refs[0], images=images).delivered == [APP]
    assert images.surveys == 3
    assert node.has(*refs)


def test_a_layer_of_several_images_travels_once(node: Node) -> None:
    base = image_maker.image(4_000_000)
    made = [changed(base, seed)[0] for seed in (2, 3, 4)]
    refs = [node.ref(f"docker.io/library/app{n}:dev", image) for n, image in enumerate(made)]
    union = {d: len(b) for image in made for d, b in image.blobs.items()}
    total = sum(union.values()) + sum(len(image.manifest) for image in made)
    delivery = node.bring(*refs)
    assert node.has(*refs)
    assert total <= delivery.sent <= total * 1.01


@pytest.mark.parametrize("tag", ["dev", "other"])
def test_a_name_by_digest_that_a_tag_still_means_stays(node: Node, tag: str) -> None:
    base = image_maker.image(100_000)
    node.bring(node.ref(APP, base))
    also = f"docker.io/library/app:{tag}"
    node.bring(node.ref(also, base))
    node.bring(node.ref(APP, changed(base, 2)[0]))
    kept = f"docker.io/library/app@{base.digest}" in node.images.survey().images
    assert kept == (tag == "other")


def test_a_tunnel_lost_in_mid_blob_is_opened_again(node: Node) -> None:
    ref = node.ref(APP, image_maker.image(20_000_000))
    node.wire.cut_after = 8_000_000
    delivery = node.bring(ref)
    assert node.wire.cut_after == 0
    assert node.link.opened == 2
    # Whether it goes on in mid-blob is chance: containerd's collector runs when a pull has failed.
    assert (delivery.way, node.has(ref)) == ("pull", True)
    assert delivery.sent < 1.6 * ref.size


def pulls(node: Node) -> list[int]:
    """Return the processes that pull from the test's containerd, or wait for the pull's end."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if f"{node.certs}".encode() in entry.read_bytes():
                found.append(int(entry.parent.name))
    return found


def test_a_pull_that_is_stopped_in_mid_blob_leaves_nothing_that_hinders_the_next(
    node: Node,
) -> None:
    ref = node.ref(APP, image_maker.image(20_000_000))
    node.wire.stall_after = 8_000_000

    def stop() -> None:
        if node.wire.stalled.wait(60):
            interrupt.requested.set()

    stopper = threading.Thread(target=stop)
    stopper.start()
    try:
        with pytest.raises(Interrupted):
            node.bring(ref)
        stopper.join()
        interrupt.requested.clear()
        left = retry.Wait(seconds=60, every=0.1)
        retry.until(retry.SystemClock(), left, "no pull", lambda: not pulls(node) or None)
        assert node.bring(ref).way == "pull"
        assert node.has(ref)
        assert not pulls(node)
    finally:
        interrupt.requested.clear()
        node.wire.go_on.set()


def test_a_bit_flipped_on_the_way_ends_well(node: Node) -> None:
    ref = node.ref(APP, image_maker.image(5_000_000))
    node.wire.flip_after = 1_000_000
    delivery = node.bring(ref)
    assert node.wire.flip_after == 0
    assert node.has(ref)
    assert delivery.sent > ref.size


def test_a_bit_flipped_on_disk_is_not_sent(node: Node) -> None:
    image = image_maker.image(500_000)
    ref = node.ref(APP, image)
    for hosts in (True, False):
        if not hosts:
            image.put(node.store)
            shutil.rmtree(node.certs)
        path = node.store.path(image.layers[0])
        data = bytearray(path.read_bytes())
        data[1000] ^= 1
        path.unlink()
        path.write_bytes(data)
        with pytest.raises(IntegrityError):
            node.bring(ref)
        assert not node.has(ref)
        assert not node.store.has(image.layers[0])


class Collected(NodeImages):
    """The node's garbage collection comes right after somebody looked."""

    def __init__(self, node: Node, victim: str) -> None:
        super().__init__(node.shell, str(node.certs))
        self._node, self._victim = node, victim

    def survey(self, token: str = "", references: Sequence[str] = ()) -> Survey:
        found = super().survey(token)
        if self._victim in found.images:
            gone = [name for name in found.images if "library" in name]
            self._node.shell(["ctr", "-n", "k8s.io", "images", "rm", "--sync", *gone])
            assert not self._node.images.survey().content
        return found


@pytest.mark.parametrize("hosts", [True, False])
def test_blobs_that_are_collected_after_the_look_are_sent_after_all(
    node: Node, hosts: bool
) -> None:
    base = image_maker.image(2_000_000)
    node.bring(node.ref(OTHER, base))
    if not hosts:
        shutil.rmtree(node.certs)
    ref = node.ref(APP, changed(base, 2)[0])
    delivery = node.bring(ref, images=Collected(node, OTHER))
    assert node.has(ref)
    assert delivery.sent > ref.size - 1
    assert delivery.way == ("pull" if hosts else "stream")


def test_without_forwarding_an_archive_with_what_is_missing_is_streamed(node: Node) -> None:
    node.link.refuse = True
    base = image_maker.image(3_000_000, 200_000)
    first = node.ref(APP, base)
    cold = node.bring(first)
    assert (cold.way, cold.why) == ("stream", "sshd refuses the tunnel")
    assert node.has(first)
    image, new = changed(base, 2)
    second = node.ref(APP, image)
    warm = node.bring(second)
    assert node.has(second)
    assert new < warm.sent < new + 20_000
    assert node.bring(second).way == "none"


def test_a_registry_with_other_mirrors_is_not_asked_through_us(node: Node) -> None:
    own = node.certs / "docker.io" / "hosts.toml"
    own.parent.mkdir()
    own.write_text('[host."http://127.0.0.1:1"]\n')
    ref = node.ref(APP, image_maker.image(100_000))
    delivery = node.bring(ref)
    assert (delivery.way, delivery.why) == ("stream", "containerd does not ask us")
    assert node.has(ref)


def test_an_archive_that_docker_would_write_runs_its_way(node: Node, tmp_path: Path) -> None:
    if shutil.which("skopeo") is None:
        pytest.fail("needs skopeo") if os.environ.get("CI") == "true" else pytest.skip("no skopeo")
    layout, archive = tmp_path / "app.oci.tar", tmp_path / "app.tar"
    layout.write_bytes(image_maker.oci_archive(image_maker.image(300_000, 1000), APP))
    source, target = f"oci-archive:{layout}:{APP}", f"docker-archive:{archive}:app:dev"
    subprocess.run(["skopeo", "copy", "-q", source, target], check=True, timeout=60)
    with archive_reader.open_archive(archive, node.store) as contents:
        found = images.read_images(contents, node.store, "amd64")
        (ref,) = images.import_images(contents, found, node.store)
    assert ref.name == APP
    node.bring(ref)
    assert node.has(ref)
    # What containerd keeps, skopeo reads again: with the config's digest as the image's identity.
    shown = node.shell(["ctr", "-n", "k8s.io", "images", "export", "-", APP], timeout=60)
    assert shown


BIG = 3_000_000


def repacked(node: Node, image: image_maker.Image, name: str = APP) -> tuple[Ref, int]:
    """Return a reference, and the bytes that travel when its layers come repacked."""
    ref = node.ref(name, image)
    assert repack.make(node.store, repack.plan(node.store, [ref])) == 1
    digest = repack.known(node.store)[ref.digest]
    return ref, oci.image_size(node.store, digest) + len(image.manifest)


def test_repacked_layers_leave_the_image_with_its_own_digest(node: Node) -> None:
    image = image_maker.image(BIG, 400_000, 1000)
    ref, expected = repacked(node, image)
    images = Watched(node.shell, str(node.certs))
    delivery = node.bring(ref, images=images)
    assert (delivery.way, delivery.error, images.surveys) == ("pull", None, 1)
    assert expected <= delivery.sent <= expected * 1.01
    survey = node.images.survey()
    assert node.has(ref)
    assert set(survey.images) == {APP, f"docker.io/library/app@{ref.digest}"}
    form = wanted_images.wanted_of(node.store, [ref])[0].form
    assert frozenset().union(*form.chains.values()) <= survey.unpacked
    assert form.lacking(survey.content | survey.unpacked) == {}

    assert node.bring(ref, images=images).way == "none"
    assert images.surveys == 1
    # A new layer on top: what is below is unpacked, though its blobs are not there.
    second, new = changed(image, 2)
    after = node.ref(APP, second)
    warm = node.bring(after)
    assert new <= warm.sent <= new * 1.01
    assert node.has(after)


def test_a_partial_archive_leaves_out_what_is_only_unpacked(node: Node) -> None:
    image = image_maker.image(BIG)
    ref, _ = repacked(node, image)
    node.bring(ref)
    node.link.refuse = True
    second, new = changed(image, 2)
    after = node.ref(APP, second)
    warm = node.bring(after)
    assert warm.way == "stream"
    assert new < warm.sent < new + 20_000
    assert node.has(after)


def test_a_damaged_repacked_layer_costs_only_time(node: Node) -> None:
    image = image_maker.image(BIG)
    ref, _ = repacked(node, image)
    form = wanted_images.wanted_of(node.store, [ref])[0].repacked
    assert form is not None
    victim = node.store.path(max(form.blobs, key=lambda digest: form.blobs[digest]))
    data = bytearray(victim.read_bytes())
    data[1000] ^= 1
    victim.unlink()
    victim.write_bytes(data)
    delivery = node.bring(ref)
    assert node.has(ref)
    assert (delivery.way, delivery.error) == ("pull", None)
    assert delivery.sent > ref.size - 1
    assert image.layers[0] in node.images.survey().content


def test_containerd_refuses_repacked_layers_of_another_image(node: Node) -> None:
    image, other = image_maker.image(BIG), image_maker.image(BIG, seed=5)
    ref, _ = repacked(node, image)
    repacked(node, other, OTHER)
    (mine, theirs) = (
        manifest.read(node.store, repack.known(node.store)[one.digest]) for one in (image, other)
    )
    assert isinstance(mine, manifest.Manifest)
    assert isinstance(theirs, manifest.Manifest)
    parts = [oci.StoredBlob(b.media_type, b.digest, b.size) for b in (mine.config, *theirs.layers)]
    lie = node.store.put_bytes(oci.manifest_bytes(parts[0], parts[1:]))
    (record,) = (one for one in node.store.refs() if one.name == ref.digest)
    node.store.set_ref(replace(record, digest=lie))
    delivery = node.bring(ref)
    assert node.has(ref)
    assert delivery.error is None
    assert image.layers[0] in node.images.survey().content


def test_the_role_pulls_repacked_layers_too(node: Node) -> None:
    image, bare = image_maker.image(BIG), image_maker.image(1000, seed=3)
    ref, expected = repacked(node, image)
    other = node.ref(OTHER, bare)
    lock = wanted_images.lock_of(wanted_images.wanted_of(node.store, [ref, other]))
    form = repack.known(node.store)[ref.digest]
    images = [
        {"ref": ref.name, "digest": ref.digest, "repacked": form},
        {"ref": other.name, "digest": other.digest, "repacked": ""},
    ]
    words = [word for image in images for word in role.words(image)]
    with Server(node.store, lock, TOKEN) as server:
        node.link.open(server.port).wait(None, None)
        node.shell(role.command(str(node.certs), 3, words))
    expected += oci.image_size(node.store, other.digest)
    assert expected <= server.stats.sent <= expected * 1.01
    assert node.has(ref, other)
    names = {f"docker.io/library/{one}" for one in ("app", "other")}
    exact = {f"{name}@{one.digest}" for name, one in zip(sorted(names), (ref, other), strict=True)}
    assert set(node.images.survey().images) == {APP, OTHER, *exact}
