"""What the host agent of an instance tells: ``ha.stdout.log``, one JSON object on each line.

limactl writes the file anew at each start, so a reader follows it by its inode and size.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

NAME = "ha.stdout.log"
_LONGEST = 1 << 20


@dataclass(frozen=True, slots=True)
class HostAgentEvent:
    """One event; what it does not tell is false, 0 or empty."""

    time: str
    """RFC 3339, as written."""
    running: bool
    degraded: bool
    """Running, but a requirement or probe was not met."""
    exiting: bool
    errors: tuple[str, ...]
    ssh_port: int
    boot_line: str
    """The last line of the guest's cloud-init, when it tells its progress."""

    @property
    def ready(self) -> bool:
        """The guest is up and everything that was asked for is there."""
        return self.running and not self.degraded and not self.exiting


def parse(line: str) -> HostAgentEvent | None:
    """Read one line; None for what is no event (limactl may write other text there)."""
    try:
        raw = json.loads(line)
    except ValueError:
        return None
    status = raw.get("status") if isinstance(raw, Mapping) else None
    if not isinstance(status, Mapping):
        return None
    errors, port = status.get("errors"), status.get("sshLocalPort")
    progress = status.get("cloudInitProgress")
    return HostAgentEvent(
        time=str(raw.get("time", "")),
        running=status.get("running") is True,
        degraded=status.get("degraded") is True,
        exiting=status.get("exiting") is True,
        errors=tuple(map(str, errors)) if isinstance(errors, list) else (),
        ssh_port=port if isinstance(port, int) and not isinstance(port, bool) else 0,
        boot_line=_text(progress, "logLine") if isinstance(progress, Mapping) else "",
    )


def _text(raw: Mapping[str, Any], key: str) -> str:
    value = raw.get(key)
    return value if isinstance(value, str) else ""


class Events:
    """Follows the events of one instance; not safe for several threads.

    Args:
        directory: that of the instance; need not be there yet.
    """

    def __init__(self, directory: Path) -> None:
        self.path = directory / NAME
        self._inode = 0
        self._offset = 0
        self._rest = b""

    def new(self) -> tuple[HostAgentEvent, ...]:
        """Return the events that came since the last call; all of them at first.

        When the instance was started anew meanwhile, what is new is its whole file.
        """
        try:
            with self.path.open("rb") as stream:
                data = self._unread(stream)
        except FileNotFoundError:
            self._inode, self._offset, self._rest = 0, 0, b""
            return ()
        *complete, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _LONGEST:  # no event; do not keep what never ends
            self._rest = b""
        events = (parse(line.decode(errors="replace")) for line in complete)
        return tuple(event for event in events if event is not None)

    def _unread(self, stream: IO[bytes]) -> bytes:
        inode = self.path.stat().st_ino if self.path.exists() else 0
        size = stream.seek(0, 2)
        if inode != self._inode or size < self._offset:
            self._inode, self._offset, self._rest = inode, 0, b""
        stream.seek(self._offset)
        data = stream.read(size - self._offset)
        self._offset += len(data)
        return data


def last(directory: Path) -> HostAgentEvent | None:
    """Return the last event that tells of a state: running, degraded, exiting or errors."""
    told = [e for e in Events(directory).new() if e.running or e.exiting or e.errors or e.degraded]
    return told[-1] if told else None
