"""The proxies of the environment (``HTTPS_PROXY``, ``HTTP_PROXY``, ``ALL_PROXY``, ``NO_PROXY``)."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import urllib.parse
import urllib.request
from typing import Any

import urllib3


def proxy_for(parts: urllib.parse.SplitResult) -> str | None:
    """Return the URL of the proxy for a URL, None to go straight: this machine is behind none."""
    if is_loopback(parts) or urllib.request.proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    proxies = urllib.request.getproxies_environment()
    return proxies.get(parts.scheme) or proxies.get("all")


def pool(proxy: str | None, trust: tuple[str, ...] = ()) -> urllib3.PoolManager:
    """Return connections through a proxy, or straight ones.

    Args:
        proxy: its URL; None for none.
        trust: certificates, in PEM, of authorities that are trusted beside the system's.
    """
    more: dict[str, Any] = {"ssl_context": _trusting(trust)} if trust else {}
    if proxy is None:
        return urllib3.PoolManager(maxsize=8, **more)
    parts = urllib.parse.urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    credentials, _, netloc = parts.netloc.rpartition("@")
    basic = urllib.parse.unquote(credentials)
    headers = urllib3.make_headers(proxy_basic_auth=basic) if credentials else None
    return urllib3.ProxyManager(
        parts._replace(netloc=netloc).geturl(),
        maxsize=8,
        proxy_headers=headers,
        proxy_ssl_context=more.get("ssl_context"),
        **more,
    )


def _trusting(trust: tuple[str, ...]) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.load_verify_locations(cadata="\n".join(trust))
    return context


def is_loopback(parts: urllib.parse.SplitResult) -> bool:
    """Tell whether the host of a URL is this machine itself, in whatever notation."""
    host = (parts.hostname or "").rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        # What else inet_aton reads: 127.1, 0x7f000001, 2130706433.
        try:
            address = ipaddress.ip_address(socket.inet_aton(host))
        except (OSError, ValueError):
            return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
