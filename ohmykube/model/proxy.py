"""The proxy by which a cluster reaches what is outside of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit

from ohmykube.kit.secret import Secret
from ohmykube.model.registry import LoginPlace

HOST = "host"
"""Instead of a description: the proxy of this host's variables."""


SCHEMES = ("http", "https")


def url_of(text: str) -> SplitResult | None:
    """Return the parts of the URL of a proxy, which says where it is and no more; None for others.

    A login may be in it.
    """
    try:
        parts = urlsplit(text)
        good = parts.scheme in SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    more = parts.path.strip("/") or parts.query or parts.fragment
    return parts._replace(path="") if good and text.isprintable() and not more else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyUrls:
    """What programs are told, as in ``HTTP_PROXY``, ``HTTPS_PROXY`` and ``NO_PROXY``."""

    http: Secret | None = None
    """URL with name and password, percent-encoded; None for no proxy."""
    https: Secret | None = None
    no_proxy: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """What is described of it."""

    of_host: bool = False
    """It is that of this host's variables, and nothing else is described."""
    http: str = ""
    """URL without name and password; empty for none."""
    https: str = ""
    no_proxy: tuple[str, ...] = ()
    auth: LoginPlace | None = None
    here: ProxyUrls | None = field(default=None, compare=False, repr=False)
    """What this host uses; None before somebody has looked for it: it stands in no record."""
    nodes: ProxyUrls | None = field(default=None, compare=False, repr=False)
    """What nodes use: a proxy on this host has another name there."""
