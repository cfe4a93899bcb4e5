"""Problems in a cluster file: collected, ordered by line, said once."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ohmykube.errors import ConfigError
from ohmykube.kit import amounts

if TYPE_CHECKING:
    from collections.abc import Sequence

Path = tuple[str | int, ...]
"""Where a value is, such as ``("spec", "nodes", "workers", 0, "count")``."""

ECHO_LONGEST = 80
SHOWN = 7
"""Problems in the text of the error; all of them are in ``ConfigError.problems``."""

_SCHEMA = "ohmykube config schema  (all fields)"
_TEMPLATE = "ohmykube config template  (an example)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong."""

    path: Path
    text: str
    """What is wrong, starting with a verb: ``must be …, got …``."""
    line: int | None = None
    flag: str | None = None
    """The flag that the value came from, instead of a line."""

    def __str__(self) -> str:
        place = dotted(self.path) or "the file"
        if self.flag:
            return f"{self.flag}: {self.text}"
        return f"{place}, line {self.line}: {self.text}" if self.line else f"{place}: {self.text}"


def dotted(path: Path) -> str:
    """Return ``spec.nodes.workers[0].count``; odd keys are shown quoted and shortened."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif (
            part.replace("-", "").replace("_", "").isalnum() and part.isascii() and len(part) <= 60
        ):
            text += f".{part}" if text else part
        else:
            text += f"[{echo(part)}]"
    return text


def echo_path(path: object) -> str:
    """Return a path as it may be shown: one line of ASCII, whole, for what is cut is not found."""
    return _quoted(str(path))


def _quoted(text: str) -> str:
    return '"' + ascii(text)[1:-1].replace("\\'", "'") + '"'


def echo(value: object) -> str:
    """Return a value as it may be shown: one line of ASCII, at most 80 characters."""
    if isinstance(value, str):
        shown = _quoted(value[: ECHO_LONGEST + 1])
    elif isinstance(value, dict):
        shown = "a mapping"
    elif isinstance(value, list | tuple):
        shown = "a list"
    elif value is None:
        shown = "nothing"
    elif isinstance(value, bool):
        shown = "true" if value else "false"
    else:
        shown = ascii(value)
    if len(shown) > ECHO_LONGEST:
        shown = shown[: ECHO_LONGEST - 3] + "..."
    return shown


def closest(word: str, known: Sequence[str]) -> str:
    """Return `` (did you mean "workers"?)`` or an empty string."""
    lowered = {name.lower(): name for name in known}
    found = difflib.get_close_matches(word.lower()[:60], list(lowered), n=1, cutoff=0.6)
    return f'; did you mean "{lowered[found[0]]}"?' if found else ""


def error(label: str, problems: Sequence[Problem]) -> ConfigError:
    """Return the error for all problems of one file, in the order of its lines."""
    ordered = sorted(problems, key=lambda p: (p.line or 0, dotted(p.path), p.text))
    lines = tuple(dict.fromkeys(str(problem) for problem in ordered))
    shown = list(lines[:SHOWN])
    if len(lines) > SHOWN + 1:
        shown.append(f"... and {len(lines) - SHOWN} more")
        first = "ohmykube config validate  (all of them)"
    else:
        shown = list(lines)
        first = _TEMPLATE
    count = amounts.count(len(lines), "problem")
    found = ConfigError(
        f"{label} has {count}",
        problems=lines,
        why="\n".join(shown),
        hint=f"{_SCHEMA}, {first}",
        id="OMK-C-101",
    )
    found.hint_to_all = f"{_SCHEMA}, {_TEMPLATE}"
    return found
