"""Commands in a guest over ssh, for what the host cannot find out or repair from outside."""

from __future__ import annotations

import contextlib
import json
import shlex
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ohmykube.errors import ProviderError
from ohmykube.kit import process
from ohmykube.providers import ssh_config

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ohmykube.model.machine import SshTarget

SECONDS = 20.0
WORST_CLOCK = 2.0
"""Seconds by which a guest's clock may differ: leases and certificates stand this much."""


class Guest(Protocol):
    """Runs a command in a guest as root and returns its output."""

    def __call__(self, target: SshTarget, argv: Sequence[str], /) -> str:
        """Run it.

        Raises:
            ProviderError: it failed.
        """
        ...


def run(target: SshTarget, argv: Sequence[str]) -> str:
    """Run a command in a guest as root.

    Raises:
        ProviderError: it failed, or ssh did.
    """
    with tempfile.TemporaryDirectory(prefix="omk-ssh-") as directory:
        config = Path(directory) / "config"
        config.write_text(ssh_config.render({"guest": target}, Path(directory)))
        command = shlex.join(["sudo", "-n", "--", *argv])
        lonely = ("-o", "ControlMaster=no", "-o", "ControlPath=none")
        try:
            full = ["ssh", "-F", str(config), *lonely, "guest", "--", command]
            return process.run(full, timeout=SECONDS).stdout
        except process.CommandFailed as error:
            raise ProviderError(
                f"`{argv[0]}` failed in the guest", why=error.why or error.message, id="OMK-P-541"
            ) from error


def set_clock(guest: Guest, target: SshTarget, now: Callable[[], float] = time.time) -> float:
    """Put a guest's clock right when it slept with its host; return by how many seconds.

    In plain mode nothing of Lima's does that, and a time service waits long before it jumps.

    Raises:
        ProviderError: the guest could not be asked, or would not have it.
    """
    told = guest(target, ["date", "+%s"]).strip()
    if not told.isdecimal():
        raise ProviderError("the guest does not tell its time", why=told[:80], id="OMK-P-542")
    behind = now() - int(told)
    if abs(behind) <= WORST_CLOCK:
        return 0.0
    guest(target, ["date", "--set", f"@{int(now())}"])
    return behind


def address_on(guest: Guest, target: SshTarget, card: str) -> str:
    """Return the IPv4 address of a card in a guest; empty while it has none.

    Raises:
        ProviderError: the guest could not be asked.
    """
    text = guest(target, ["ip", "-j", "-4", "address", "show", "dev", card])
    found: Any = None
    with contextlib.suppress(ValueError):
        found = json.loads(text)
    entries = found if isinstance(found, list) else []
    infos = [info for entry in entries for info in entry.get("addr_info", [])]
    return next((str(i["local"]) for i in infos if i.get("scope") == "global"), "")
