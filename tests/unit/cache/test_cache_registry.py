"""Pulling from a registry: tokens, platforms, digests."""

from __future__ import annotations

import base64
import json
import urllib.parse
from typing import TYPE_CHECKING

import pytest

from ohmykube.cache import manifest
from ohmykube.cache.download import Downloader
from ohmykube.cache.manifest import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    Index,
    Manifest,
)
from ohmykube.cache.registry_client import Reference, RegistryClient, Repository
from ohmykube.cache.store import Store
from ohmykube.cache.transport import Timing, Transport
from ohmykube.errors import IntegrityError, NetworkError
from ohmykube.kit import digest as digests
from ohmykube.progress import NullReporter
from tests import image_maker
from tests.fault_server import Answer, FaultServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

QUICK = Timing(connect=2, read=5, attempts=2, pause=0.01)
PAUSE = Reference("registry.k8s.io", "pause", "3.10")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultServer]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with FaultServer() as running:
        yield running


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


@pytest.fixture
def client(store: Store, tmp_path: Path) -> RegistryClient:
    downloader = Downloader(store, NullReporter(), Transport(QUICK))
    return RegistryClient(downloader, tmp_path / "config.json")


def publish(server: FaultServer, image: image_maker.Image, *names: str) -> None:
    headers = {"Docker-Content-Digest": image.digest}
    for name in (*names, image.digest):
        server.on(f"/v2/pause/manifests/{name}", Answer(image.manifest, headers=headers))
    for digest, data in image.blobs.items():
        server.on(f"/v2/pause/blobs/{digest}", Answer(data, etag=f'"{digest}"'))


def index_of(media: str = OCI_INDEX, **images: image_maker.Image) -> bytes:
    entries = []
    for arch, image in images.items():
        entry = image_maker.describe(image.manifest, OCI_MANIFEST)
        entries.append({**entry, "platform": {"os": "linux", "architecture": arch}})
    return json.dumps({"schemaVersion": 2, "mediaType": media, "manifests": entries}).encode()


def pull(client: RegistryClient, server: FaultServer, **options: str) -> str:
    reference = options.pop("reference", None) or PAUSE
    return client.pull(
        reference,  # type: ignore[arg-type]
        options.pop("arch", "amd64"),
        at=Repository(server.url, "pause"),
        **options,
    )


@pytest.mark.parametrize("media", [OCI_MANIFEST, DOCKER_MANIFEST])
def test_an_image_comes_byte_for_byte(
    client: RegistryClient, server: FaultServer, store: Store, media: str
) -> None:
    image = image_maker.image(5000, 700_000, media=media)
    publish(server, image, "3.10")
    assert pull(client, server) == image.digest
    assert store.path(image.digest).read_bytes() == image.manifest
    assert set(store.digests()) == {image.digest, *image.blobs}
    accept = server.headers_of("/v2/pause/manifests/3.10")[0]["Accept"]
    assert {OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST} == set(accept.split(", "))
    before = len(server.seen)
    assert pull(client, server, digest=image.digest) == image.digest
    assert len(server.seen) == before


@pytest.mark.parametrize("media", [OCI_INDEX, DOCKER_LIST])
def test_one_platform_of_an_index(
    client: RegistryClient, server: FaultServer, store: Store, media: str
) -> None:
    wanted, other = image_maker.image(900, arch="arm64"), image_maker.image(900, seed=2)
    for image in (wanted, other):
        publish(server, image)
    index = index_of(media, amd64=other, arm64=wanted)
    server.on("/v2/pause/manifests/3.10", Answer(index))
    assert pull(client, server, arch="arm64") == wanted.digest
    # The index stays, with the wanted architecture's children alone.
    assert set(store.digests()) == {wanted.digest, *wanted.blobs, digests.of_bytes(index)}
    assert client.index_of(wanted.digest) == digests.of_bytes(index)
    assert client.index_of(other.digest) == ""
    assert set(manifest.closure(store, digests.of_bytes(index))) == set(store.digests())
    with pytest.raises(NetworkError, match="not there for riscv64") as caught:
        pull(client, server, arch="riscv64")
    assert caught.value.id == "OMK-I-241"
    assert "amd64, arm64" in (caught.value.why or "")


def test_an_image_is_pulled_by_the_digest_of_its_index(
    client: RegistryClient, server: FaultServer, store: Store
) -> None:
    image = image_maker.image(900)
    publish(server, image)
    index = index_of(amd64=image)
    name = digests.of_bytes(index)
    server.on(f"/v2/pause/manifests/{name}", Answer(index))
    pinned = Reference("registry.k8s.io", "pause", "3.10", name)
    assert pull(client, server, reference=pinned) == image.digest  # type: ignore[arg-type]
    assert store.path(name).read_bytes() == index


def test_sizes_that_do_not_fit_are_refused(
    client: RegistryClient, server: FaultServer, store: Store
) -> None:
    """Every digest is right; only what the manifests say about sizes is not."""
    image = image_maker.image(900, 800)
    publish(server, image)
    wrong = json.loads(index_of(amd64=image))
    wrong["manifests"][0]["size"] += 1
    server.on("/v2/pause/manifests/3.10", Answer(json.dumps(wrong).encode()))
    with pytest.raises(IntegrityError, match="another size") as caught:
        pull(client, server)
    assert caught.value.id == "OMK-I-703"
    document = json.loads(image.manifest)
    document["layers"][1]["size"] += 5
    lying = image_maker.Image(json.dumps(document).encode(), image.blobs)
    publish(server, lying, "3.10")
    with pytest.raises(IntegrityError, match="another size") as caught:
        pull(client, server)
    assert image.layers[1] in (caught.value.why or "")


def test_the_first_format_of_docker_is_named(client: RegistryClient, server: FaultServer) -> None:
    old = {
        "schemaVersion": 1,
        "name": "pause",
        "tag": "3.10",
        "architecture": "amd64",
        "fsLayers": [{"blobSum": "sha256:" + "0" * 64}],
        "history": [{"v1Compatibility": "{}"}],
        "signatures": [{"protected": "e30"}],
    }
    server.on("/v2/pause/manifests/3.10", Answer(json.dumps(old).encode()))
    with pytest.raises(IntegrityError, match="Docker's first format") as caught:
        pull(client, server)
    assert caught.value.id == "OMK-I-704"
    assert "pushed again" in (caught.value.hint or "")


def test_a_manifest_in_an_encoding_that_was_not_asked_for(
    client: RegistryClient, server: FaultServer
) -> None:
    packed = Answer(b"\x1f\x8b", headers={"Content-Encoding": "gzip"})
    server.on("/v2/pause/manifests/3.10", packed)
    with pytest.raises(NetworkError, match="not asked for"):
        pull(client, server)


def test_a_token_that_ends_in_the_middle_of_a_layer_is_renewed_and_the_layer_resumed(
    client: RegistryClient, server: FaultServer, store: Store
) -> None:
    image = image_maker.image(900_000)
    wants_token(server, image, Answer(b'{"token": "one"}'))
    server.answers["/token"].append(Answer(b'{"token": "two"}'))
    layer = image.layers[0]
    path, data = f"/v2/pause/blobs/{layer}", image.blobs[layer]
    realm = f'Bearer realm="{server.url}/token",service="reg",error="invalid_token"'
    server.on(
        path,
        Answer(data[:300_000], length=len(data), etag='"x"'),
        Answer(status=401, headers={"WWW-Authenticate": realm}),
        Answer(data, etag='"x"'),
    )
    assert pull(client, server) == image.digest
    assert store.verify(layer) == len(data)
    first, refused, resumed = server.headers_of(path)
    assert [h.get("Authorization") for h in (first, refused, resumed)] == [
        "Bearer one",
        "Bearer one",
        "Bearer two",
    ]
    assert resumed["Range"] == "bytes=300000-"
    assert resumed["If-Range"] == '"x"'
    assert server.count["/token"] == 2


def test_an_index_of_indexes_and_the_wrong_platform_are_refused(
    client: RegistryClient, server: FaultServer, store: Store
) -> None:
    image = image_maker.image(900, arch="arm64")
    publish(server, image, "3.10")
    with pytest.raises(NetworkError, match="not there for amd64") as caught:
        pull(client, server)
    assert "arm64" in (caught.value.why or "")
    inner = index_of(amd64=image)
    outer = json.loads(index_of(amd64=image))
    outer["manifests"][0] |= image_maker.describe(inner, OCI_INDEX)
    server.on("/v2/pause/manifests/3.10", Answer(json.dumps(outer).encode()))
    server.on(f"/v2/pause/manifests/{digests.of_bytes(inner)}", Answer(inner))
    with pytest.raises(NetworkError, match="not there for amd64"):
        pull(client, server)


def test_manifests_are_checked(client: RegistryClient, server: FaultServer, store: Store) -> None:
    image = image_maker.image(900)
    publish(server, image)
    lie = {"Docker-Content-Digest": "sha256:" + "0" * 64}
    server.on("/v2/pause/manifests/3.10", Answer(image.manifest, headers=lie))
    with pytest.raises(IntegrityError, match="manifest at") as caught:
        pull(client, server)
    assert caught.value.id == "OMK-I-240"
    server.on(f"/v2/pause/manifests/{image.digest}", Answer(image.manifest + b" "))
    for options in ({"digest": image.digest}, {}):
        pinned = Reference("registry.k8s.io", "pause", "3.10", image.digest)
        with pytest.raises(IntegrityError, match="manifest at"):
            pull(client, server, reference=pinned, **options)  # type: ignore[arg-type]
    server.on("/v2/pause/manifests/3.10", Answer(b" " * (manifest.MAX_BYTES + 1)))
    with pytest.raises(NetworkError, match="larger"):
        pull(client, server)
    assert store.digests() == ()


def test_a_wrong_or_oversized_blob_is_refused(
    client: RegistryClient, server: FaultServer, store: Store
) -> None:
    image = image_maker.image(90_000)
    publish(server, image, "3.10")
    path = f"/v2/pause/blobs/{image.layers[0]}"
    data = image.blobs[image.layers[0]]
    server.on(path, Answer(data[:-1] + b"x"))
    with pytest.raises(IntegrityError, match="is not the file"):
        pull(client, server)
    server.on(path, Answer(data + b"x"))
    with pytest.raises(NetworkError, match="larger"):
        pull(client, server)
    assert not store.has(image.layers[0])


def wants_token(server: FaultServer, image: image_maker.Image, answer: Answer) -> None:
    """Every path answers 401 once, then what it has; the token service gives ``answer``."""
    publish(server, image, "3.10")
    realm = f'Bearer realm="{server.url}/token",service="reg",scope="repository:pause:pull"'
    refusal = Answer(status=401, headers={"WWW-Authenticate": realm})
    for path, script in server.answers.items():
        server.answers[path] = [refusal, *script] if path.endswith("3.10") else script
    server.answers["/token"] = [answer]


@pytest.mark.parametrize("field", ["token", "access_token"])
def test_an_anonymous_token_is_asked_for_once(
    client: RegistryClient, server: FaultServer, field: str
) -> None:
    image = image_maker.image(900, 800, 700)
    wants_token(server, image, Answer(json.dumps({field: "t0k"}).encode()))
    pull(client, server)
    assert server.count["/token"] == 1
    assert "Authorization" not in server.headers_of("/token")[0]
    assert server.headers_of("/v2/pause/manifests/3.10")[1]["Authorization"] == "Bearer t0k"
    for digest in image.blobs:
        assert server.headers_of(f"/v2/pause/blobs/{digest}")[0]["Authorization"] == "Bearer t0k"


def test_a_stale_token_is_renewed(client: RegistryClient, server: FaultServer) -> None:
    image = image_maker.image(900)
    wants_token(server, image, Answer(b'{"token": "one"}'))
    pull(client, server)
    other = image_maker.image(900, seed=4)
    wants_token(server, other, Answer(b'{"token": "two"}'))
    assert pull(client, server) == other.digest
    assert server.headers_of("/v2/pause/manifests/3.10")[-1]["Authorization"] == "Bearer two"


def test_the_docker_login_is_used(
    client: RegistryClient, server: FaultServer, tmp_path: Path
) -> None:
    auth = base64.b64encode(b"me:secret").decode()
    host = urllib.parse.urlsplit(server.url).netloc
    (tmp_path / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}))
    image = image_maker.image(900)
    wants_token(server, image, Answer(b'{"token": "t"}'))
    pull(client, server)
    assert server.headers_of("/token")[0]["Authorization"] == f"Basic {auth}"
    basic = image_maker.image(900, seed=3)
    publish(server, basic, "3.10")
    refusal = Answer(status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})
    server.answers["/v2/pause/manifests/3.10"].insert(0, refusal)
    assert pull(client, server) == basic.digest
    sent = server.headers_of("/v2/pause/manifests/3.10")[-1]["Authorization"]
    assert sent == f"Basic {auth}"


@pytest.mark.parametrize(
    ("challenge", "answer"),
    [
        ('Bearer realm="{url}/token"', Answer(status=403)),
        ('Bearer realm="{url}/token"', Answer(b"[]")),
        ('Bearer realm="{url}/token"', Answer(b"{")),
        ('Bearer realm="ftp://x/token"', Answer(b'{"token": "t"}')),
        ("Bearer", Answer(b'{"token": "t"}')),
        ('Basic realm="x"', Answer()),
        ("", Answer()),
    ],
)
def test_refusals_name_the_login(
    client: RegistryClient, server: FaultServer, challenge: str, answer: Answer
) -> None:
    header = {"WWW-Authenticate": challenge.format(url=server.url)}
    server.on("/v2/pause/manifests/3.10", Answer(status=401, headers=header))
    server.on("/token", answer)
    with pytest.raises(NetworkError, match="refuses pause") as caught:
        pull(client, server)
    assert caught.value.id == "OMK-I-242"
    assert (caught.value.hint or "").startswith("docker login 127.0.0.1:")


def test_a_token_that_does_not_help_ends_it(client: RegistryClient, server: FaultServer) -> None:
    header = {"WWW-Authenticate": f'Bearer realm="{server.url}/token"'}
    server.on("/v2/pause/manifests/3.10", Answer(status=401, headers=header))
    server.on("/token", Answer(b'{"token": "t"}'))
    with pytest.raises(NetworkError, match="cannot be fetched") as caught:
        pull(client, server)
    assert "401" in (caught.value.why or "")
    query = "service" in server.seen[1][1]
    assert not query


def test_tokens_of_an_https_registry_never_come_over_http(
    client: RegistryClient, server: FaultServer
) -> None:
    repository = Repository("https://registry.test", "pause")
    with pytest.raises(NetworkError, match="refuses pause"):
        client._auth.renew(repository, f'Bearer realm="{server.url}/token"', None)
    assert server.seen == []


@pytest.mark.parametrize("text", ["", "{", "[]", '{"auths": {"x": 1}}', '{"auths": []}'])
def test_an_odd_docker_config_counts_as_none(
    client: RegistryClient, server: FaultServer, tmp_path: Path, text: str
) -> None:
    (tmp_path / "config.json").write_text(text)
    image = image_maker.image(900)
    wants_token(server, image, Answer(b'{"token": "t"}'))
    assert pull(client, server) == image.digest


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("registry.k8s.io/pause:3.10.2", ("registry.k8s.io", "pause", "3.10.2", "")),
        ("localhost:5000/a/b-c/d_e", ("localhost:5000", "a/b-c/d_e", "latest", "")),
        (f"x.io/a:1@sha256:{'0' * 64}", ("x.io", "a", "1", f"sha256:{'0' * 64}")),
    ],
)
def test_references(text: str, expected: tuple[str, str, str, str]) -> None:
    found = Reference.parse(text)
    assert (found.registry, found.name, found.tag, found.digest) == expected


@pytest.mark.parametrize(
    "text", ["", "pause", "x/../y:1", "x.io/A:1", "x.io/a:b c", "x.io/a@md5:1"]
)
def test_odd_references(text: str) -> None:
    with pytest.raises(ValueError, match="not a full image reference"):
        Reference.parse(text)


def test_docker_io_is_called_by_another_name() -> None:
    assert Repository.upstream(Reference("docker.io", "library/x")) == Repository(
        "https://registry-1.docker.io", "library/x"
    )


GOOD = image_maker.describe(b"x", "text/plain")


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"config": GOOD},
        {"config": GOOD, "layers": [{**GOOD, "digest": "sha256:../../x"}]},
        {"config": GOOD, "layers": [{**GOOD, "size": -1}]},
        {"config": GOOD, "layers": [{**GOOD, "size": "1"}]},
        {"config": GOOD, "layers": [GOOD] * 1001},
        {"config": {**GOOD, "mediaType": "x" * 300}, "layers": []},
        {"manifests": {}},
        {"manifests": [1]},
    ],
)
def test_odd_manifests_are_refused(document: dict[str, object]) -> None:
    with pytest.raises(IntegrityError, match="cannot be understood") as caught:
        manifest.parse(json.dumps(document).encode(), "x")
    assert len((caught.value.why or "").splitlines()) == 1


def test_media_types_have_defaults() -> None:
    assert isinstance(
        manifest.parse(json.dumps({"config": GOOD, "layers": []}).encode(), "x"), Manifest
    )
    parsed = manifest.parse(b'{"manifests": []}', "x")
    assert isinstance(parsed, Index)
    assert parsed.media_type == OCI_INDEX
    with pytest.raises(IntegrityError):
        manifest.parse(b"not json", "x")


def test_a_manifest_that_is_no_manifest_in_the_store(store: Store) -> None:
    digest = store.put_bytes(bytes(manifest.MAX_BYTES + 1))
    with pytest.raises(IntegrityError, match="cannot be understood"):
        manifest.read(store, digest)
