"""A server with a certificate for 127.0.0.1, as API servers and members of etcd have one."""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import json
import ssl
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@dataclass
class TlsServer:
    """What it answers: a path to (code, text), or a function of the request's body."""

    directory: Path
    """Holds ``ca.crt``, and ``client.crt`` and ``client.key`` of a client that it knows."""
    port: int = 0
    answers: dict[str, tuple[int, str] | Callable[[Any], Any]] = field(default_factory=dict)
    asked: list[tuple[str, Any]] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def authority(self) -> str:
        return (self.directory / "ca.crt").read_text()

    def handle(self, path: str, body: str) -> tuple[int, str]:
        content = json.loads(body) if body else None
        self.asked.append((path, content))
        answer = self.answers.get(path, (404, "not found"))
        return answer if isinstance(answer, tuple) else (200, json.dumps(answer(content)))


@contextlib.contextmanager
def serving(directory: Path, *, known_clients: bool = False) -> Iterator[TlsServer]:
    """Serve until the end of the context; with ``known_clients`` nobody without a certificate."""
    server = TlsServer(directory)
    certificates(directory)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            code, text = server.handle(self.path, self.rfile.read(length).decode())
            self.send_response(code)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        do_POST = do_GET  # noqa: N815 - the name is http.server's

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "server.crt", directory / "server.key")
    if known_clients:
        context.load_verify_locations(directory / "ca.crt")
        context.verify_mode = ssl.CERT_REQUIRED
    listener.socket = context.wrap_socket(listener.socket, server_side=True)
    server.port = listener.server_address[1]
    thread = threading.Thread(target=listener.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()


def certificates(directory: Path, *names: str) -> None:
    """Write an authority, and a server and a client that it has signed for.

    Args:
        directory: gets ``ca.crt``, and ``.crt``, ``.key`` and both in one as ``.pem`` of ``server``
            and ``client``.
        names: further DNS names of the server, which has the address 127.0.0.1.
    """
    directory.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")])
    own = _builder(name, name, key.public_key()).add_extension(
        x509.BasicConstraints(ca=True, path_length=None), critical=True
    )
    # What Python 3.13 and newer ask of a certificate by default.
    uses: tuple[str, ...] = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
    )
    uses = (*uses, "key_agreement", "crl_sign", "encipher_only", "decipher_only")
    usage = dict.fromkeys(uses, False)
    own = own.add_extension(x509.KeyUsage(key_cert_sign=True, **usage), critical=True)
    own = own.add_extension(
        x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
    )
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    (directory / "ca.crt").write_bytes(_pem(own.sign(key, hashes.SHA256())))
    for who in ("server", "client"):
        theirs = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, who)])
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        called = x509.SubjectAlternativeName([address, *map(x509.DNSName, names)])
        issued = _builder(subject, name, theirs.public_key()).add_extension(called, critical=False)
        issued = issued.add_extension(authority, critical=False)
        (directory / f"{who}.crt").write_bytes(_pem(issued.sign(key, hashes.SHA256())))
        (directory / f"{who}.key").write_bytes(
            theirs.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        both = b"".join((directory / f"{who}.{end}").read_bytes() for end in ("crt", "key"))
        (directory / f"{who}.pem").write_bytes(both)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    day = dt.timedelta(days=1)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
