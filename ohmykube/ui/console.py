"""What the terminal can do, and writing to it without ever failing on its account.

Colour and animation are two switches: ``NO_COLOR`` stops colour only, and ``FORCE_COLOR`` never
starts animation. This module imports nothing heavy, so that errors and plain output stay cheap.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Mapping

PLAIN_WIDTH = 80
"""Columns when the output is no terminal."""
STOPPING = "stopping ... (Ctrl-C again to stop now)"
_NARROWEST = 20
_NARROWEST_CELL = 24
_CELL = re.compile(r"(?<=\S) {3,}(?=\S)")
"""Between two cells of a table."""
_COMMAND = re.compile(r" +(?:export \w+=|\S*kubectl\S* )")
"""A line for the shell."""
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Symbols:
    """Marks beside the words; never instead of them."""

    ok: str
    failed: str
    skipped: str
    running: str
    ellipsis: str
    spinner: str


UNICODE = Symbols(ok="✓", failed="✗", skipped="-", running="•", ellipsis="…", spinner="⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")
ASCII = Symbols(ok="+", failed="x", skipped="-", running="*", ellipsis="..", spinner="|/-\\")


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminal:
    """What one output stream can show."""

    tty: bool
    colour: bool
    animate: bool
    symbols: Symbols
    width: int


def inspect(stream: TextIO | None, environ: Mapping[str, str]) -> Terminal:
    """Find out what ``stream`` can show."""
    tty = is_tty(stream)
    dumb = environ.get("TERM") == "dumb"
    forced = environ.get("FORCE_COLOR", "") not in ("", "0")
    colour = (tty and not dumb) or forced
    if environ.get("NO_COLOR"):
        colour = False
    still = dumb or environ.get("NO_PROGRESS") or environ.get("CI", "") not in ("", "false", "0")
    return Terminal(
        tty=tty,
        colour=colour,
        animate=tty and not still,
        symbols=UNICODE if _can_encode(stream, UNICODE) else ASCII,
        width=_width(environ) if tty else PLAIN_WIDTH,
    )


def is_tty(stream: TextIO | None) -> bool:
    """Tell whether the stream is a terminal; a closed or absent one is not."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False


def _can_encode(stream: TextIO | None, symbols: Symbols) -> bool:
    try:
        (symbols.ok + symbols.ellipsis + symbols.spinner).encode(
            getattr(stream, "encoding", None) or "ascii"
        )
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _width(environ: Mapping[str, str]) -> int:
    columns = environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns) > 0:
        return max(int(columns), _NARROWEST)
    for descriptor in (2, 1, 0):
        with contextlib.suppress(OSError):
            return max(os.get_terminal_size(descriptor).columns or PLAIN_WIDTH, _NARROWEST)
    return shutil.get_terminal_size((PLAIN_WIDTH, 24)).columns


def clean(text: str) -> str:
    """Remove terminal escapes and control characters from text that came from elsewhere.

    Line ends and tabs stay.
    """
    return _CONTROLS.sub("", _ESCAPES.sub("", text.replace("\r\n", "\n")))


def one_line(text: str) -> str:
    """Return ``text`` cleaned and on one line."""
    return " ".join(clean(text).split())


def shorten(text: str, width: int, ellipsis: str = "…") -> str:
    """Cut ``text`` to ``width`` characters, the cut marked."""
    if len(text) <= width:
        return text
    return text[: max(width - len(ellipsis), 0)] + ellipsis[:width]


def fit(text: str, width: int) -> str:
    """Break lines that are longer than ``width`` at blanks, and no word.

    What follows stands below the last cell of a table's row, or a little further in than the line
    began. Commands stay whole, so that they can be copied.
    """
    return "\n".join(_fitted(line, width) for line in text.split("\n"))


def _fitted(line: str, width: int) -> str:
    if len(line) <= width or _COMMAND.match(line):
        return line
    begin = len(line) - len(line.lstrip(" "))
    cell = max((gap.end() for gap in _CELL.finditer(line)), default=0)
    hang = cell if cell > begin and width - cell >= _NARROWEST_CELL else begin + 2
    return textwrap.fill(
        line,
        width,
        subsequent_indent=" " * hang,
        break_on_hyphens=False,
        break_long_words=False,
    )


def seconds(value: float) -> str:
    """Return a duration for people: ``0.4s``, ``12s``, ``3m05s``."""
    if value < 9.95:
        return f"{value:.1f}s"
    if value < 59.5:
        return f"{value:.0f}s"
    whole = round(value)
    return f"{whole // 60}m{whole % 60:02d}s"


class ErrorStream:
    """Writes to stderr; a stream that is closed, full or gone is no reason to stop the work."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        tolerate(stream)

    @property
    def encoding(self) -> str:
        """Encoding of the stream below."""
        return getattr(self._stream, "encoding", None) or "ascii"

    def isatty(self) -> bool:
        """Tell whether the stream below is a terminal."""
        return is_tty(self._stream)

    def fileno(self) -> int:
        """Return the descriptor of the stream below; raises OSError when it has none."""
        if self._stream is None:
            raise OSError("no stream")
        return self._stream.fileno()

    def write(self, text: str) -> int:
        """Write ``text`` or forget it."""
        if self._stream is not None:
            try:
                self._stream.write(text)
            except (OSError, ValueError):
                self._give_up()
        return len(text)

    def flush(self) -> None:
        """Push it out, or not."""
        if self._stream is not None:
            try:
                self._stream.flush()
            except (OSError, ValueError):
                self._give_up()

    def _give_up(self) -> None:
        stream, self._stream = self._stream, None
        _silence(stream)

    def line(self, text: str) -> None:
        """Write one line at once."""
        self.write(text + "\n")
        self.flush()

    def urgent(self, text: str) -> None:
        """Write a line past the buffer, whose lock a thread that cannot go on may hold."""
        try:
            descriptor = self.fileno()
        except (OSError, ValueError):
            self.line(text)  # in memory or nowhere: no lock
            return
        with contextlib.suppress(OSError):  # gone: what is written next finds that out
            os.write(descriptor, (text + "\n").encode(self.encoding, "backslashreplace"))


class Results:
    """Writes results to stdout; a failure here is an error of the command (OSError)."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        tolerate(stream)

    @property
    def unicode(self) -> bool:
        """Whether every character can be shown as it is."""
        encoding = getattr(self._stream, "encoding", None) or "ascii"
        return encoding.lower().replace("-", "").startswith("utf")

    def columns(self, environ: Mapping[str, str]) -> int | None:
        """Return how wide the terminal is; None when there is none: programs get whole lines."""
        return _width(environ) if is_tty(self._stream) else None

    def write(self, text: str) -> None:
        """Write and flush; nothing happens when stdout is closed from the start."""
        if self._stream is not None:
            self._stream.write(text)
            self._stream.flush()

    def discard(self) -> None:
        """Drop what could not be written, so that the interpreter does not try again at its end."""
        stream, self._stream = self._stream, None
        _silence(stream)


def _silence(stream: TextIO | None) -> None:
    """Send what is left in the buffer to nowhere: the interpreter's end would try it again."""
    if stream is None:
        return
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
    with contextlib.suppress(OSError, ValueError):
        stream.flush()


def tolerate(stream: TextIO | None) -> None:
    """Write characters that the stream's encoding does not have as escapes; never fail on them."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        with contextlib.suppress(OSError, ValueError):
            reconfigure(errors="backslashreplace")


def hold_standard_descriptors() -> None:
    """Open ``/dev/null`` for each of descriptors 0 to 2 that is closed.

    Otherwise the next file opened gets such a number, and a child would write its output into it.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number: this one


def ask(question: str, stderr: ErrorStream) -> str | None:
    """Ask on stderr and read one line from stdin; None at its end."""
    stderr.write(question)
    stderr.flush()
    line = sys.stdin.readline() if sys.stdin else ""
    return line.strip() if line else None


def can_ask(stderr: ErrorStream) -> bool:
    """Tell whether somebody is there to answer."""
    return is_tty(sys.stdin) and stderr.isatty()
