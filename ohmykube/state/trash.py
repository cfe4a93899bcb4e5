"""Removing a cluster directory in one step, as others see it.

It is renamed out of the way first: no reader ever sees half of it, and a lock that was opened in it
meanwhile belongs to an inode that has no name any more, which ``locking`` notices.
"""

from __future__ import annotations

import contextlib
import secrets
from typing import TYPE_CHECKING

from ohmykube.kit import files
from ohmykube.state import layout

if TYPE_CHECKING:
    from pathlib import Path


def discard(directory: Path, root: Path) -> None:
    """Remove ``directory``; the caller holds its lock. Raises OSError, OhmykubeError (mounts)."""
    aside = root / f"{layout.REMOVING_PREFIX}{directory.name}-{secrets.token_hex(4)}"
    directory.rename(aside)
    files.sync_directory(directory.parent)
    layout.remove_control_directory(directory)
    _empty(aside)


def sweep(root: Path) -> None:
    """Remove what a killed run had renamed but not yet removed."""
    for leftover in root.glob(f"{layout.REMOVING_PREFIX}*"):
        with contextlib.suppress(OSError):
            _empty(leftover)


def _empty(directory: Path) -> None:
    # Another run may be sweeping the very same leftover.
    with contextlib.suppress(FileNotFoundError):
        files.remove_tree(directory)
