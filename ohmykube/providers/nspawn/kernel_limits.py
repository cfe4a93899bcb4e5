"""Limits of the host's kernel that all nodes share, because they share the kernel.

Every inotify instance of every node counts against one pool: that of the host's root. A node with
Kubernetes takes about twenty, the usual pool is 128, and when it is empty no systemd starts. The
pool is a number without a cost, so it is raised here, never lowered, until the next reboot.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from ohmykube.progress import Message

if TYPE_CHECKING:
    from ohmykube.progress import Reporter
    from ohmykube.providers.nspawn.host_system import HostSystem

WANTED = {
    "fs/inotify/max_user_instances": 4096,
    "fs/inotify/max_user_watches": 524288,
}


def too_low(host: HostSystem) -> dict[str, tuple[int, int]]:
    """Return the limits that are too low: name -> (value, wanted)."""
    found = {}
    for name, wanted in WANTED.items():
        with contextlib.suppress(OSError, ValueError):
            value = int((host.proc / "sys" / name).read_text())
            if value < wanted:
                found[name] = (value, wanted)
    return found


def raise_limits(host: HostSystem, reporter: Reporter) -> None:
    """Raise the limits that are too low and report it; a refusal by the kernel is accepted."""
    for name, (value, wanted) in too_low(host).items():
        with contextlib.suppress(OSError):
            (host.proc / "sys" / name).write_text(str(wanted))
            text = f"raised {name.replace('/', '.')} of this host from {value} to {wanted}"
            reporter.emit(Message(text=text))
