"""Host keys that the description of a cluster pins."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ohmykube.errors import ConfigError

if TYPE_CHECKING:
    from ohmykube.model.cluster import Host

_KEY = re.compile(r"(?:sk-)?(?:ssh|ecdsa)-[a-z0-9@.-]+ [A-Za-z0-9+/]+=*(?: [ -~]*)?")


def known_hosts_line(host: Host) -> str:
    """Return a known_hosts line for a pinned key, or nothing."""
    if host.host_key is None:
        return ""
    if _KEY.fullmatch(host.host_key) is None:
        raise ConfigError(
            f"the host key of {host.address} is no public key",
            why=f"it is {host.host_key[:60]!r}",
            hint="ssh-keyscan -t ed25519 HOST shows it as `ssh-ed25519 AAAA...`; compare it",
            id="OMK-C-193",
        )
    name = host.address if host.port == 22 else f"[{host.address}]:{host.port}"
    return f"{name} {host.host_key}\n"
