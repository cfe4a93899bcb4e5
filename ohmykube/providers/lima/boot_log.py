"""What a machine logs while it boots, for progress and for errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.kit.process import tail

if TYPE_CHECKING:
    from pathlib import Path

    from ohmykube.providers.lima.events import HostAgentEvent

_LOGS = ("ha.stderr.log", "serial*.log")
_BYTES = 8192


def activity(event: HostAgentEvent) -> str:
    """Return what a machine is doing by an event of its host agent; empty for nothing new."""
    if event.errors:
        return event.errors[-1]
    if event.boot_line:
        return event.boot_line
    if event.running:
        return "guest is up"
    return "waiting for ssh of the guest" if event.ssh_port else ""


def last(directory: Path) -> str:
    """Return the last lines of the host agent's and the console's logs, each under its path."""
    found = []
    for pattern in _LOGS:
        for path in sorted(directory.glob(pattern)):
            text = tail(path.read_text(errors="replace")[-_BYTES:], 5)
            if text:
                found.append(f"\n{path}:\n{text}")
    return "".join(found)
