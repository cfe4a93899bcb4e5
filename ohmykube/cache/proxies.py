"""The proxies of the environment (``HTTPS_PROXY``, ``HTTP_PROXY``, ``ALL_PROXY``, ``NO_PROXY``)."""

from __future__ import annotations

import base64
import contextlib
import ipaddress
import ssl
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING, Any

import urllib3

from ohmykube.kit.loopback import is_loopback

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ohmykube.model.proxy import ProxyUrls


def proxy_for(parts: urllib.parse.SplitResult, described: ProxyUrls | None = None) -> str | None:
    """Return the URL of the proxy for a URL, None to go straight: this machine is behind none.

    Args:
        parts: of the URL.
        described: what counts instead of the environment.
    """
    host = parts.netloc.rpartition("@")[2]
    if is_loopback(parts):
        return None
    if described is not None:
        if _is_excepted(host, described.no_proxy):
            return None
        url = described.https if parts.scheme == "https" else described.http
        return url.reveal() if url is not None else None
    if urllib.request.proxy_bypass(host):
        return None
    proxies = urllib.request.getproxies_environment()
    return proxies.get(parts.scheme) or proxies.get("all")


def _is_excepted(netloc: str, exceptions: Iterable[str]) -> bool:
    """Tell whether a host, by its name or in a network of its address, needs no proxy."""
    host = urllib.parse.urlsplit(f"//{netloc}").hostname or ""
    for one in exceptions:
        name = one.lower().removeprefix("*").lstrip(".")
        if not name or name in (host, netloc.lower()) or host.endswith(f".{name}"):
            return True
        with contextlib.suppress(ValueError):  # one of the two is a name
            if ipaddress.ip_address(host) in ipaddress.ip_network(one, strict=False):
                return True
    return False


def basic_of(parts: urllib.parse.SplitResult) -> str:
    """Return the Basic header of the name and password in a URL, in UTF-8; empty without them."""
    credentials = parts.netloc.rpartition("@")[0]
    pair = urllib.parse.unquote_to_bytes(credentials)
    return f"Basic {base64.b64encode(pair).decode()}" if credentials else ""


def pool(
    proxy: str | None, own: tuple[str, ...] = (), *, trust: tuple[str, ...] = ()
) -> urllib3.PoolManager:
    """Return connections through a proxy, or straight ones.

    Args:
        proxy: its URL; None for none.
        own: certificates, in PEM, of authorities that are trusted beyond the proxy alone.
        trust: those that are trusted for the proxy as well. All are beside the system's.
    """
    all_ = (*trust, *own)
    more: dict[str, Any] = {"ssl_context": _trusting(all_)} if all_ else {}
    if proxy is None:
        return urllib3.PoolManager(maxsize=8, **more)
    parts = urllib.parse.urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    basic = basic_of(parts)
    return urllib3.ProxyManager(
        parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl(),
        maxsize=8,
        proxy_headers={"Proxy-Authorization": basic} if basic else None,
        proxy_ssl_context=_trusting(trust) if trust else None,
        **more,
    )


def _trusting(trust: tuple[str, ...]) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.load_verify_locations(cadata="\n".join(trust))
    return context
