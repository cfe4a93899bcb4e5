"""Network namespaces of Linux, as a thread is in one of them."""

from __future__ import annotations

import contextlib
import ctypes
import os
from typing import TYPE_CHECKING

from ohmykube.kit import failures

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_NETWORK = 0x40000000  # CLONE_NEWNET in <linux/sched.h>


class NetNamespace:
    """A namespace that stays there for as long as this object does."""

    def __init__(self, path: Path) -> None:
        """Open it; raises OSError."""
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def enter(self) -> None:
        """Let this thread make its sockets there from now on; raises OSError."""
        # os.setns came with Python 3.12.
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(self._file, _NETWORK) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    @contextlib.contextmanager
    def entered(self, back: NetNamespace) -> Iterator[None]:
        """Be there while the block runs, and in ``back`` after it."""
        with failures.closing(back.enter):
            self.enter()
            yield
