"""What to say when a run may ask nobody and something is not on this host."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from ohmykube.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence

_WIDTH = 76


def offline_lacks(names: Sequence[str]) -> NotFoundError:
    """Return the error that names all that lacks, and how to bring it."""
    count = f"{len(names)} artifact{'' if len(names) == 1 else 's'}"
    text = "lacking: " + ", ".join(names)
    return NotFoundError(
        f"offline, and this host lacks {count}",
        why="\n".join(textwrap.wrap(text, _WIDTH, break_on_hyphens=False)),
        hint="ohmykube bundle create -f cluster.yaml  (where there is a network; then here:)\n"
        "ohmykube up -f cluster.yaml --offline --bundle FILE",
        id="OMK-I-431",
    )


def own_lacks(parts: Sequence[tuple[str, str]]) -> NotFoundError:
    """Return the error for what no bundle brings: pairs of what it is and what to do about it."""
    lines: list[str] = []
    for text in (f"{name}: {needed}" for name, needed in parts):
        lines += textwrap.wrap(text, _WIDTH, break_long_words=False, break_on_hyphens=False)
    return NotFoundError(
        "offline, and this host lacks what no bundle brings",
        why="\n".join(lines),
        hint="the same command again when it is there",
        id="OMK-I-434",
    )
