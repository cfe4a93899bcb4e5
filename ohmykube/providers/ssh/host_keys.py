"""Host keys that the description of a cluster pins."""

from __future__ import annotations

import re

from ohmykube.errors import ConfigError

_KEY = re.compile(r"(?:sk-)?(?:ssh|ecdsa)-[a-z0-9@.-]+ [A-Za-z0-9+/]+=*(?: [ -~]*)?")


def known_hosts_line(key: str, address: str, port: int) -> str:
    """Return the known_hosts line for a key.

    Args:
        key: type and base64, as in a public key file.
        address: where ssh connects to, by which it looks the key up.
        port: of its sshd.

    Raises:
        ConfigError: it is no key.
    """
    if _KEY.fullmatch(key) is None:
        raise ConfigError(
            f"the host key of {address} is no public key",
            why=f"it is {key[:60]!r}",
            hint="ssh-keyscan -t ed25519 HOST shows it as `ssh-ed25519 AAAA...`; compare it",
            id="OMK-C-193",
        )
    return f"{address if port == 22 else f'[{address}]:{port}'} {key}\n"
