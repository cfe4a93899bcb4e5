"""What is a certificate of an authority, and what is not, is told by the file alone."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from ohmykube.kit import certificates

DATA = Path(__file__).parents[2] / "data" / "trust"
ONE, TWO, LEAF = [(DATA / f"{name}.pem").read_text() for name in ("one", "two", "leaf")]


def block(kind: str, content: str = "AAAA") -> str:
    return f"-----BEGIN {kind}-----\n{content}\n-----END {kind}-----\n"


def as_kind(kind: str) -> str:
    return ONE.replace("CERTIFICATE", kind)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (ONE, [ONE]),
        (ONE.replace("\n", "\r\n"), [ONE]),
        (ONE.rstrip("\n"), [ONE]),
        ("Subject: CN=Ünicode\n" + ONE + "# and\n" + TWO, [ONE, TWO]),
        (ONE + TWO + ONE, [ONE, TWO]),
        (as_kind("X509 CERTIFICATE"), [ONE]),
        ("\ufeff" + ONE, [ONE]),
    ],
)
def test_every_certificate_of_a_file_is_found_once_in_one_form(
    data: str, expected: list[str]
) -> None:
    assert certificates.read(data.encode()) == tuple(expected)


def test_der_is_the_same_as_pem() -> None:
    assert certificates.read(ssl.PEM_cert_to_DER_cert(ONE)) == (ONE,)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "has no certificate"),
        (b"ca.pem", "has no certificate"),
        (b"\x00" * 100, "has no certificate"),
        (b"\x30\x82\x01\x00", "cannot be read"),
        (ONE[:-40].encode(), "has no certificate"),
        (block("CERTIFICATE").encode(), "cannot be read"),
        (block("CERTIFICATE", "?").encode(), "cannot be read"),
        ((ONE + block("CERTIFICATE", "MAAA")).encode(), "has a certificate 2 that cannot be read"),
        *(
            (data.encode(), "has a private key in it")
            for kind in ("PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY",
                         "RSA PRIVATE KEY", "OPENSSH PRIVATE KEY")
            for data in (block(kind), ONE + block(kind), block(kind) + ONE)
        ),
        (block("CERTIFICATE REQUEST").encode(), "a request for a certificate"),
        (block("X509 CRL").encode(), "a list of revoked certificates"),
        (block("PKCS7").encode(), "a PKCS #7 container"),
        (block("PUBLIC KEY").encode(), "a public key"),
        (block("DH PARAMETERS").encode(), "DH PARAMETERS in it, which is no certificate"),
    ],
)  # fmt: skip
def test_what_else_is_in_a_file_is_named(data: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=r"^has ") as caught:
        certificates.read(data)
    assert said in str(caught.value)
    assert "AAAA" not in str(caught.value), "what may be a key is not repeated"


def test_an_authority_says_who_it_is_and_for_how_long() -> None:
    one, two = certificates.authority(ONE), certificates.authority(TWO)
    assert one is not None
    assert two is not None
    assert (one.name, two.name) == ("Test Root one (Example Inc.)", "Test Root two (Example Inc.)")
    assert 90 < (one.ends - one.begins) / 86400 / 365 < 110
    assert one.sha256 != two.sha256
    assert str(one) == f"Test Root one (Example Inc.) (sha256 {one.sha256[:16]})"


def test_a_server_is_no_authority() -> None:
    assert certificates.authority(LEAF) is None
