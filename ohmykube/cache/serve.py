"""A read-only HTTP server for one cluster's artifacts, reached by its nodes through ssh.

    GET|HEAD /v2/                             registry API version check
    GET|HEAD /v2/<name>/manifests/<tag|digest>    ?ns=<registry> as containerd sends to a mirror
    GET|HEAD /v2/<name>/blobs/<digest>        single ranges
    GET|HEAD /pkg/sha256/<hex>                single ranges; ?enc=identity gives the plain tar

It listens on the loopback only, wants the bearer token on every request and knows no digest beyond
those of the artifact lock. A blob is hashed before it is served for the first time.
"""

from __future__ import annotations

import hmac
import http
import json
import logging
import re
import socket
import socketserver
import threading
import urllib.parse
from collections import Counter
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Self, cast

from ohmykube.cache import manifest, unpack
from ohmykube.errors import IntegrityError, NotFoundError, OhmykubeError
from ohmykube.kit.secret import Secret
from ohmykube.model.artifact import ArtifactLock, Kind

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

    from ohmykube.cache.store import Store

log = logging.getLogger(__name__)

NODE_HEADER = "Ohmykube-Node"
"""A node may name itself here: through the tunnels all clients have the same address."""
IDLE_SECONDS = 120.0
_SLICE = 4 << 20
_ROUTE = re.compile(
    r"/v2/(?P<name>[a-z0-9][a-z0-9._/:-]*)/(?P<what>manifests|blobs)/(?P<ref>[^/]+)"
)
_MANIFESTS = frozenset(manifest.ACCEPT.split(", "))
_PACKAGE = re.compile(r"/pkg/sha256/(?P<hex>[0-9a-f]{64})")
_RANGE = re.compile(r"bytes=(?P<first>[0-9]{0,18})-(?P<last>[0-9]{0,18})")


@dataclass(frozen=True, slots=True)
class ServeStats:
    """What was sent so far, in bytes of bodies."""

    requests: int
    sent: int
    by_blob: Mapping[str, int]
    """Digest to bytes; manifests included."""
    by_client: Mapping[str, int]
    """Node name, or address for a client that does not tell its name."""


class _Counts:
    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._requests = 0
        self._blobs: Counter[str] = Counter()
        self._clients: Counter[str] = Counter()

    def request(self) -> None:
        with self._guard:
            self._requests += 1

    def sent(self, client: str, digest: str, size: int) -> None:
        with self._guard:
            self._blobs[digest] += size
            self._clients[client] += size

    def snapshot(self) -> ServeStats:
        with self._guard:
            blobs, clients = dict(self._blobs), dict(self._clients)
            return ServeStats(self._requests, sum(blobs.values()), blobs, clients)


class Catalogue:
    """Which digests of the store may be served, under which names."""

    def __init__(self, store: Store, lock: ArtifactLock) -> None:
        """Read all manifests; raises NotFoundError or IntegrityError when one is not usable."""
        self._store = store
        self._guard = threading.Lock()
        self._busy: dict[str, threading.Lock] = {}
        self._verified: dict[str, tuple[int, int, int]] = {}
        self.tags: dict[str, str] = {}
        """Full reference with tag to digest of the manifest."""
        self.types: dict[str, str] = {}
        """Digest to media type: manifests, configs and layers."""
        self.manifests: set[str] = set()
        self.packages: set[str] = set()
        self.damaged: IntegrityError | None = None
        """About the first damaged blob that was asked for."""
        for artifact in lock.artifacts:
            if artifact.kind is Kind.IMAGE:
                self._add_image(artifact.name, artifact.digest)
            elif artifact.kind is Kind.PACKAGE:
                self.packages.add(artifact.digest)

    def _add_image(self, name: str, digest: str) -> None:
        found = manifest.closure(self._store, digest)
        self.tags[name.partition("@")[0]] = digest
        self.types |= found
        self.manifests |= {d for d, media in found.items() if d == digest or media in _MANIFESTS}

    def file(self, digest: str) -> Path:
        """Return the file of a blob that was hashed since it last changed.

        Raises:
            NotFoundError: it is not in the store.
            IntegrityError: it is damaged; it is in quarantine now.
        """
        with self._guard:
            busy = self._busy.setdefault(digest, threading.Lock())
        with busy:
            path = self._store.path(digest)
            status = path.stat()
            mark = (status.st_ino, status.st_mtime_ns, status.st_size)
            if self._verified.get(digest) != mark:
                self._verify(digest)
                self._verified[digest] = mark
        return path

    def _verify(self, digest: str) -> None:
        try:
            self._store.verify(digest)
        except IntegrityError as error:
            self.damaged = self.damaged or error
            raise


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, catalogue: Catalogue, token: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.catalogue = catalogue
        self.expected = f"Bearer {token}".encode()
        self.counts = _Counts()
        self._open: set[socket.socket] = set()

    def server_bind(self) -> None:
        # The base class asks the resolver for our own name, which can take many seconds.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "127.0.0.1", self.server_address[1]

    def process_request_thread(self, request: object, client_address: object) -> None:
        connection = cast("socket.socket", request)
        self._open.add(connection)
        try:
            super().process_request_thread(connection, cast("tuple[str, int]", client_address))
        finally:
            self._open.discard(connection)

    def hang_up(self) -> None:
        """End the connections that clients keep open."""
        for connection in tuple(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        # The base class prints a traceback; a client that hangs up is no news.
        log.debug("connection of %s ended", client_address)


class Server:
    """Serves while the ``with`` block runs; threads end with the process at the latest."""

    def __init__(self, store: Store, lock: ArtifactLock, token: str | Secret) -> None:
        self._store = store
        self._lock = lock
        self._token = token.reveal() if isinstance(token, Secret) else token
        self._stack = ExitStack()
        self._http: _HttpServer | None = None

    def __enter__(self) -> Self:
        """Start; raises NotFoundError when an artifact of the lock is not in the store."""
        with ExitStack() as stack:
            stack.enter_context(self._store.using())
            http_server = _HttpServer(Catalogue(self._store, self._lock), self._token)
            stack.callback(http_server.hang_up)
            stack.callback(http_server.server_close)
            thread = threading.Thread(
                target=http_server.serve_forever, args=(0.05,), name="cache-server", daemon=True
            )
            thread.start()
            stack.callback(thread.join)
            stack.callback(http_server.shutdown)
            self._stack = stack.pop_all()
        self._http = http_server
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop taking requests and end all connections."""
        self._stack.close()

    @property
    def port(self) -> int:
        """Port on 127.0.0.1."""
        return int(self._running.server_address[1])

    @property
    def damaged(self) -> IntegrityError | None:
        """What was asked for and found damaged, so that it was not sent; None when all was well."""
        return self._running.catalogue.damaged

    @property
    def stats(self) -> ServeStats:
        """What was sent so far."""
        return self._running.counts.snapshot()

    @property
    def _running(self) -> _HttpServer:
        if self._http is None:
            raise OhmykubeError("the cache server is not running")
        return self._http


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "ohmykube"
    sys_version = ""
    timeout = IDLE_SECONDS
    disable_nagle_algorithm = True  # headers and body are two writes
    server: _HttpServer

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        log.debug("cache server: " + format, *args)  # noqa: G003 - same

    def do_HEAD(self) -> None:
        self._serve()

    def do_GET(self) -> None:
        self._serve()

    def _serve(self) -> None:
        self.server.counts.request()
        given = self.headers.get("Authorization", "").encode("latin-1", "replace")
        if not hmac.compare_digest(given, self.server.expected):
            self._fail(
                http.HTTPStatus.UNAUTHORIZED, "UNAUTHORIZED", "the token is missing or wrong"
            )
            return
        if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # a body nobody reads would be taken for a request
        url = urllib.parse.urlsplit(self.path)
        query = urllib.parse.parse_qs(url.query)
        path = urllib.parse.unquote(url.path)
        try:
            self._route(path, query.get("ns", [""])[0], query.get("enc", [""])[0])
        except (NotFoundError, KeyError):
            self._fail(http.HTTPStatus.NOT_FOUND, "NOT_FOUND", f"{path} is not served here")
        except IntegrityError as error:
            log.warning("%s: %s", error.message, error.why)
            self._fail(http.HTTPStatus.INTERNAL_SERVER_ERROR, "DAMAGED", error.message)

    def _route(self, path: str, namespace: str, encoding: str) -> None:
        catalogue = self.server.catalogue
        if path in ("/v2", "/v2/"):
            self._answer(b"{}")
        elif found := _PACKAGE.fullmatch(path):
            digest = f"sha256:{found['hex']}"
            if digest not in catalogue.packages:
                raise KeyError(digest)
            file = catalogue.file(digest)
            if encoding == "identity":
                self._send_plain(file, digest)
            else:
                self._send_file(file, digest, "application/zstd")
        elif found := _ROUTE.fullmatch(path):
            digest = found["ref"]
            if found["what"] == "manifests" and digest not in catalogue.manifests:
                name = f"{namespace}/{found['name']}" if namespace else found["name"]
                digest = catalogue.tags[f"{name}:{digest}"]
            media = catalogue.types[digest]
            if found["what"] == "blobs" and digest not in catalogue.manifests:
                media = "application/octet-stream"
            self._send_file(catalogue.file(digest), digest, media)
        else:
            raise KeyError(path)

    def _send_file(self, path: Path, digest: str, media: str) -> None:
        with path.open("rb") as stream:
            size = path.stat().st_size
            first, last = 0, size - 1
            status = http.HTTPStatus.OK
            asked = self._asked_range(size, digest)
            if asked is not None:
                first, last = asked
                if first > last:
                    self._begin(http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, 0)
                    self.send_header("Content-Range", f"bytes */{size}")
                    self.end_headers()
                    return
                status = http.HTTPStatus.PARTIAL_CONTENT
            left = last - first + 1
            self._begin(status, left, media, digest)
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("ETag", f'"{digest}"')
            if status is http.HTTPStatus.PARTIAL_CONTENT:
                self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
            self.end_headers()
            while left and self.command != "HEAD":
                sent = self.connection.sendfile(stream, first, min(left, _SLICE))
                if not sent:  # the file was cut meanwhile: the client must see a short body
                    self.close_connection = True
                    return
                first, left = first + sent, left - sent
                self.server.counts.sent(self._client(), digest, sent)

    def _asked_range(self, size: int, digest: str) -> tuple[int, int] | None:
        """Return first and last byte, first > last when there is no such range, None for all."""
        found = _RANGE.fullmatch(self.headers.get("Range", ""))
        if not found or not (found["first"] or found["last"]):
            return None  # several ranges, or none: RFC 9110 lets a server send everything
        if self.headers.get("If-Range", f'"{digest}"') != f'"{digest}"':
            return None
        if not found["first"]:
            return max(0, size - int(found["last"])) if int(found["last"]) else size, size - 1
        last = min(int(found["last"]), size - 1) if found["last"] else size - 1
        if found["last"] and int(found["last"]) < int(found["first"]):
            return None
        return int(found["first"]), last

    def _send_plain(self, path: Path, digest: str) -> None:
        self._begin(http.HTTPStatus.OK, unpack.content_size(path), "application/x-tar")
        self.send_header("Accept-Ranges", "none")
        self.end_headers()
        if self.command == "HEAD":
            return
        try:
            with closing(unpack.decompressed(path)) as chunks:
                for chunk in chunks:
                    self.wfile.write(chunk)
                    self.server.counts.sent(self._client(), digest, len(chunk))
        except IntegrityError as error:
            # Too late for another status: the client must see a short body.
            log.warning("%s: %s", error.message, error.why)
            self.close_connection = True

    def _begin(
        self,
        status: http.HTTPStatus,
        length: int,
        media: str = "application/json",
        digest: str = "",
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", media)
        self.send_header("Content-Length", str(length))
        self.send_header("Docker-Distribution-API-Version", "registry/2.0")
        if digest:
            self.send_header("Docker-Content-Digest", digest)

    def _answer(self, body: bytes, status: http.HTTPStatus = http.HTTPStatus.OK) -> None:
        self._begin(status, len(body))
        if status is http.HTTPStatus.UNAUTHORIZED:
            self.send_header("WWW-Authenticate", 'Basic realm="ohmykube"')
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _fail(self, status: http.HTTPStatus, code: str, message: str) -> None:
        self._answer(json.dumps({"errors": [{"code": code, "message": message}]}).encode(), status)

    def _client(self) -> str:
        return str(self.headers.get(NODE_HEADER, self.client_address[0]))[:253]
