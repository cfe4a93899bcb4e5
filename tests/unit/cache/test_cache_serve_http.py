"""The server's HTTP, byte by byte, without containerd."""

from __future__ import annotations

import http.client
import json
import os
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from ohmykube.cache import unpack
from ohmykube.cache.manifest import DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from ohmykube.cache.pack import Member, pack
from ohmykube.cache.serve import Server
from ohmykube.cache.serve import listener as serve
from ohmykube.cache.serve.cluster_artifacts import ClusterArtifacts
from ohmykube.cache.store import Store
from ohmykube.errors import IntegrityError, NotFoundError, OhmykubeError
from ohmykube.kit.secret import Secret
from ohmykube.model.artifact import Kind
from tests import image_maker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TOKEN = "secret"
REF = "registry.k8s.io/coredns/coredns:v1"
SIZE = 300_000


class Client:
    def __init__(self, server: Server) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)

    def __call__(
        self, path: str, method: str = "GET", token: str = TOKEN, **headers: str
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if token:
            sent["Authorization"] = f"Bearer {token}"
        self.connection.request(method, path, headers=sent)
        response = self.connection.getresponse()
        return response.status, response.headers, response.read()


def answers(server: Server) -> bool:
    client = Client(server)
    status = client("/v2/")[0]
    client.connection.close()
    return status == 200


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


@pytest.fixture
def image(store: Store) -> image_maker.Image:
    made = image_maker.image(SIZE)
    made.put(store)
    return made


@pytest.fixture
def package(store: Store, tmp_path: Path) -> tuple[str, bytes, str]:
    (tmp_path / "runc").write_bytes(b"runc" * 100_000)
    packed = pack({"usr/bin/runc": Member(tmp_path / "runc", 0o755)}, tmp_path / "p.tar.zst")
    store.put_file(tmp_path / "p.tar.zst")
    return packed.digest, (tmp_path / "p.tar.zst").read_bytes(), packed.content_digest


@pytest.fixture
def server(
    store: Store, image: image_maker.Image, package: tuple[str, bytes, str]
) -> Iterator[Server]:
    lock = image_maker.lock(
        image_maker.locked(Kind.IMAGE, REF, image.digest),
        image_maker.locked(Kind.PACKAGE, "containerd", package[0], package[2]),
    )
    with Server(store, lock, Secret(TOKEN)) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    one = Client(server)
    yield one
    one.connection.close()


NAME = "/v2/coredns/coredns"
NS = "?ns=registry.k8s.io"


@pytest.mark.parametrize("token", ["", "Secret", "secret ", "sécret"])
@pytest.mark.parametrize("path", ["/v2/", "/", f"{NAME}/manifests/v1{NS}"])
def test_the_token_is_wanted_everywhere(client: Client, path: str, token: str) -> None:
    status, headers, body = client(path, token=token.encode().decode("latin-1"))
    assert status == 401
    assert headers["WWW-Authenticate"]
    assert json.loads(body)["errors"][0]["code"] == "UNAUTHORIZED"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("tag", ["v1", "digest"])
def test_manifests_by_tag_and_digest(
    client: Client, image: image_maker.Image, method: str, tag: str
) -> None:
    name = image.digest if tag == "digest" else tag
    for path in (f"{NAME}/manifests/{name}{NS}", f"/v2/{REF.partition(':')[0]}/manifests/{name}"):
        status, headers, body = client(path, method)
        assert status == 200
        assert headers["Content-Type"] == OCI_MANIFEST
        assert headers["Docker-Content-Digest"] == image.digest
        assert int(headers["Content-Length"]) == len(image.manifest)
        assert body == (image.manifest if method == "GET" else b"")
    assert client("/v2/")[0] == 200


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_blobs(client: Client, server: Server, image: image_maker.Image, method: str) -> None:
    for digest, data in image.blobs.items():
        status, headers, body = client(f"{NAME}/blobs/{digest}{NS}", method)
        assert (status, headers["Content-Type"]) == (200, "application/octet-stream")
        assert headers["Docker-Content-Digest"] == digest
        assert int(headers["Content-Length"]) == len(data)
        assert body == (data if method == "GET" else b"")
    client("/v2/")  # the same thread answers it, so what it did before is counted
    total = sum(map(len, image.blobs.values())) if method == "GET" else 0
    assert server.stats.sent == total
    assert server.stats.requests == 3


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=10-19", 10, 19),
        ("bytes=1000-", 1000, None),
        ("bytes=-5", -5, None),
        ("bytes=-99999999", 0, None),
        ("bytes=5-99999999999", 5, None),
    ],
)
def test_ranges(
    client: Client, image: image_maker.Image, asked: str, first: int, last: int | None
) -> None:
    digest = image.layers[0]
    data = image.blobs[digest]
    status, headers, body = client(f"{NAME}/blobs/{digest}", Range=asked)
    expected = data[first:] if last is None else data[first : last + 1]
    assert (status, body) == (206, expected)
    start = first % len(data) if first < 0 else first
    assert headers["Content-Range"] == f"bytes {start}-{start + len(expected) - 1}/{len(data)}"


@pytest.mark.parametrize("asked", ["bytes=99999999-", "bytes=-0"])
def test_ranges_that_are_not_there(client: Client, image: image_maker.Image, asked: str) -> None:
    digest = image.layers[0]
    status, headers, body = client(f"{NAME}/blobs/{digest}", Range=asked)
    assert (status, body) == (416, b"")
    assert headers["Content-Range"] == f"bytes */{len(image.blobs[digest])}"
    assert client("/v2/")[0] == 200


@pytest.mark.parametrize(
    "asked",
    ["bytes=0-1,5-6", "bytes=-", "lines=1-2", "bytes=9-5", "bytes=a-b", "bytes=" + "9" * 99],
)
def test_ranges_that_are_ignored(client: Client, image: image_maker.Image, asked: str) -> None:
    digest = image.layers[0]
    status, _, body = client(f"{NAME}/blobs/{digest}", Range=asked)
    assert (status, body) == (200, image.blobs[digest])


def test_if_range(client: Client, image: image_maker.Image) -> None:
    digest = image.layers[0]
    path = f"{NAME}/blobs/{digest}"
    tag = client(path, "HEAD")[1]["ETag"]
    assert client(path, Range="bytes=5-", If_Range=tag)[0] == 206
    assert client(path, Range="bytes=5-", If_Range='"old"')[0] == 200


def test_packages_packed_and_plain(
    client: Client, server: Server, package: tuple[str, bytes, str]
) -> None:
    digest, data, content_digest = package
    path = f"/pkg/sha256/{digest[7:]}"
    status, headers, body = client(path)
    assert (status, headers["Content-Type"], body) == (200, "application/zstd", data)
    assert client(path, Range="bytes=5-9")[2] == data[5:10]
    status, headers, body = client(f"{path}?enc=identity", Ohmykube_Node="w1")
    assert (status, headers["Content-Type"]) == (200, "application/x-tar")
    assert unpack.digests.of_bytes(body) == content_digest
    client("/v2/")
    assert server.stats.by_client["w1"] == len(body)
    status, headers, body = client(f"{path}?enc=identity", "HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["Content-Length"]) == server.stats.by_client["w1"]


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/pkg/sha256/" + "0" * 64,
        "/pkg/sha256/xyz",
        f"{NAME}/manifests/v2{NS}",
        f"{NAME}/manifests/v1?ns=docker.io",
        f"{NAME}/blobs/sha256:{'0' * 64}",
        f"{NAME}/blobs/..%2f..%2frefs.json",
        f"{NAME}/tags/list",
        "/v2/../../etc/passwd",
        "/v2/%ff/manifests/1",
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_nothing_else_is_served(client: Client, path: str, method: str) -> None:
    status, _, body = client(path, method)
    assert status == 404
    assert (json.loads(body)["errors"][0]["code"] == "NOT_FOUND") if method == "GET" else not body
    assert client("/v2/")[0] == 200


def test_blobs_outside_the_lock_do_not_exist(client: Client, store: Store) -> None:
    digest = store.put_bytes(b"another cluster's")
    assert client(f"{NAME}/blobs/{digest}")[0] == 404
    assert client(f"{NAME}/manifests/{digest}")[0] == 404
    assert client(f"/pkg/sha256/{digest[7:]}")[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "BREW"])
def test_it_is_read_only(client: Client, method: str) -> None:
    assert client("/v2/", method)[0] == 501


def test_a_body_is_not_taken_for_the_next_request(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as raw:
        inner = b"GET /v2/ HTTP/1.1\r\n\r\n"
        raw.sendall(
            b"GET /v2/ HTTP/1.1\r\nAuthorization: Bearer secret\r\nContent-Length: %d\r\n\r\n%s"
            % (len(inner), inner)
        )
        answer = b""
        while data := raw.recv(65536):
            answer += data
    assert answer.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize(
    "text", [b"\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01" * 50 + b"\r\n"]
)
def test_nonsense_ends_the_connection_silently(
    server: Server, capfd: pytest.CaptureFixture[str], text: bytes
) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as raw:
        raw.sendall(text)
        raw.shutdown(socket.SHUT_WR)
        while raw.recv(65536):
            pass
    with socket.create_connection(("127.0.0.1", server.port)) as raw:
        raw.sendall(b"GET /v2/ HTTP/1.1\r\n")
    assert answers(server)
    assert capfd.readouterr() == ("", "")


def test_a_rotten_blob_is_found_once_and_not_sent(
    client: Client, server: Server, store: Store, image: image_maker.Image
) -> None:
    digest = image.layers[0]
    path = store.path(digest)
    assert client(f"{NAME}/blobs/{digest}")[0] == 200
    assert server.damaged is None
    path.chmod(0o644)
    path.write_bytes(b"rotten" * 1000)
    status, _, body = client(f"{NAME}/blobs/{digest}")
    assert (status, json.loads(body)["errors"][0]["code"]) == (500, "DAMAGED")
    assert client(f"{NAME}/blobs/{digest}")[0] == 404
    assert server.damaged is not None
    assert digest in str(server.damaged.why)
    assert server.stats.sent == len(image.blobs[digest])  # the first time
    image.put(store)
    assert client(f"{NAME}/blobs/{digest}")[2] == image.blobs[digest]


def test_a_blob_is_hashed_again_when_its_file_changed(
    client: Client, store: Store, image: image_maker.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []
    original = Store.verify

    def verify(self: Store, digest: str) -> int:
        hashed.append(digest)
        return original(self, digest)

    monkeypatch.setattr(Store, "verify", verify)
    client(f"{NAME}/blobs/{image.layers[0]}")
    assert hashed == []  # it was hashed when it came in
    os.utime(store.path(image.layers[0]), (1, 1))
    for _ in range(3):
        client(f"{NAME}/blobs/{image.layers[0]}")
    assert hashed == [image.layers[0]]


def test_many_clients_at_once(
    server: Server, image: image_maker.Image, eventually: Callable[[Callable[[], bool]], bool]
) -> None:
    digest = image.layers[0]
    bodies: list[bytes] = []

    def get() -> None:
        one = Client(server)
        bodies.append(one(f"{NAME}/blobs/{digest}")[2])
        one.connection.close()

    threads = [threading.Thread(target=get) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert bodies == [image.blobs[digest]] * 12
    assert eventually(lambda: server.stats.by_blob[digest] == 12 * len(image.blobs[digest]))


def test_a_client_that_hangs_up_disturbs_nobody(
    store: Store, capfd: pytest.CaptureFixture[str]
) -> None:
    big = image_maker.image(20_000_000)
    big.put(store)
    with Server(
        store, image_maker.lock(image_maker.locked(Kind.IMAGE, REF, big.digest)), TOKEN
    ) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as raw:
            path = f"{NAME}/blobs/{big.layers[0]}"
            raw.sendall(f"GET {path} HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode())
            assert raw.recv(100).startswith(b"HTTP/1.1 200")
        assert answers(server)
    assert capfd.readouterr() == ("", "")


def test_too_many_clients_do_not_keep_it_from_ending(
    store: Store, monkeypatch: pytest.MonkeyPatch, eventually: Callable[[Callable[[], bool]], bool]
) -> None:
    monkeypatch.setattr(serve, "CONNECTIONS", 2)
    monkeypatch.setattr(serve, "_WAIT_SECONDS", 0.05)
    with Server(store, image_maker.lock(), TOKEN) as server:
        held = [socket.create_connection(("127.0.0.1", server.port), timeout=20) for _ in range(3)]
        assert held[0].recv(1) == b""  # one too many: who has waited longest goes
        held[1].close()

        def welcome() -> bool:
            try:
                return answers(server)
            except (http.client.HTTPException, OSError):
                return False

        assert eventually(welcome)
    for one in held:
        one.close()


def test_who_asks_for_nothing_keeps_nobody_out(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "CONNECTIONS", 3)
    with Server(store, image_maker.lock(), TOKEN) as server:
        held = [socket.create_connection(("127.0.0.1", server.port), timeout=20) for _ in range(9)]
        for one in held:
            with suppress(OSError):  # ended already
                one.sendall(b"GET /v2/ HTTP/1.1\r\nX-Slow: ")
        assert answers(server), "a whole request comes before those that never end"
        for one in held:
            one.close()


def test_an_index_offers_the_platforms_that_are_there(store: Store) -> None:
    one = image_maker.image(1000, media=DOCKER_MANIFEST)
    one.put(store)
    other = image_maker.image(2000, seed=2, arch="arm64")
    entries = [
        image_maker.describe(made.manifest, media)
        for made, media in ((one, DOCKER_MANIFEST), (other, OCI_MANIFEST))
    ]
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()
    digest = store.put_bytes(index)
    lock = image_maker.lock(image_maker.locked(Kind.IMAGE, f"{REF}@{digest}", digest))
    with Server(store, lock, TOKEN) as server:
        client = Client(server)
        status, headers, body = client(f"{NAME}/manifests/v1{NS}")
        assert (status, headers["Content-Type"], body) == (200, OCI_INDEX, index)
        status, headers, body = client(f"{NAME}/manifests/{one.digest}{NS}")
        assert (status, headers["Content-Type"], body) == (200, DOCKER_MANIFEST, one.manifest)
        assert client(f"{NAME}/manifests/{other.digest}{NS}")[0] == 404
        assert client(f"{NAME}/blobs/{one.layers[0]}{NS}")[0] == 200
        client.connection.close()


def test_it_starts_only_with_everything_there(store: Store, image: image_maker.Image) -> None:
    missing = image_maker.lock(image_maker.locked(Kind.IMAGE, REF, "sha256:" + "0" * 64))
    with pytest.raises(NotFoundError), Server(store, missing, TOKEN):
        pass
    junk = image_maker.lock(image_maker.locked(Kind.IMAGE, REF, store.put_bytes(b"junk")))
    with pytest.raises(IntegrityError), Server(store, junk, TOKEN):
        pass
    with store.alone():
        assert store.leases() == ()  # nothing is held after a failed start


def test_it_ends_with_its_block(store: Store, image: image_maker.Image) -> None:
    lock = image_maker.lock(image_maker.locked(Kind.IMAGE, REF, image.digest))
    server = Server(store, lock, TOKEN)
    with pytest.raises(OhmykubeError, match="not running"):
        _ = server.port
    with server:
        port = server.port
        client = Client(server)
        assert client("/v2/")[0] == 200
        with store.alone():  # a prune meanwhile is welcome: it sees what is needed
            assert [lease.digests for lease in store.leases()] == [{image.digest, *image.blobs}]
    with pytest.raises((http.client.HTTPException, OSError)):
        client("/v2/")
    client.connection.close()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port))
    assert store.leases() == ()


def test_a_file_that_is_cut_while_it_is_sent(
    store: Store, image: image_maker.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client sees a short body, never other bytes."""
    monkeypatch.setattr(serve, "_SLICE", 1000)
    digest = image.layers[0]
    original = socket.socket.sendfile

    def sendfile(self: socket.socket, file: object, offset: int = 0, count: int = 0) -> int:
        if offset >= 5000:
            path = store.path(digest)
            path.chmod(0o644)
            os.truncate(path, 5000)
        return original(self, file, offset, count)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "sendfile", sendfile)
    lock = image_maker.lock(image_maker.locked(Kind.IMAGE, REF, image.digest))
    with Server(store, lock, TOKEN) as server:
        client = Client(server)
        with pytest.raises(http.client.IncompleteRead) as caught:
            client(f"{NAME}/blobs/{digest}")
        assert caught.value.partial == image.blobs[digest][:5000]
        client.connection.close()


def test_a_package_that_cannot_be_unpacked(store: Store, package: tuple[str, bytes, str]) -> None:
    """Its digest is right, so the damage shows only while its plain form is sent."""
    data = bytearray(package[1])
    data[-1] ^= 1
    late, early = store.put_bytes(bytes(data)), store.put_bytes(b"no zstd")
    lock = image_maker.lock(
        image_maker.locked(Kind.PACKAGE, "containerd", late),
        image_maker.locked(Kind.PACKAGE, "kubeadm", early),
    )
    with Server(store, lock, TOKEN) as server:
        client = Client(server)
        assert client(f"/pkg/sha256/{early[7:]}?enc=identity")[0] == 500
        with pytest.raises(http.client.IncompleteRead):
            client(f"/pkg/sha256/{late[7:]}?enc=identity")
        client.connection.close()
        assert answers(server)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_addresses_of_both_families(store: Store, host: str) -> None:
    content = ClusterArtifacts(store, image_maker.lock())
    with serve.Listener(store, content, address=(host, 0)) as listener:
        connection = http.client.HTTPConnection(host, listener.port, timeout=20)
        connection.request("GET", "/v2/")
        assert connection.getresponse().status == 200
        connection.close()


def test_a_blob_inside_a_bundle_is_sent_from_there(
    tmp_path: Path, image: image_maker.Image
) -> None:
    """Without a copy: the pool of this store stays empty."""
    empty = Store(tmp_path / "other")
    bundle, places = b"x" * 777, {}
    for digest, data in {image.digest: image.manifest, **image.blobs}.items():
        places[digest] = (len(bundle), len(data))
        bundle += data + b"y" * 5
    (tmp_path / "bundle.tar").write_bytes(bundle)
    empty.attach(tmp_path / "bundle.tar", places)
    lock = image_maker.lock(image_maker.locked(Kind.IMAGE, REF, image.digest))
    with Server(empty, lock, TOKEN) as server:
        client = Client(server)
        for digest, data in image.blobs.items():
            assert client(f"{NAME}/blobs/{digest}")[2] == data
            assert client(f"{NAME}/blobs/{digest}", Range="bytes=7-")[2] == data[7:]
        assert client(f"{NAME}/manifests/v1{NS}")[2] == image.manifest
        client.connection.close()
    assert empty.digests() == ()
