"""In which order images go to a node, and when another attempt is made."""

from __future__ import annotations

import os
import threading
from typing import IO, TYPE_CHECKING

import pytest

from ohmykube.cache import oci
from ohmykube.cache.store import Ref, Store
from ohmykube.errors import NodeError, NotFoundError
from ohmykube.kit import paths, process
from ohmykube.model.artifact import Kind
from ohmykube.steps import node_images, wanted_images
from ohmykube.steps.context import Services
from ohmykube.steps.deliver_to_node import Access, Delivery, NodeDelivery
from ohmykube.steps.node_images import Held, NodeImage, NodeImages, Survey, parse_survey
from ohmykube.testing.reporter import RecordingReporter
from tests import image_maker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

TOKEN = "t0k-en"


class Link:
    def wait(self, _clock: object, _limit: object) -> None:
        pass

    def close(self) -> None:
        pass


class Images(NodeImages):
    """A node that remembers how it was filled and fails as often as told."""

    def __init__(self, store: Store, failures: dict[str, int] | None = None) -> None:
        self._store = store
        self._failures = failures or {}
        self._guard = threading.Lock()
        self._gate = threading.Barrier(3)
        self.wait_for_three = False
        self.wait_for = ""
        self._came = threading.Event()
        self.events: list[str] = []
        self.have: dict[str, str] = {}
        self.content: set[str] = set()
        self.unpacked: set[str] = set()
        self.error: Exception = NodeError("it failed", why="who knows")

    def survey(self, token: str = "", references: Sequence[str] = ()) -> Survey:
        images = {
            name: NodeImage(name, digest, usable=True, pinned=True, size="")
            for name, digest in self.have.items()
        }
        ours = frozenset({"_default"})
        return Survey(images, frozenset(self.content), ours, ours)

    def _event(self, text: str) -> None:
        with self._guard:
            self.events.append(text)

    def held(self, images: Mapping[str, str]) -> Held:
        names = frozenset(name for name, digest in images.items() if self.have.get(name) == digest)
        return Held(names, frozenset(self.content | self.unpacked))

    def pull(self, reference: str, digest: str, before: Survey, by: str = "") -> None:
        self._event(f"+{reference}")
        if self.wait_for_three:
            self._gate.wait(20)
        if reference == self.wait_for:
            self._came.set()
        elif self.wait_for and not self._came.wait(5):
            raise NodeError(f"{self.wait_for} never began beside {reference}")
        self._finish("pull", reference, digest)
        self._event(f"-{reference}")

    def load(
        self, reference: str, digest: str, before: Survey, write: Callable[[IO[bytes]], None]
    ) -> None:
        class Sink:
            size = 0

            def write(self, data: bytes) -> int:
                self.size += len(data)
                return len(data)

        sink = Sink()
        write(sink)  # type: ignore[arg-type]
        self._event(f"load {reference} {'whole' if sink.size > 90_000 else 'partial'}")
        self._finish("load", reference, digest)

    def _finish(self, how: str, reference: str, digest: str) -> None:
        with self._guard:
            left = self._failures.get(how, 0)
            self._failures[how] = left - 1
            if left > 0:
                raise self.error
            self.have[reference] = digest
            blobs = oci.image_blobs(self._store, digest)
            self.content |= {blob.digest for blob in blobs}
            chains = wanted_images.form_of(self._store, digest).chains
            self.unpacked |= {chain for ids in chains.values() for chain in ids}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


def ref(store: Store, name: str, image: image_maker.Image) -> Ref:
    image.put(store)
    return Ref(Kind.IMAGE, f"docker.io/library/{name}:1", "1", "amd64", image.digest, 1, "load")


def bring(store: Store, images: Images, refs: Iterable[Ref]) -> Delivery:
    delivery = Delivery("n1")
    services = Services(paths=paths.from_environment(), reporter=RecordingReporter())
    access = Access(TOKEN, lambda _port: Link())
    with NodeDelivery(services, images, delivery, store, access) as work:
        work.bring(wanted_images.wanted_of(store, refs))
    return delivery


def test_three_at_a_time_the_biggest_first(store: Store) -> None:
    common = image_maker.image(100)  # too small to be waited for
    sizes = (1000, 50_000, 3000, 90_000, 70_000, 10_000)
    refs = [
        ref(store, f"i{size}", image_maker.with_layer(common, size, n))
        for n, size in enumerate(sizes, 1)
    ]
    images = Images(store)
    images.wait_for_three = True
    bring(store, images, refs)
    begun = [event for event in images.events if event[0] == "+"]
    assert {event[20:-2] for event in begun[:3]} == {"90000", "70000", "50000"}
    assert len(begun) == len(sizes)


def test_images_that_share_a_missing_layer_wait_for_each_other(store: Store) -> None:
    base = image_maker.image(2_000_000)
    refs = [ref(store, f"s{n}", image_maker.with_layer(base, 100, n)) for n in (1, 2, 3)]
    refs.append(ref(store, "alone", image_maker.image(500, seed=9)))
    images = Images(store)
    # The smallest comes last, but before all who wait for the base layer.
    images.wait_for = refs[-1].name
    bring(store, images, refs)
    assert len(images.events) == 2 * len(refs), "an image was pulled twice"
    first = next(event for event in images.events if event[:2] == "+d" and "/s" in event)[1:]
    after = images.events[images.events.index(f"-{first}") :]
    others = {f"+{one.name}" for one in refs[:3] if one.name != first}
    assert others <= set(after)


def test_a_pull_that_fails_is_repeated_and_then_the_image_is_streamed(store: Store) -> None:
    one = ref(store, "a", image_maker.image(100_000))
    images = Images(store, {"pull": 1})
    assert bring(store, images, [one]).way == "pull"
    images = Images(store, {"pull": 2})
    delivery = bring(store, images, [one])
    assert (delivery.way, delivery.why) == ("stream", "pulling failed")
    assert images.events[-1] == f"load {one.name} whole"


def test_what_never_arrives_is_told_with_the_reason(store: Store) -> None:
    one = ref(store, "a", image_maker.image(1000))
    with pytest.raises(NodeError, match=r"did not take docker.io/library/a:1") as caught:
        bring(store, Images(store, {"pull": 9, "load": 9}), [one])
    assert caught.value.why == "who knows"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (NodeError("x", why="write: no space left on device"), NodeError),
        (NotFoundError("the blob is gone"), NotFoundError),
    ],
)
def test_some_failures_are_final(store: Store, error: Exception, expected: type) -> None:
    images = Images(store, {"pull": 9})
    images.error = error
    with pytest.raises(expected):
        bring(store, images, [ref(store, "a", image_maker.image(1000))])
    assert len(images.events) == 1


def test_an_archive_that_was_too_small_is_sent_whole_once(store: Store) -> None:
    base = image_maker.image(100_000)
    one = ref(store, "a", image_maker.with_layer(base, 100, 2))

    class Streaming(Images):
        def survey(self, token: str = "", references: Sequence[str] = ()) -> Survey:
            found = super().survey(token)
            return Survey(found.images, found.content)

    images = Streaming(store, {"load": 1})
    images.content = set(base.blobs)
    assert bring(store, images, [one]).way == "stream"
    assert images.events == [f"load {one.name} partial", f"load {one.name} whole"]
    images = Streaming(store, {"load": 9})
    with pytest.raises(NodeError):
        bring(store, images, [one])


SURVEY = """\
@hosts
/etc/containerd/certs.d/_default/hosts.toml
/etc/containerd/certs.d/localhost_5000_/hosts.toml
@ours
/etc/containerd/certs.d/_default/hosts.toml
@check
REF                        TYPE                                       DIGEST  STATUS SIZE UNPACKED
docker.io/library/app:1    application/vnd.oci.image.manifest.v1+json {a} complete (3/3) 7.7 MiB/7.7 MiB     true
docker.io/library/app:2    application/vnd.oci.image.manifest.v1+json {b} incomplete (2/3) 1.0 KiB/7.7 MiB     false
docker.io/library/app:3    application/vnd.oci.image.manifest.v1+json {b} unavailable (0/?) 0.0 B/?     false
sha256:aaaa                application/vnd.oci.image.manifest.v1+json {a} complete (3/3) 7.7 MiB/7.7 MiB     true
@labels
REF TYPE DIGEST SIZE PLATFORMS LABELS
docker.io/library/app:1    application/vnd.oci.image.manifest.v1+json {a} 7.7 MiB   linux/amd64 io.cri-containerd.image=managed,io.cri-containerd.pinned=pinned
docker.io/library/app:2    application/vnd.oci.image.manifest.v1+json {b} -         -           -
@content
{a}
@end
"""  # noqa: E501 - as ctr prints it


def test_what_containerd_says_is_understood() -> None:
    a, b = (f"sha256:{letter * 64}" for letter in "ab")
    survey = node_images.parse_survey(SURVEY.format(a=a, b=b))
    assert survey.has("docker.io/library/app:1", a)
    assert not survey.has("docker.io/library/app:1", b)
    assert not survey.has("docker.io/library/app:2", b)
    assert not survey.has("docker.io/library/none:1", b)
    assert survey.images["docker.io/library/app:1"].size == "7.7 MiB"
    assert survey.images["docker.io/library/app:1"].size_bytes == 8_074_035
    assert survey.images["docker.io/library/app:2"].size_bytes is None
    assert survey.content == {a}
    assert survey.asks_us("docker.io/library/app:1")
    assert not survey.asks_us("localhost:5000/app:1")
    assert len(survey.images) == 4


@pytest.mark.linux
def test_the_token_is_no_argument_of_any_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grep = process.which("grep")
    said = tmp_path / "said"
    for name, text in (("grep", f'echo "$*" >>{said}; exec {grep} "$@"'), ("ctr", "exit 0")):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    for registry, header in (("_default", "Bearer s3cret"), ("quay.io", "Bearer other")):
        file = tmp_path / "certs.d" / registry / "hosts.toml"
        file.parent.mkdir(parents=True)
        file.write_text(f'Authorization = ["{header}"]\n')

    class Here:
        node = "n1"

        def __call__(self, argv: Sequence[str], stdin: str = "", timeout: float = 30) -> str:
            assert "s3cret" not in " ".join(argv)
            return process.run(argv, input=stdin, timeout=timeout).stdout

        def feed(
            self, argv: Sequence[str], write: Callable[[IO[bytes]], None], timeout: float
        ) -> None:
            raise AssertionError("nothing is fed")

    found = NodeImages(Here(), str(tmp_path / "certs.d")).survey("s3cret")
    assert found.hosts == {"_default", "quay.io"}
    assert found.ours == {"_default"}
    assert "hosts.toml" in said.read_text()
    assert "s3cret" not in said.read_text()


def test_layers_that_are_being_unpacked_are_not_there_yet() -> None:
    lines = ("sha256:a  Committed", "sha256:b sha256:a Committed", "extract-1 sha256:b Active", "")
    text = "\n".join(("@snapshots", *lines))
    assert parse_survey(text).unpacked == {"sha256:a", "sha256:b"}
