"""What this host is."""

from __future__ import annotations

import platform

_NAMES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


def architecture() -> str:
    """Return this host's architecture by Go's name (``amd64``, ``arm64``), else as it is."""
    machine = platform.machine().lower()
    return _NAMES.get(machine, machine)
