"""The sockets and the HTTP: routes, authorization, ranges, and bytes straight from the disk."""

from __future__ import annotations

import base64
import binascii
import errno
import hmac
import http
import ipaddress
import json
import logging
import re
import socket
import socketserver
import threading
import urllib.parse
from contextlib import ExitStack, closing, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import IO, TYPE_CHECKING, Self, cast

from ohmykube.cache import unpack
from ohmykube.cache.serve.connection_limit import ConnectionLimit
from ohmykube.cache.serve.responses import NotServed
from ohmykube.cache.serve.stats import Counts, ServeStats
from ohmykube.errors import (
    IntegrityError,
    Interrupted,
    LockedError,
    NotFoundError,
    OhmykubeError,
    PermissionDenied,
    UsageError,
)
from ohmykube.kit.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from ohmykube.cache.serve.responses import BlobResponse, ServedContent
    from ohmykube.cache.store import Store

log = logging.getLogger(__name__)

NODE_HEADER = "Ohmykube-Node"
"""A node may name itself here: through the tunnels all clients have the same address."""
IDLE_SECONDS = 120.0
"""A client that takes no byte of an answer for so long is hung up on."""
ASK_SECONDS = 30.0
"""A client that sends nothing for so long, while a request is waited for, is hung up on."""
CONNECTIONS = 200
"""Each one is a thread; see ``ConnectionLimit`` for who goes when one more comes."""
DAMAGED = "it is damaged here and was not sent; the server's log says more"
TROUBLE = "it cannot be sent now; the server's log says why"
"""What clients get; the reason, which can hold paths and addresses of this host, is logged."""
_WAIT_SECONDS = 1.0
LOOPBACK = "127.0.0.1"
_SLICE = 4 << 20
_ROUTE = re.compile(
    r"/v2/(?P<name>[a-z0-9][a-z0-9._/:-]*)/(?P<what>manifests|blobs)/(?P<ref>[^/]+)"
)
_PACKAGE = re.compile(r"/pkg/sha256/(?P<hex>[0-9a-f]{64})")
_RANGE = re.compile(r"bytes=(?P<first>[0-9]{0,18})-(?P<last>[0-9]{0,18})")


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, owner: Listener, address: tuple[str, int]) -> None:
        with suppress(ValueError):
            if ipaddress.ip_address(address[0]).version == 6:
                self.address_family = socket.AF_INET6
        super().__init__(address, _Handler)
        self.owner = owner
        self.connections = ConnectionLimit(CONNECTIONS, CONNECTIONS // 2)

    def server_bind(self) -> None:
        # The base class asks the resolver for our own name, which can take many seconds.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def process_request(self, request: object, client_address: object) -> None:
        connection = cast("socket.socket", request)
        peer = cast("tuple[str, int]", client_address)
        if not self.connections.enter(connection, peer[0], _WAIT_SECONDS):
            self.shutdown_request(connection)
            return
        try:
            super().process_request(connection, peer)
        except BaseException:  # no thread could be started
            self.connections.exit(connection)
            raise

    def process_request_thread(self, request: object, client_address: object) -> None:
        connection = cast("socket.socket", request)
        # A stop ends the client's connection; it is for the main thread to end the serving.
        with suppress(Interrupted), ExitStack() as stack:
            stack.callback(self.connections.exit, connection)
            super().process_request_thread(connection, cast("tuple[str, int]", client_address))

    def handle_error(self, request: object, client_address: object) -> None:
        # The base class prints a traceback; a client that hangs up is no news.
        log.debug("connection of %s ended", client_address)


class Listener:
    """Answers HTTP while the ``with`` block runs; threads end with the process at the latest."""

    def __init__(
        self,
        store: Store,
        content: ServedContent,
        tokens: Sequence[str | Secret] = (),
        *,
        address: tuple[str, int] = (LOOPBACK, 0),
        counts: Counts | None = None,
    ) -> None:
        """``tokens``: any one of them opens, as bearer or as password; without one all is open."""
        self.store = store
        self.content = content
        self.counts = counts or Counts()
        self._tokens = [t.reveal() if isinstance(t, Secret) else t for t in tokens]
        self._address = address
        self._stack = ExitStack()
        self._http: _HttpServer | None = None

    def __enter__(self) -> Self:
        """Start.

        Raises:
            LockedError: something else listens there.
            PermissionDenied: this port is not for this user.
            UsageError: this host has no such address.
        """
        with ExitStack() as stack:
            server = self._bind()
            stack.callback(server.connections.close_all, _WAIT_SECONDS)
            stack.callback(server.server_close)
            thread = threading.Thread(
                target=server.serve_forever, args=(0.05,), name="cache-server", daemon=True
            )
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            self._stack = stack.pop_all()
        self._http = server
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop taking requests and end all connections."""
        self._stack.close()

    def _bind(self) -> _HttpServer:
        shown = f"{self._address[0]}:{self._address[1]}"
        try:
            return _HttpServer(self, self._address)
        except PermissionError as error:
            raise PermissionDenied(
                f"nothing may listen at {shown}",
                why=str(error),
                hint="use a port above 1023",
                id="OMK-I-602",
            ) from error
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise LockedError(
                    f"something else listens at {shown}",
                    why=str(error),
                    hint=f"ss -ltnp 'sport = :{self._address[1]}'",
                    id="OMK-I-601",
                ) from error
            raise UsageError(
                f"this host cannot listen at {shown}",
                why=str(error),
                hint="name an address that `ip -brief address` shows",
                id="OMK-I-603",
            ) from error

    @property
    def port(self) -> int:
        """The port that is listened at."""
        if self._http is None:
            raise OhmykubeError("the cache server is not running")
        return int(self._http.server_address[1])

    @property
    def stats(self) -> ServeStats:
        """What was sent so far."""
        return self.counts.snapshot()

    def opens(self, authorization: str) -> bool:
        """Tell whether this Authorization header may come in."""
        if not self._tokens:
            return True
        given = _secret_of(authorization).encode("utf-8", "surrogateescape")
        # Every token is compared, so that the time tells nothing about which one is near.
        return sum(hmac.compare_digest(given, token.encode()) for token in self._tokens) > 0


def _opened(found: BlobResponse) -> IO[bytes]:
    try:
        return found.blob.path.open("rb")
    except FileNotFoundError as error:  # a server that lives long keeps nothing from ``prune``
        raise NotFoundError(f"{found.blob.digest} was removed meanwhile") from error


def _secret_of(authorization: str) -> str:
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "basic":
        with suppress(binascii.Error, UnicodeDecodeError, ValueError):
            return base64.b64decode(value, validate=True).decode().partition(":")[2]
    return value if scheme == "Bearer" else ""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "ohmykube"
    sys_version = ""
    timeout = ASK_SECONDS
    disable_nagle_algorithm = True  # headers and body are two writes
    server: _HttpServer

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        log.debug("cache server: " + format, *args)  # noqa: G003 - same

    def do_HEAD(self) -> None:
        self._answered()

    def do_GET(self) -> None:
        self._answered()

    def _answered(self) -> None:
        """Answer a request that is complete; until then others may get this one's place."""
        self.server.connections.begin_request(self.connection)
        self.connection.settimeout(IDLE_SECONDS)
        self._serve()
        self.connection.settimeout(ASK_SECONDS)
        self.server.connections.end_request(self.connection)

    def _serve(self) -> None:
        self.server.owner.counts.request()
        if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # an unread body would be taken for a request
        try:
            self._authorize()
            self._route()
        except NotServed as refused:
            self._fail(refused)
        except (NotFoundError, KeyError):
            message = f"{urllib.parse.unquote(self.path)} is not served here"
            self._fail(NotServed(http.HTTPStatus.NOT_FOUND, "NOT_FOUND", message))
        except IntegrityError as error:
            log.warning("%s: %s", error.message, error.why)
            self._fail(NotServed(http.HTTPStatus.INTERNAL_SERVER_ERROR, "DAMAGED", DAMAGED))
        except OhmykubeError as error:
            log.warning("%s: %s", error.message, error.why)
            self._fail(NotServed(http.HTTPStatus.SERVICE_UNAVAILABLE, "UNAVAILABLE", TROUBLE))

    def _authorize(self) -> None:
        if not self.server.owner.opens(self.headers.get("Authorization", "")):
            raise NotServed(
                http.HTTPStatus.UNAUTHORIZED, "UNAUTHORIZED", "the token is missing or wrong"
            )

    def _route(self) -> None:
        try:
            url = urllib.parse.urlsplit(self.path)
        except ValueError as error:  # such as http://[
            raise NotServed(http.HTTPStatus.BAD_REQUEST, "UNSUPPORTED", str(error)) from error
        query = urllib.parse.parse_qs(url.query)
        path = urllib.parse.unquote(url.path)
        registry = query.get("ns", [""])[0]
        content = self.server.owner.content
        if path in ("/v2", "/v2/"):
            self._answer(b"{}")
        elif found := _PACKAGE.fullmatch(path):
            self._send(content.package(f"sha256:{found['hex']}"), query.get("enc", [""])[0])
        elif found := _ROUTE.fullmatch(path):
            get = content.manifest if found["what"] == "manifests" else content.blob
            self._send(get(registry, found["name"], found["ref"]))
        elif path.startswith("/v2/"):
            raise KeyError(path)
        else:
            file = content.file(path)
            if isinstance(file, bytes):
                self._answer(file, "text/plain")
            else:
                self._send(file)

    def _send(self, found: BlobResponse, encoding: str = "") -> None:
        if encoding == "identity" and found.packed:
            self._send_plain(found)
        else:
            self._send_blob(found)

    def _send_blob(self, found: BlobResponse) -> None:
        digest, size = found.blob.digest, found.blob.size
        with _opened(found) as stream:
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
            self._begin(status, left, found.media, digest)
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("ETag", f'"{digest}"')
            if status is http.HTTPStatus.PARTIAL_CONTENT:
                self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
            self.end_headers()
            at = found.blob.offset + first
            while left and self.command != "HEAD":
                sent = self.connection.sendfile(stream, at, min(left, _SLICE))
                if not sent:  # the file was cut meanwhile: the client must see a short body
                    self.close_connection = True
                    return
                at, left = at + sent, left - sent
                self.server.owner.counts.sent(self._client(), digest, sent)

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

    def _send_plain(self, found: BlobResponse) -> None:
        # Reading zstd wants a file of its own; a package inside a bundle is copied out once.
        path = self.server.owner.store.path(found.blob.digest)
        self._begin(http.HTTPStatus.OK, unpack.content_size(path), "application/x-tar")
        self.send_header("Accept-Ranges", "none")
        self.end_headers()
        if self.command == "HEAD":
            return
        try:
            with closing(unpack.decompressed(path)) as chunks:
                for chunk in chunks:
                    self.wfile.write(chunk)
                    self.server.owner.counts.sent(self._client(), found.blob.digest, len(chunk))
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

    def _answer(self, body: bytes, media: str = "application/json") -> None:
        self._begin(http.HTTPStatus.OK, len(body), media)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _fail(self, refused: NotServed) -> None:
        errors = [{"code": refused.code, "message": refused.message}]
        body = json.dumps({"errors": errors}).encode()
        self._begin(refused.status, len(body))
        if refused.status is http.HTTPStatus.UNAUTHORIZED:
            self.send_header("WWW-Authenticate", 'Basic realm="ohmykube"')
        if refused.retry_after:
            self.send_header("Retry-After", str(refused.retry_after))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _client(self) -> str:
        return str(self.headers.get(NODE_HEADER, self.client_address[0]))[:253]
