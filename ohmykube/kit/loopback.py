"""Which hosts of URLs are whoever asks for them."""

from __future__ import annotations

import ipaddress
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import urllib.parse


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
