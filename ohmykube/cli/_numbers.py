"""Numbers on the command line; what is wrong with one is said without notation of ranges."""

from __future__ import annotations

import math
from typing import Any

import click

from ohmykube.ui.console import shorten


class Whole(click.IntRange):
    """A whole number from ``min`` to ``max``, both included."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number; raises click.BadParameter."""
        try:
            number: int = super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"must be a whole number {_bounds(self)}, not {_shown(value)}", param, ctx)
        return number


class Number(click.FloatRange):
    """A finite number from ``min`` to ``max``, both included."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number; raises click.BadParameter."""
        try:
            number: float = super().convert(value, param, ctx)
        except click.BadParameter:
            number = math.nan
        if not math.isfinite(number):
            self.fail(f"must be a number {_bounds(self)}, not {_shown(value)}", param, ctx)
        return number


def _bounds(of: Whole | Number) -> str:
    return f"of at least {of.min:g}" if of.max is None else f"from {of.min:g} to {of.max:g}"


def _shown(value: object) -> str:
    return f'"{shorten(ascii(value)[1:-1] if isinstance(value, str) else str(value), 40)}"'
