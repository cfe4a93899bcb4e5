"""The faults of the fake limactl: what they are and whether one happens now."""

from __future__ import annotations

import enum
import fcntl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class Fault(enum.StrEnum):
    """What may go wrong; each was seen on the real one."""

    KEYGEN_RACE = "keygen-race"
    """`create` loses against another first call that makes the key."""
    START_TIMEOUT = "start-timeout"
    """`start` gives up at once, the machine goes on and never becomes ready."""
    START_HANG = "start-hang"
    """`start` waits for its network for ever, whatever its time limit."""
    START_FAILS = "start-fails"
    """The host agent ends before the machine begins."""
    DEGRADED = "degraded"
    """A requirement of the guest is never met."""
    STOP_HANG = "stop-hang"
    """The guest ignores the power button: `stop` gives up, the machine goes on."""
    HALF_DIR = "half-dir"
    """`create` or `clone` is killed before there is a lima.yaml."""
    HA_KILLED = "ha-killed"
    """The host agent dies after the start."""
    GUEST_OFF = "guest-off"
    """The guest powers itself off after the start."""
    USERNET_KILLED = "usernet-killed"
    """The network daemon dies after the start."""
    PROVISION_FAILS = "provision-fails"
    """A script of the template fails in the guest, and `start` says nothing of it."""
    SLOW = "slow"
    """A call takes longer."""
    NO_SPACE = "no-space"
    """`create`, `clone` and `disk create` find the file system full."""
    DOWNLOAD_KILLED = "download-killed"
    """`create` is killed while it downloads."""
    DELETE_HALF = "delete-half"
    """`delete` is killed after it removed lima.yaml."""


def _file(home: Path) -> Path:
    return home / "_fake" / "faults"


def plant(home: Path, *faults: str) -> None:
    """Let each of ``faults`` (``kind`` or ``kind@instance``) happen once.

    Raises:
        ValueError: there is no such kind.
    """
    for fault in faults:
        Fault(fault.partition("@")[0])
    path = _file(home)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        stream.writelines(f"{fault}\n" for fault in faults)


def happens(fault: Fault, name: str, home: Path, environ: Mapping[str, str]) -> bool:
    """Tell whether ``fault`` happens now to ``name``; a planted one is then used up."""
    wanted = {str(fault), f"{fault}@{name}"}
    if wanted & {one.strip() for one in environ.get("FAKE_LIMA_FAULTS", "").split(",")}:
        return True
    try:
        stream = _file(home).open("r+")
    except FileNotFoundError:
        return False
    with stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        lines = stream.read().splitlines()
        hit = next((line for line in lines if line in wanted), None)
        if hit is None:
            return False
        lines.remove(hit)
        stream.seek(0)
        stream.truncate()
        stream.writelines(f"{line}\n" for line in lines)
    return True
