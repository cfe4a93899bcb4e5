"""Names of processor architectures: Go's, by which images and release files go, and the kernel's.

``amd64`` and ``arm64`` are Go's names; ``uname -m``, Lima and QEMU say ``x86_64`` and ``aarch64``.
"""

from __future__ import annotations

import platform

KERNEL_NAMES = {"amd64": "x86_64", "arm64": "aarch64"}
"""Go's name to the kernel's, of all architectures that nodes can have."""
_GO_NAMES = {kernel: go for go, kernel in KERNEL_NAMES.items()}


def go_name(machine: str) -> str:
    """Return Go's name for what ``uname -m`` says; a name that is not known stays as it is."""
    name = machine.strip().lower()
    return _GO_NAMES.get(name, name)


def kernel_name(arch: str) -> str:
    """Return the kernel's name for Go's; a name that is not known stays as it is."""
    return KERNEL_NAMES.get(arch, arch)


def host() -> str:
    """Return this host's architecture by Go's name."""
    return go_name(platform.machine())
