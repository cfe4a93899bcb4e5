"""The errors of an offline run for which something is missing on this host."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from ohmykube.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence

_WIDTH = 76


def offline_missing(names: Sequence[str]) -> NotFoundError:
    """Return the error that names everything missing, and how to bring it."""
    count = "1 artifact is" if len(names) == 1 else f"{len(names)} artifacts are"
    text = "missing: " + ", ".join(names)
    return NotFoundError(
        f"offline, and {count} missing on this host",
        why="\n".join(textwrap.wrap(text, _WIDTH, break_on_hyphens=False)),
        hint="ohmykube bundle create -f cluster.yaml  (where there is a network; then here:)\n"
        "ohmykube up -f cluster.yaml --offline --bundle FILE",
        id="OMK-I-431",
    )


def own_parts_missing(parts: Sequence[tuple[str, str]]) -> NotFoundError:
    """Return the error for files that no bundle holds: pairs of name and what to do."""
    lines: list[str] = []
    for text in (f"{name}: {needed}" for name, needed in parts):
        lines += textwrap.wrap(text, _WIDTH, break_long_words=False, break_on_hyphens=False)
    return NotFoundError(
        "offline, and files that no bundle holds are missing on this host",
        why="\n".join(lines),
        hint="run the same command again when they are there",
        id="OMK-I-434",
    )
