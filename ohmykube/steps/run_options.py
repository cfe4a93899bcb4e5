"""What a command may say about where a run takes its artifacts from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """Where a run may take artifacts from."""

    offline: bool = False
    """Nothing but the nodes may be connected to."""
    bundles: tuple[Path, ...] = ()
    """Whose blobs are used where they lie."""
    allowed_signers: Path | None = None
    """Take only bundles that one of these has signed."""
