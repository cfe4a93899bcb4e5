"""The pull-through mirror against a registry double, without containerd."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import socket
import socketserver
import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from ohmykube.cache import transport
from ohmykube.cache.catalog import ArtifactSet, Download, FileSpec, ImageSpec, ModuleFile
from ohmykube.cache.download import Downloader
from ohmykube.cache.manifest import DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from ohmykube.cache.prune import Policy, prune
from ohmykube.cache.refs import Ref
from ohmykube.cache.registry_client import RegistryClient
from ohmykube.cache.serve import Listener, http_errors, pull_through_cache, registry_names
from ohmykube.cache.serve.assemble import published
from ohmykube.cache.serve.pull_through import ANY, SOURCE, PullThrough
from ohmykube.cache.serve.release_files import Published, ReleaseFiles
from ohmykube.cache.signatures import EVIDENCE
from ohmykube.cache.sources import base as sources
from ohmykube.cache.sources.fetch_source import FetchSource
from ohmykube.cache.store import Store
from ohmykube.errors import (
    IntegrityError,
    LockedError,
    NetworkError,
    OhmykubeError,
    PermissionDenied,
    PrerequisiteError,
    ResourceError,
    UsageError,
)
from ohmykube.kit import architecture, paths
from ohmykube.kit import digest as digests
from ohmykube.model.artifact import Kind
from ohmykube.model.cluster import Sources
from ohmykube.progress import Message, NullReporter
from tests import image_maker
from tests.fake_clock import FakeClock
from tests.fault_server import Answer
from tests.module_proxy import zip_module
from tests.registry_double import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from ohmykube.cache.blobs import Blob
    from ohmykube.progress import Event

QUICK = transport.Timing(connect=2, read=2, attempts=2, pause=0.01, longest=0.5)


REVIEWED = "sha256:" + "5" * 64


@dataclass
class Told:
    """Keeps what the mirror says."""

    events: list[Message] = field(default_factory=list)

    def emit(self, event: Event) -> None:
        assert isinstance(event, Message)
        self.events.append(event)

    def kinds(self) -> list[str]:
        return [event.fields.get("event", "") for event in self.events]


class Mirror:
    """A mirror of the double, and a client of it."""

    def __init__(self, store: Store, registry: Registry | None, docker: Path, **extra: str) -> None:
        self.store, self.told, self.clock = store, Told(), FakeClock(1000.0)
        self.client: RegistryClient | None = None
        self.downloader: Downloader | None = None
        if registry is not None:
            self.downloader = Downloader(store, NullReporter(), transport.Transport(QUICK))
            self.client = RegistryClient(self.downloader, docker)
            extra = {"docker.io": registry.url, "quay.io": registry.url} | extra
        self.known = registry_names.upstreams(f"{name}={url}" for name, url in extra.items())
        self.published: dict[str, str] = {}
        self.modules: dict[str, Published] = {}
        self.listener = self.serve()

    def serve(self) -> Listener:
        files = ReleaseFiles(self.store, self.downloader, self._published)
        content = PullThrough(
            self.store, self.known, self.told, client=self.client, clock=self.clock, files=files
        )
        return Listener(self.store, content)

    def _published(self) -> dict[str, Published]:
        return {url: Published(d) for url, d in self.published.items()} | self.modules

    def __call__(
        self, path: str, method: str = "GET", **headers: str
    ) -> tuple[int, Mapping[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.listener.port, timeout=20)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, headers=sent)
        response = connection.getresponse()
        answer = response.status, response.headers, response.read()
        connection.close()
        return answer  # type: ignore[return-value]

    def error(self, path: str) -> tuple[int, str, str]:
        status, _, body = self(path)
        told = json.loads(body)["errors"][0]
        return status, told["code"], told["message"]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as running:
        yield running


@pytest.fixture
def docker(tmp_path: Path) -> Path:
    return tmp_path / "config.json"


@pytest.fixture
def mirror(store: Store, registry: Registry, docker: Path) -> Iterator[Mirror]:
    made = Mirror(store, registry, docker)
    with made.listener:
        yield made


@pytest.fixture
def offline(store: Store, docker: Path) -> Iterator[Mirror]:
    made = Mirror(store, None, docker)
    with made.listener:
        yield made


NAME = "library/box"
TAG = f"/v2/{NAME}/manifests/1?ns=docker.io"
FULL = "docker.io/library/box:1"


def blob_path(digest: str, name: str = NAME, ns: str = "docker.io") -> str:
    return f"/v2/{name}/blobs/{digest}?ns={ns}"


def pull(mirror: Mirror, image: image_maker.Image, top: str = TAG) -> None:
    status, headers, body = mirror(top)
    assert status == 200, body
    if headers["Content-Type"] == OCI_INDEX:
        status, headers, body = mirror(f"/v2/{NAME}/manifests/{image.digest}?ns=docker.io")
    assert (status, body) == (200, image.manifest)
    for digest, data in image.blobs.items():
        assert mirror(blob_path(digest))[2] == data


def test_each_byte_is_fetched_once(mirror: Mirror, registry: Registry) -> None:
    image = image_maker.image(3000, 5000)
    registry.add(NAME, "1", image)
    pull(mirror, image)
    assert sorted(registry.pulls()) == sorted([image.digest, *image.blobs])
    assert mirror.told.kinds().count("fetched") == len(image.blobs)
    pull(mirror, image)
    assert len(registry.pulls()) == len(image.blobs) + 1
    assert [ref.name for ref in mirror.store.refs()] == [FULL]


def test_an_image_that_shares_a_layer_fetches_what_lacks(
    mirror: Mirror, registry: Registry
) -> None:
    first, second = image_maker.image(3000), image_maker.image(3000, 4000)
    assert first.layers[0] == second.layers[0]
    registry.add(NAME, "1", first)
    pull(mirror, first)
    registry.seen.clear()
    registry.add("library/other", "2", second)
    assert mirror("/v2/library/other/manifests/2?ns=docker.io")[2] == second.manifest
    for digest in second.blobs:
        assert mirror(blob_path(digest, "library/other"))[0] == 200
    assert sorted(registry.pulls()) == sorted({second.digest, *second.blobs} - set(first.blobs))


def test_of_an_index_only_the_wanted_platform_is_fetched(
    mirror: Mirror, registry: Registry
) -> None:
    image, other = image_maker.image(3000), image_maker.image(4000, seed=2, arch="arm64")
    digest = registry.add_index(NAME, "1", {"amd64": image, "arm64": other})
    status, headers, _ = mirror(TAG, "HEAD")
    assert (status, headers["Docker-Content-Digest"]) == (200, digest)
    pull(mirror, image)
    assert sorted(registry.pulls()) == sorted([digest, image.digest, *image.blobs])
    assert mirror(f"/v2/{NAME}/manifests/{other.digest}?ns=docker.io")[2] == other.manifest
    # One reference keeps all of it: nothing is pruned but what nobody asked for.
    assert [(ref.name, ref.digest, ref.arch) for ref in mirror.store.refs()] == [
        (FULL, digest, ANY)
    ]
    prune(mirror.store, Policy(grace=0))
    registry.seen.clear()
    pull(mirror, image)
    assert registry.pulls() == []


@pytest.mark.parametrize("tagged", [True, False])
def test_what_is_asked_for_by_digest_is_kept(
    mirror: Mirror, registry: Registry, tagged: bool
) -> None:
    image = image_maker.image(3000, media=DOCKER_MANIFEST)
    registry.add(NAME, "1", image)
    if tagged:
        mirror(TAG)
    status, headers, _ = mirror(f"/v2/{NAME}/manifests/{image.digest}?ns=docker.io")
    assert (status, headers["Content-Type"]) == (200, DOCKER_MANIFEST)
    wanted = FULL if tagged else f"docker.io/{NAME}@{image.digest}"
    assert [ref.name for ref in mirror.store.refs()] == [wanted]


def test_a_tag_is_asked_for_again_after_a_while(mirror: Mirror, registry: Registry) -> None:
    first, second = image_maker.image(3000), image_maker.image(3000, seed=2)
    registry.add(NAME, "1", first)
    assert mirror(TAG)[2] == first.manifest
    registry.add(NAME, "1", second)
    assert mirror(TAG)[2] == first.manifest
    assert len(registry.pulls("HEAD")) == 1
    mirror.clock.time += 301
    assert mirror(TAG)[2] == second.manifest
    assert len(registry.pulls("HEAD")) == 2
    assert [ref.digest for ref in mirror.store.refs()] == [second.digest]


def test_an_unchanged_tag_costs_one_head(mirror: Mirror, registry: Registry) -> None:
    image = image_maker.image(3000)
    registry.add(NAME, "1", image)
    mirror(TAG)
    registry.seen.clear()
    mirror.clock.time += 301
    assert mirror(TAG)[2] == image.manifest
    assert (registry.pulls("HEAD"), registry.pulls()) == (["1"], [])


def test_a_registry_that_does_not_tell_the_digest(mirror: Mirror, registry: Registry) -> None:
    image = image_maker.image(3000)
    registry.add(NAME, "1", image)
    registry.on(f"/v2/{NAME}/manifests/1", Answer(image.manifest))
    assert mirror(TAG)[2] == image.manifest


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_stale_tag_is_served_while_the_registry_fails(
    mirror: Mirror, registry: Registry, status: int
) -> None:
    image = image_maker.image(3000)
    registry.add(NAME, "1", image)
    pull(mirror, image)
    registry.answers.clear()
    registry.on(f"/v2/{NAME}/manifests/1", Answer(status=status))
    mirror.clock.time += 301
    pull(mirror, image)
    stale = mirror.told.events[-1]
    assert (stale.level, stale.fields["event"], stale.fields["image"]) == ("warning", "stale", FULL)


def test_the_registry_is_gone(mirror: Mirror, store: Store, docker: Path) -> None:
    with Registry() as registry:
        gone = Mirror(store, registry, docker)
        image = image_maker.image(3000)
        registry.add(NAME, "1", image)
        with gone.listener:
            pull(gone, image)
    gone.clock.time += 301
    with gone.serve() as gone.listener:
        pull(gone, image)
        status, code, message = gone.error("/v2/library/never/manifests/1?ns=docker.io")
        assert (status, code) == (502, "UNAVAILABLE")
        assert "cannot be reached" in message


def test_a_tag_that_is_gone_upstream_is_not_stood_in_for(
    mirror: Mirror, registry: Registry
) -> None:
    image = image_maker.image(3000)
    registry.add(NAME, "1", image)
    pull(mirror, image)
    registry.answers.clear()
    mirror.clock.time += 301
    assert mirror.error(TAG)[:2] == (404, "MANIFEST_UNKNOWN")
    assert mirror(f"/v2/{NAME}/manifests/{image.digest}?ns=docker.io")[0] == 200


def test_offline(mirror: Mirror, offline: Mirror, registry: Registry) -> None:
    image = image_maker.image(3000)
    registry.add(NAME, "1", image)
    pull(mirror, image)
    count = len(registry.seen)
    pull(offline, image)
    assert len(registry.seen) == count
    for path in (f"/v2/{NAME}/manifests/2?ns=docker.io", blob_path("sha256:" + "0" * 64)):
        status, _, message = offline.error(path)
        assert status == 404
        assert "is not in the cache, which is offline" in message


@pytest.mark.parametrize("source", ["load", "build"])
def test_images_that_are_here_already(
    mirror: Mirror, offline: Mirror, registry: Registry, source: str
) -> None:
    """What the user loaded needs no registry; what a cluster brought stands in for one."""
    image, other = image_maker.image(3000), image_maker.image(4000, seed=2)
    image.put(mirror.store)
    arch = architecture.host()
    ref = Ref(Kind.IMAGE, FULL, "1", arch, image.digest, len(image.manifest), source)
    mirror.store.set_ref(ref)
    pull(offline, image)
    registry.add(NAME, "1", other)
    assert mirror(TAG)[2] == (image if source == "load" else other).manifest


def test_clients_at_the_same_time_fetch_once(
    mirror: Mirror, registry: Registry, eventually: Callable[[Callable[[], bool]], bool]
) -> None:
    image = image_maker.image(400_000)
    registry.add(NAME, "1", image)
    digest = image.layers[0]
    bodies: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: bodies.append(mirror(blob_path(digest))[2]))
        for _ in range(10)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert bodies == [image.blobs[digest]] * 10
    assert registry.pulls() == [digest]


def test_a_failure_is_shared_and_then_forgotten(mirror: Mirror, registry: Registry) -> None:
    image = image_maker.image(3000)
    path = f"/v2/{NAME}/blobs/{image.layers[0]}"
    registry.on(path, Answer(status=503))
    assert mirror.error(blob_path(image.layers[0]))[:2] == (502, "UNAVAILABLE")
    assert mirror.told.kinds() == ["failed"]
    registry.add(NAME, "1", image)
    assert mirror(blob_path(image.layers[0]))[0] == 200


def test_a_use_is_noted(mirror: Mirror, registry: Registry) -> None:
    registry.add(NAME, "1", image_maker.image(3000))
    mirror(TAG)
    (before,) = mirror.store.refs()
    mirror.store.set_ref(replace(before, last_used_at=before.last_used_at - 4000))
    mirror(TAG)  # within the five minutes: nobody is asked
    (after,) = mirror.store.refs()
    assert after.last_used_at >= before.last_used_at
    assert len(registry.pulls("HEAD")) == 1


def test_a_cache_that_cannot_be_written(
    mirror: Mirror, offline: Mirror, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = image_maker.image(3000)
    registry.add(NAME, "1", image)
    pull(mirror, image)

    def refuse(*_: object) -> None:
        raise PermissionDenied("the cache cannot be written")

    monkeypatch.setattr(Store, "set_ref", refuse)
    (ref,) = mirror.store.refs()
    mirror.store.drop_refs([ref])
    status, _, body = offline(f"/v2/{NAME}/manifests/{image.digest}?ns=docker.io")
    assert (status, body) == (200, image.manifest)
    registry.add(NAME, "2", image_maker.image(3000, seed=3))
    assert mirror.error(f"/v2/{NAME}/manifests/2?ns=docker.io")[:2] == (503, "UNAVAILABLE")


def test_errors_of_this_host() -> None:
    for error, status in (
        (ResourceError("no space left"), 507),
        (LockedError("in use"), 503),
        (PermissionDenied("not yours"), 503),
    ):
        assert http_errors.not_served(error, "x", "BLOB_UNKNOWN").status == status


def test_what_a_credential_helper_says_is_for_the_log_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    error = PrerequisiteError("`docker-credential-x` does not give it", why="password hunter2")
    answer = http_errors.not_served(error, "docker.io/a:1", "BLOB_UNKNOWN")
    assert answer.status == 503
    assert answer.message == f"docker.io/a:1: {http_errors.HERE}"
    assert "hunter2" in caplog.text


@pytest.mark.parametrize(
    "kind", [IntegrityError, NetworkError, ResourceError, transport.StatusError]
)
def test_why_something_failed_is_for_the_log_alone(
    caplog: pytest.LogCaptureFixture, kind: type[OhmykubeError]
) -> None:
    error = kind("http://inside.test/v2 cannot be had", why="proxy 10.0.0.7:3128, /srv/cache/x")
    answer = http_errors.not_served(error, "docker.io/a:1", "BLOB_UNKNOWN")
    assert answer.message.startswith("docker.io/a:1: ")
    for secret in ("inside.test", "10.0.0.7", "/srv/cache"):
        assert secret not in answer.message
        assert secret in caplog.text


def test_a_mirror_as_the_command_makes_it(store: Store) -> None:
    content = pull_through_cache(store, registry_names.upstreams([]), Told(), FakeClock(1000.0))
    assert content.fetching == 0
    assert all(digests.is_digest(known.digest) for known in published().values())
    assert any(url.startswith("https://dl.k8s.io/") for url in published())


def test_what_is_published_has_the_files_of_all_sets() -> None:
    """Files and charts as well as programs, whether they are published or held by a module."""
    held = ModuleFile(module="a.io/Lb", version="v1.0.0", sum="h1:x", path="lb", digest=REVIEWED)
    chart = FileSpec(name="lb", version="1", module=held, kind=Kind.CHART)
    at = {
        arch: Download(url=f"https://a.io/{arch}", digest=REVIEWED) for arch in ("amd64", "arm64")
    }
    unknown = {"noarch": Download(url="https://a.io/unknown", sums="https://a.io/sums")}
    files = (
        chart,
        FileSpec(name="data", version="1", downloads=at),
        FileSpec(name="unknown", version="1", downloads=unknown),
    )
    more = ArtifactSet(name="lb", version="1", files=files)
    found = published([more])
    assert {url: one for url, one in found.items() if url not in published()} == {
        "https://proxy.golang.org/a.io/!lb/@v/v1.0.0/lb": Published(REVIEWED, held),
        "https://a.io/amd64": Published(REVIEWED),
        "https://a.io/arm64": Published(REVIEWED),
    }


# -- what the registry says is passed on -----------------------------------------------------------


@pytest.mark.parametrize(
    ("upstream", "expected"),
    [(404, (404, "MANIFEST_UNKNOWN")), (403, (403, "DENIED")), (500, (502, "UNAVAILABLE"))],
)
def test_statuses(
    mirror: Mirror, registry: Registry, upstream: int, expected: tuple[int, str]
) -> None:
    registry.on(f"/v2/{NAME}/manifests/1", Answer(status=upstream))
    assert mirror.error(TAG)[:2] == expected


def test_too_many_requests(mirror: Mirror, registry: Registry) -> None:
    registry.on(f"/v2/{NAME}/manifests/1", Answer(status=429, headers={"Retry-After": "77"}))
    status, headers, body = mirror(TAG)
    assert (status, headers["Retry-After"]) == (429, "77")
    assert json.loads(body)["errors"][0]["code"] == "TOOMANYREQUESTS"


def test_a_registry_that_wants_a_login(mirror: Mirror, registry: Registry) -> None:
    challenge = {"WWW-Authenticate": 'Basic realm="x"'}
    registry.on(f"/v2/{NAME}/manifests/1", Answer(status=401, headers=challenge))
    status, code, message = mirror.error(TAG)
    assert (status, code) == (403, "DENIED")
    assert "docker login 127.0.0.1" in message


def test_the_login_of_docker_stays_on_this_host(
    mirror: Mirror, registry: Registry, docker: Path
) -> None:
    host = registry.url.removeprefix("http://")
    secret = base64.b64encode(b"me:pass-4711").decode()
    docker.write_text(json.dumps({"auths": {host: {"auth": secret}}}))
    image = image_maker.image(3000)
    registry.add(NAME, "1", image)
    path = f"/v2/{NAME}/manifests/1"
    challenge = {"WWW-Authenticate": 'Basic realm="x"'}
    registry.on(path, Answer(status=401, headers=challenge), registry.answers[path][0])
    status, headers, body = mirror(TAG, Authorization="Bearer client")
    assert (status, body) == (200, image.manifest)
    assert registry.headers_of(path)[-1]["Authorization"] == f"Basic {secret}"
    assert "client" not in str(registry.seen)
    said = str(mirror.told.events) + str(headers.items())
    assert secret not in said
    assert "pass-4711" not in said


def test_a_token_that_expires_in_mid_pull(mirror: Mirror, registry: Registry) -> None:
    image = image_maker.image(3000)
    registry.add(NAME, "1", image)
    for digest, tokens in ((image.layers[0], ("one",)), (list(image.blobs)[-1], ("two",))):
        path = f"/v2/{NAME}/blobs/{digest}"
        registry.want_token(path, registry.answers[path][0], *tokens)
        assert mirror(blob_path(digest))[2] == image.blobs[digest]
    used = [headers.get("Authorization") for _, _, headers in registry.seen]
    assert [one for one in used if one] == ["Bearer one", "Bearer one", "Bearer two"]


def test_a_registry_that_dies_in_mid_blob(mirror: Mirror, registry: Registry) -> None:
    image = image_maker.image(900_000)
    digest, data = image.layers[0], image.blobs[image.layers[0]]
    path = f"/v2/{NAME}/blobs/{digest}"
    registry.on(path, Answer(data, cut=300_000, etag='"a"'), Answer(status=503))
    assert mirror.error(blob_path(digest))[:2] == (502, "UNAVAILABLE")
    assert not mirror.store.has(digest)
    registry.on(path, Answer(data, etag='"a"'))
    assert mirror(blob_path(digest))[2] == data
    assert registry.headers_of(path)[-1]["Range"].startswith("bytes=")


def test_a_wrong_blob_is_never_sent(mirror: Mirror, registry: Registry) -> None:
    image = image_maker.image(3000)
    digest = image.layers[0]
    registry.on(f"/v2/{NAME}/blobs/{digest}", Answer(b"evil"))
    status, code, _ = mirror.error(blob_path(digest))
    assert (status, code) == (502, "DIGEST_INVALID")
    assert not mirror.store.has(digest)


@pytest.mark.parametrize("body", [b"evil", b'{"schemaVersion": 2}'])
def test_a_wrong_manifest_is_never_sent(mirror: Mirror, registry: Registry, body: bytes) -> None:
    digest = digests.of_bytes(body)
    told = digest if body != b"evil" else "sha256:" + "1" * 64
    for name in ("1", told):
        headers = {"Docker-Content-Digest": told}
        registry.on(f"/v2/{NAME}/manifests/{name}", Answer(body, headers=headers))
    assert mirror.error(TAG)[:2] == (502, "DIGEST_INVALID")
    assert not mirror.store.has(digest)
    assert mirror.store.refs() == ()


def test_a_bit_that_flips_on_disk_is_fetched_anew(mirror: Mirror, registry: Registry) -> None:
    image = image_maker.image(3000)
    registry.add(NAME, "1", image)
    pull(mirror, image)
    path = mirror.store.path(image.layers[0])
    path.chmod(0o644)
    path.write_bytes(b"rotten")
    pull(mirror, image)
    assert registry.pulls().count(image.layers[0]) == 2
    assert "damaged" in mirror.told.kinds()


def test_a_bit_that_flips_on_disk_while_offline(
    mirror: Mirror, offline: Mirror, registry: Registry
) -> None:
    image = image_maker.image(3000)
    registry.add(NAME, "1", image)
    pull(mirror, image)
    path = mirror.store.path(image.layers[0])
    path.chmod(0o644)
    path.write_bytes(b"rotten")
    assert offline.error(blob_path(image.layers[0]))[0] == 404


# -- names -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        f"/v2/{NAME}/manifests/1?ns=docker.io",
        f"/v2/{NAME}/manifests/1?ns=index.docker.io",
        f"/v2/{NAME}/manifests/1",
        f"/v2/docker.io/{NAME}/manifests/1",
        f"/v2/quay.io/{NAME}/manifests/1",
        f"/v2/{NAME}/manifests/1?ns=quay.io",
    ],
)
def test_ways_to_name_a_registry(mirror: Mirror, registry: Registry, path: str) -> None:
    image = image_maker.image(3000)
    registry.add(NAME, "1", image)
    assert mirror(path)[2] == image.manifest


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v2/a/manifests/1?ns=169.254.169.254", (404, "NAME_UNKNOWN")),
        ("/v2/evil.example/a/manifests/1", (404, "NAME_UNKNOWN")),
        ("/v2/localhost/a/manifests/1", (404, "NAME_UNKNOWN")),
        ("/v2/a/../b/manifests/1?ns=docker.io", (400, "NAME_INVALID")),
        ("/v2/a%2f..%2f..%2fb/manifests/1?ns=docker.io", (400, "NAME_INVALID")),
        ("/v2/a:b/manifests/1?ns=docker.io", (400, "NAME_INVALID")),
        (f"/v2/{'a' * 256}/manifests/1?ns=docker.io", (400, "NAME_INVALID")),
        ("/v2/a/manifests/sha512:00?ns=docker.io", (400, "MANIFEST_INVALID")),
        ("/v2/a/blobs/latest?ns=docker.io", (400, "DIGEST_INVALID")),
        ("/v2/a/tags/list?ns=docker.io", (404, "NOT_FOUND")),
    ],
)
def test_names_that_are_refused(
    mirror: Mirror, registry: Registry, path: str, expected: tuple[int, str]
) -> None:
    assert mirror.error(path)[:2] == expected
    assert registry.seen == []


def test_registries_to_mirror() -> None:
    found = registry_names.upstreams(
        ["harbor.example:5000", "docker.io=https://hub.example/prefix/"]
    )
    assert set(found) == {*registry_names.REGISTRIES, "harbor.example:5000"}
    assert found["harbor.example:5000"].endpoint == "https://harbor.example:5000"
    repository = found["docker.io"].repository("library/box")
    assert (repository.endpoint, repository.name) == ("https://hub.example", "prefix/library/box")
    assert registry_names.upstreams([])["docker.io"].endpoint == "https://registry-1.docker.io"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "=https://a",
        "a b",
        "a=ftp://b",
        "a=https://u:p@b",
        "a=https://",
        "a=https://b:x",
        "-a",
        "docker.io=",
    ],
)
def test_registries_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="no registry to answer for"):
        registry_names.upstreams([text])


# -- files -----------------------------------------------------------------------------------------


def test_release_files_by_their_url(mirror: Mirror, registry: Registry) -> None:
    data = b"kubeadm" * 1000
    url = registry.on("/release/v1/kubeadm", Answer(data))
    host = registry.url.removeprefix("http://")
    mirror.published[url] = digests.of_bytes(data)
    for _ in range(2):
        assert mirror(f"/{host}/release/v1/kubeadm")[::2] == (200, data)
    assert mirror(f"/{host}/release/v1/kubeadm", Range="bytes=7-13")[2] == b"kubeadm"
    assert registry.count["/release/v1/kubeadm"] == 1
    status, headers, body = mirror(f"/{host}/release/v1/kubeadm.sha256")
    assert (status, headers["Content-Type"]) == (200, "text/plain")
    assert body.decode().strip() == digests.of_bytes(data)[7:]
    (ref,) = mirror.store.refs()
    assert (ref.kind, ref.url, ref.source) == (Kind.FILE, url, SOURCE)


class HeldAt(ModuleFile):
    """A file whose module is at the double instead of Go's public proxy."""

    place = ""

    @property
    def zip_url(self) -> str:
        return self.place


def test_files_of_modules_by_their_place(
    mirror: Mirror, offline: Mirror, registry: Registry, tmp_path: Path
) -> None:
    """Nobody publishes them by themselves: they are taken out of the module, once."""
    archive, data = tmp_path / "module.zip", b"kind: Namespace\n"
    held = HeldAt(
        module="example.org/Lb",
        version="v1.0.0",
        sum=zip_module(archive, "example.org/Lb", "v1.0.0", {"lb.yaml": data.decode()}),
        path="lb.yaml",
        digest=digests.of_bytes(data),
    )
    place = "/proxy.golang.org/example.org/!lb/@v/v1.0.0/lb.yaml"
    mirror.modules[held.url] = offline.modules[held.url] = Published(held.digest, held)
    assert offline.error(place)[:2] == (404, "NOT_FOUND")
    HeldAt.place = registry.on("/lb.zip", Answer(archive.read_bytes()))
    for _ in range(2):
        assert mirror(place)[::2] == (200, data)
    assert mirror(f"{place}.sha256")[2].decode().strip() == held.digest[7:]
    assert registry.count["/lb.zip"] == 1
    assert offline(place)[::2] == (200, data), "the same cache has it now"


def test_files_that_are_not_here(mirror: Mirror, offline: Mirror, registry: Registry) -> None:
    url = registry.on("/f", Answer(status=404))
    mirror.published[url] = offline.published[url] = "sha256:" + "0" * 64
    host = registry.url.removeprefix("http://")
    assert mirror.error(f"/{host}/f")[:2] == (404, "NOT_FOUND")
    assert offline.error(f"/{host}/f")[:2] == (404, "NOT_FOUND")
    assert mirror.error("/other.example/f")[0] == 404
    assert mirror.error("/")[0] == 404


def test_packages_by_digest(mirror: Mirror) -> None:
    digest = mirror.store.put_bytes(b"packed")
    assert mirror(f"/pkg/sha256/{digest[7:]}")[0] == 404
    mirror.store.set_ref(Ref(Kind.PACKAGE, "kubeadm", "1", "amd64", digest, 6, "build"))
    assert mirror(f"/pkg/sha256/{digest[7:]}")[::2] == (200, b"packed")


def test_media_types(mirror: Mirror, registry: Registry) -> None:
    image = image_maker.image(10)
    registry.add_index(NAME, "1", {"amd64": image})
    assert mirror(TAG)[1]["Content-Type"] == OCI_INDEX
    path = f"/v2/{NAME}/manifests/{image.digest}?ns=docker.io"
    assert mirror(path)[1]["Content-Type"] == OCI_MANIFEST


def test_it_is_a_mirror_as_clusters_name_one(
    mirror: Mirror, registry: Registry, tmp_path: Path
) -> None:
    """Another machine's ``sources.mirror`` gets files and images from here."""
    image = image_maker.image(3000, arch="amd64")
    registry.add(NAME, "1", image)
    data = b"kubelet" * 100
    url = registry.on("/release/v1/kubelet", Answer(data))
    mirror.published[url] = digests.of_bytes(data)
    other = Store(tmp_path / "other")
    context = sources.SourceContext(
        store=other,
        sources=Sources(mirror=f"http://127.0.0.1:{mirror.listener.port}"),
        reporter=NullReporter(),
        paths=paths.from_environment(),
    )
    source = sources.load("mirror", context)
    source.available()
    spec = ImageSpec(
        name="box", version="1", ref=FULL, node_roles=("worker",), binary="x", entrypoint="/x"
    )
    assert source.image(spec, "amd64") == image.digest
    assert all(other.has(digest) for digest in image.blobs)
    assert isinstance(source, FetchSource)
    file = source.file(Download(url=url, digest=digests.of_bytes(data)))
    assert file.read_bytes() == data


def test_what_came_out_of_an_archive_is_not_served_in_its_place(mirror: Mirror) -> None:
    tool, proof = mirror.store.put_bytes(b"tool"), mirror.store.put_bytes(b"{}")
    url = "https://example.org/tool.tar.gz"
    own = "https://example.org/own"
    archive = digests.of_bytes(b"archive")
    set_ref = mirror.store.set_ref
    set_ref(Ref(Kind.BINARY, "upstream:t", "1", "amd64", tool, 4, "upstream", f"{url}#{archive}"))
    set_ref(Ref(Kind.BINARY, "upstream:u", "1", "amd64", tool, 4, "upstream", f"{url}#"))
    set_ref(Ref(Kind.FILE, EVIDENCE, tool, "amd64", proof, 2, "upstream", url))
    set_ref(Ref(Kind.BINARY, "upstream:o", "1", "amd64", tool, 4, "upstream", f"{own}#{tool}"))
    assert mirror("/example.org/tool.tar.gz")[0] == 404
    assert mirror("/example.org/own")[::2] == (200, b"tool")
    mirror.published[url] = archive
    mirror.store.put_bytes(b"archive")
    assert mirror("/example.org/tool.tar.gz")[::2] == (200, b"archive")


def test_a_reviewed_file_is_served_whatever_a_reference_says(mirror: Mirror) -> None:
    reviewed, other = mirror.store.put_bytes(b"right"), mirror.store.put_bytes(b"wrong")
    url = "https://example.org/f"
    mirror.published[url] = reviewed
    mirror.store.set_ref(Ref(Kind.FILE, "f", "1", "any", other, 5, "bundle", url))
    assert mirror("/example.org/f")[::2] == (200, b"right")


def test_a_media_type_that_would_end_the_header_is_refused(
    mirror: Mirror, registry: Registry
) -> None:
    image = image_maker.image(10, media="a/b\r\nX-Forged: 1")
    registry.add(NAME, "1", image)
    status, headers, _ = mirror(TAG)
    assert status >= 500
    assert "X-Forged" not in headers


def test_a_blob_that_is_pruned_at_the_last_moment(
    mirror: Mirror, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = image_maker.image(10)
    registry.add(NAME, "1", image)
    pull(mirror, image)
    real = Store.trusted

    def then_pruned(store: Store, digest: str) -> Blob:
        blob = real(store, digest)
        store.discard(digest)
        return blob

    monkeypatch.setattr(Store, "trusted", then_pruned)
    assert mirror(blob_path(image.layers[0]))[0] == 404
    monkeypatch.undo()
    assert mirror(blob_path(image.layers[0]))[0] == 200


def test_a_path_that_is_no_url(mirror: Mirror) -> None:
    # By hand: a client that means well does not send it.
    with socket.create_connection(("127.0.0.1", mirror.listener.port), timeout=10) as client:
        client.sendall(b"GET http://[/x HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 400 ")


def test_a_host_without_threads_left_serves_again_when_it_has_some(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = threading.Semaphore(0)

    def no_thread(server: object, request: object, address: object) -> None:
        failed.release()
        raise RuntimeError("can't start new thread")

    server = mirror.listener._http
    assert server is not None
    server._slots = threading.BoundedSemaphore(1)
    with monkeypatch.context() as patch:
        patch.setattr(socketserver.ThreadingMixIn, "process_request", no_thread)
        for _ in range(2):
            with contextlib.suppress(OSError, http.client.HTTPException):
                mirror("/v2/")
            assert failed.acquire(timeout=10)
    assert mirror("/v2/")[0] == 200
