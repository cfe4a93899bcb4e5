"""From any exception to what the user sees and the exit code: the one place for both."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypedDict

import click

from ohmykube.errors import (
    ConfigError,
    ExitCode,
    Explained,
    Interrupted,
    UsageError,
)
from ohmykube.kit import excerpt, failures
from ohmykube.ui.console import clean, one_line, shorten

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ohmykube.ui.console import Terminal

MOST_LINES = 12
_MOST_HEAD = 3
_MOST_HINT = 3
_MOST_OTHERS = 3
_LONGEST_WORD = 76
_RED, _BOLD, _OFF = "\x1b[1;31m", "\x1b[1m", "\x1b[0m"


class OtherProblem(TypedDict):
    """What went wrong beside it, or while the run cleaned up."""

    id: str
    message: str
    why: list[str]


class Problem(TypedDict):
    """Why a command failed."""

    id: str
    exitCode: int
    exitClass: str
    message: str
    why: list[str]
    hint: str
    log: str | None
    others: list[OtherProblem]


class Failed(TypedDict):
    """What stands in place of a result when the command failed."""

    error: Problem


KINDS: dict[str, type] = {"Error": Failed}
"""Document kinds by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What went wrong, ready to be shown."""

    id: str
    code: ExitCode
    message: str
    why: str = ""
    hint: str = ""
    log: str = ""
    problems: tuple[str, ...] = ()
    """All of them, where ``why`` shows some."""
    first_lines: bool = False
    """When ``why`` is too long: keep its beginning (a list) instead of both ends (an output)."""
    all_lines: bool = False
    """Show all of ``why`` and ``hint``, however long they are."""
    others: tuple[Failure, ...] = ()
    """What went wrong beside it, or while the run cleaned up."""


def describe(error: BaseException, usage: str = "ohmykube --help") -> Failure:
    """Turn an exception, with what was told with it, into a failure.

    Args:
        error: what was raised; what nobody foresaw is a bug of ours.
        usage: the command that explains what may be typed.
    """
    others = {(one.id, one.message, one.why): one for one in map(_one, failures.others(error))}
    return replace(_one(error, usage), others=tuple(others.values()))


def _one(error: BaseException, usage: str = "ohmykube --help") -> Failure:
    match error:
        case ConfigError(shows_all=True):
            failure = _explained(error, usage)
            return replace(
                failure,
                why="\n".join(error.problems) or failure.why,
                hint=error.hint_to_all or failure.hint,
                all_lines=True,
            )
        case Explained():
            return _explained(error, usage)
        case click.ClickException():
            return _one(_usage(error, usage))
        case KeyboardInterrupt() | click.Abort():
            return _one(Interrupted("stopped on request"))
        case _:
            text = excerpt.both_ends(one_line(f"{type(error).__name__}: {error}"), 400)
            return Failure(
                id="OMK-Z-001",
                code=ExitCode.BUG,
                message="this is a bug in ohmykube",
                why=text,
                hint="report it with the log file; running the same command again is safe",
            )


def _explained(error: Explained, usage: str) -> Failure:
    return Failure(
        id=error.id,
        code=error.exit_code,
        message=error.message,
        why=error.why or "",
        hint=error.hint or (usage if isinstance(error, UsageError) else ""),
        problems=error.problems if isinstance(error, ConfigError) else (),
        first_lines=isinstance(error, ConfigError),
    )


def _usage(error: click.ClickException, usage: str) -> UsageError:
    context = getattr(error, "ctx", None)
    hint = f"{context.command_path} --help" if context is not None else usage
    if isinstance(error, click.NoSuchOption):
        near = error.possibilities or []
        guess = "; did you mean " + " or ".join(near[:2]) + "?" if near else ""
        return UsageError(f"unknown option {error.option_name}{guess}", hint=hint, id="OMK-U-102")
    message = one_line(error.format_message()).removesuffix(".").replace("'", '"')
    message = message[:1].lower() + message[1:]
    return UsageError(message, hint=hint)


def stopped(cause: Failure | None, code: ExitCode) -> Failure:
    """Return the failure of an interrupted run; what broke because of it is told as the reason."""
    told = cause is not None and cause.code is not ExitCode.INTERRUPTED
    return Failure(
        id=Interrupted.default_id,
        code=code,
        message="stopped on request",
        why=f"at that moment: {cause.message}" if cause is not None and told else "",
        hint="run the same command again to go on",
        others=cause.others if cause is not None else (),
    )


def advised(failure: Failure, advice: Callable[[str], str]) -> Failure:
    """Return the failure with the commands in its texts written so that they can be typed."""
    return replace(
        failure,
        message=advice(failure.message),
        why=advice(failure.why),
        hint=advice(failure.hint),
        problems=tuple(map(advice, failure.problems)),
        others=tuple(advised(other, advice) for other in failure.others),
    )


def with_log(failure: Failure, path: Path | None) -> Failure:
    """Add where the log is."""
    return failure if path is None else replace(failure, log=str(path))


def document(failure: Failure) -> dict[str, Any]:
    """Return the failure for ``-o json`` and ``--progress json``; nothing is cut off."""
    return {
        "id": failure.id,
        "exitCode": int(failure.code),
        "exitClass": failure.code.name,
        "message": clean(failure.message),
        "why": clean("\n".join(failure.problems) or failure.why).splitlines(),
        "hint": clean(failure.hint),
        "log": failure.log or None,
        "others": [
            {"id": one.id, "message": clean(one.message), "why": clean(one.why).splitlines()}
            for one in failure.others
        ],
    }


def text(failure: Failure, terminal: Terminal) -> str:
    """Return what, why, what to type and where the log is, for people.

    At most 12 lines, unless all are to be shown.
    """
    width, mark = terminal.width, terminal.symbols.ellipsis
    red, bold, off = (_RED, _BOLD, _OFF) if terminal.colour else ("", "", "")
    head = _wrap(
        f"error[{failure.id}]: {clean(failure.message)}", width, _MOST_HEAD, mark, indent=""
    )
    head[0] = head[0].replace("error[", f"{red}error[", 1).replace("]:", f"]:{off}", 1)
    tail = _also(failure.others, width, mark)
    hints = clean(failure.hint).splitlines()
    for index, line in enumerate(hints if failure.all_lines else hints[:_MOST_HINT]):
        tail.append(f"{bold}try:{off} {line.strip()}" if index == 0 else f"     {line.strip()}")
    if failure.log:
        tail.append(f"log: {failure.log}")
    why = _why(failure, width, MOST_LINES - len(head) - len(tail), mark)
    return "\n".join([*head, *why, *tail])


def _why(failure: Failure, width: int, most: int, mark: str) -> list[str]:
    """Return the cause in at most ``most`` rows; of what does not fit, the middle is left out."""
    lines = [line.expandtabs(2).rstrip() for line in clean(failure.why).splitlines()]
    lines = [line for line in lines if line.strip()]
    if failure.all_lines:
        return [row for line in lines for row in _wrap(line, width, len(line), mark, indent="  ")]
    rows: list[str] = []
    for each in range(most, 1, -1) if len(lines) < most else (2,):
        rows = [row for line in lines for row in _wrap(line, width, each, mark, indent="  ")]
        if len(rows) <= most:
            return rows
    return _bound(rows, most, mark, ends=not failure.first_lines)


def _also(others: Sequence[Failure], width: int, mark: str) -> list[str]:
    shown = others if len(others) <= _MOST_OTHERS else others[: _MOST_OTHERS - 1]
    rows = []
    for one in shown:
        what = one.why if one.code is ExitCode.BUG else one.message
        rows.append(shorten(one_line(f"also: [{one.id}] {clean(what)}"), width, mark))
    left = len(others) - len(shown)
    return [*rows, f"also: {left} more, all in the log"] if left else rows


def _wrap(line: str, width: int, most: int, mark: str, *, indent: str) -> list[str]:
    # The end of a long path is what tells: the file, and the line in it.
    words = " ".join(excerpt.both_ends(w, _LONGEST_WORD, mark) for w in line.split(" "))
    rows = textwrap.wrap(
        words,
        max(width, 20),
        initial_indent=indent,
        subsequent_indent=indent + "  ",
        break_on_hyphens=False,
        break_long_words=False,
    ) or [indent]
    if len(rows) > most:
        front = (most + 1) // 2
        head = shorten(rows[front - 1], width - len(mark) - 1, "").rstrip()
        rows = [*rows[: front - 1], f"{head} {mark}", *rows[front - most :]]
    return rows


def _bound(rows: list[str], most: int, mark: str, *, ends: bool) -> list[str]:
    if len(rows) <= most:
        return rows
    left = len(rows) - (most - 1)
    note = f"  {mark} {left} more lines {mark}"
    front = (most - 1) // 2 if ends else most - 1
    back = most - 1 - front
    return [*rows[:front], note, *(rows[-back:] if back else [])]
