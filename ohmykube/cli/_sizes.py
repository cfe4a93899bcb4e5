"""Numbers of bytes on the command line, in one way for all commands."""

from __future__ import annotations

import re
from typing import Any

import click

_FORM = re.compile(
    r"(?P<number>[0-9]{1,13}(?:\.[0-9]{1,6})?) ?(?P<unit>[kmgt]?)(?P<kind>ib|i|b|)", re.I
)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


class Size(click.ParamType):  # type: ignore[type-arg] # generic only in newer stubs
    """Bytes, as split(1), truncate(1) and the rest of GNU's programs read them.

    ``5M``, ``5Mi`` and ``5MiB`` are 5 * 1024 * 1024, ``5MB`` is 5 * 1000 * 1000; case says nothing.
    """

    name = "size"

    def __init__(self, least: int = 0, most: int = 1 << 60) -> None:
        self._least = least
        self._most = most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number of bytes."""
        if isinstance(value, int):  # a default
            return value
        found = _FORM.fullmatch(str(value).strip())
        if found is None:
            self.fail(
                f"{value!r} is no size; write for example 3900M or 5GiB (1024), or 500MB (1000)",
                param,
                ctx,
            )
        base = 1000 if found["unit"] and found["kind"].lower() == "b" else 1024
        size = int(float(found["number"]) * base ** _POWERS[found["unit"].lower()])
        if not self._least <= size <= self._most:
            span = f"from {self._least} to {self._most} bytes, such as 3900M"
            self.fail(f"{value!r} is out of range: {span}", param, ctx)
        return size
