"""Values and options of the commands on the cache."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

from ohmykube.cli import _numbers

if TYPE_CHECKING:
    from collections.abc import Callable


_TIME = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(s|m|h|d|w)", re.IGNORECASE)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 24 * 3600, "w": 7 * 24 * 3600}


class Age(click.ParamType):  # type: ignore[type-arg] # generic only in newer stubs
    """Seconds, written ``30d``, ``12h`` or ``45m``."""

    name = "age"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number of seconds."""
        form = _TIME.fullmatch(str(value).strip())
        if form is None:
            self.fail(f"{value!r} is no age; write for example 30d, 12h or 45m", param, ctx)
        return float(form[1]) * _SECONDS[form[2].lower()]


def jobs(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--jobs``."""
    return click.option(
        "--jobs",
        type=_numbers.Whole(1, 256),
        metavar="N",
        help="Blobs to hash in parallel (default: one per core).",
    )(function)
