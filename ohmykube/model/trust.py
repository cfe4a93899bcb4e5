"""Authorities that a cluster trusts."""

from __future__ import annotations

from ohmykube.kit import certificates


def described(pem: str) -> str:
    """Return one certificate for people."""
    return certificates.described(pem)
