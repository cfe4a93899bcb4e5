"""Certificates of authorities: taken out of files, judged, and told to people."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import ssl
from dataclasses import dataclass
from typing import Any

_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----\s*(.*?)-----END \1-----", re.DOTALL)
_CERTIFICATE = ("CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE")
_OTHER = {
    "CERTIFICATE REQUEST": "a request for a certificate",
    "NEW CERTIFICATE REQUEST": "a request for a certificate",
    "X509 CRL": "a list of revoked certificates",
    "PKCS7": "a PKCS #7 container",
    "PUBLIC KEY": "a public key",
}
_DAY = 86400
_DER = b"\x30"


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """What a certificate says."""

    name: str
    """Of its owner, such as ``Example Root (Example Inc.)``; may hold any character."""
    begins: float
    ends: float
    """Seconds since the epoch."""
    sha256: str
    """Of the certificate, as hex digits."""

    def __str__(self) -> str:
        """Return it for people."""
        return f"{self.name} (sha256 {self.sha256[:16]})"


def read(data: bytes) -> tuple[str, ...]:
    """Return the certificates in a file, PEM or DER, each as one block of PEM, each once.

    Raises:
        ValueError: says what is in it instead, or beside them.
    """
    if data.startswith(_DER):
        found = [ssl.DER_cert_to_PEM_cert(data)]
    else:
        found = list(_blocks(data.decode("ascii", "replace")))
    if not found:
        raise ValueError("has no certificate: it must be PEM (BEGIN CERTIFICATE) or DER")
    for number, pem in enumerate(found, 1):
        try:
            _context(pem)
        except ssl.SSLError:
            which = "" if len(found) == 1 else f" {number}"
            raise ValueError(f"has a certificate{which} that cannot be read") from None
    return tuple(dict.fromkeys(found))


def authority(pem: str) -> Authority | None:
    """Return what one certificate says; None when it is not that of an authority."""
    known: list[dict[str, Any]] = _context(pem).get_ca_certs()
    if not known:
        return None
    said = known[0]
    names = {key: value for part in said["subject"] for key, value in part}
    common, owner = names.get("commonName"), names.get("organizationName")
    name = f"{common} ({owner})" if common and owner else common or owner or "without a name"
    return Authority(
        name=str(name),
        begins=ssl.cert_time_to_seconds(said["notBefore"]),
        ends=ssl.cert_time_to_seconds(said["notAfter"]),
        sha256=hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest(),
    )


def described(pem: str) -> str:
    """Return one certificate for people."""
    return str(authority(pem) or "no authority")


def _context(pem: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=pem)
    return context


def _blocks(text: str) -> list[str]:
    found = []
    for kind, content in _BLOCK.findall(text):
        if "PRIVATE KEY" in kind:
            raise ValueError("has a private key in it: give the certificate alone")
        if kind in _OTHER:
            raise ValueError(f"has {_OTHER[kind]} in it instead of certificates")
        if kind not in _CERTIFICATE:
            raise ValueError(f"has {kind} in it, which is no certificate")
        try:
            der = base64.b64decode("".join(content.split()), validate=True)
        except binascii.Error:
            raise ValueError("has a certificate that cannot be read") from None
        found.append(ssl.DER_cert_to_PEM_cert(der))
    return found
