"""What the terminal can do, and streams that fail."""

from __future__ import annotations

import errno
import io
import os
import sys

import pytest

from ohmykube.ui import console
from ohmykube.ui.console import ASCII, UNICODE, ErrorStream, Results


class Stream(io.StringIO):
    """A text stream that says it is a terminal, or not."""

    def __init__(self, *, tty: bool = False, encoding: str = "utf-8") -> None:
        super().__init__()
        self._tty = tty
        self._encoding = encoding

    @property
    def encoding(self) -> str:
        return self._encoding

    def isatty(self) -> bool:
        return self._tty


class Broken(Stream):
    """Every write fails."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._number = number

    def write(self, text: str) -> int:
        raise OSError(self._number, os.strerror(self._number))

    def flush(self) -> None:
        raise OSError(self._number, os.strerror(self._number))


@pytest.mark.parametrize(
    ("tty", "environ", "colour", "animate"),
    [
        (True, {}, True, True),
        (False, {}, False, False),
        (True, {"NO_COLOR": "1"}, False, True),
        (True, {"NO_COLOR": ""}, True, True),
        (True, {"NO_PROGRESS": "1"}, True, False),
        (True, {"CI": "true"}, True, False),
        (True, {"CI": "false"}, True, True),
        (True, {"TERM": "dumb"}, False, False),
        (False, {"FORCE_COLOR": "1"}, True, False),
        (False, {"FORCE_COLOR": "0"}, False, False),
        (True, {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False, True),
    ],
)
def test_colour_and_animation_are_two_switches(tty, environ, colour, animate) -> None:
    found = console.inspect(Stream(tty=tty), environ)
    assert (found.colour, found.animate) == (colour, animate)


@pytest.mark.parametrize(
    ("encoding", "symbols"),
    [("utf-8", UNICODE), ("ascii", ASCII), ("latin-1", ASCII), ("x", ASCII)],
)
def test_symbols_fit_the_encoding(encoding, symbols) -> None:
    assert console.inspect(Stream(encoding=encoding), {}).symbols is symbols


def test_width() -> None:
    assert console.inspect(Stream(tty=False), {"COLUMNS": "200"}).width == 80
    assert console.inspect(Stream(tty=True), {"COLUMNS": "120"}).width == 120
    assert console.inspect(Stream(tty=True), {"COLUMNS": "3"}).width == 20
    assert console.inspect(Stream(tty=True), {}).width >= 20


def test_absent_and_closed_streams_are_no_terminals() -> None:
    closed = io.StringIO()
    closed.close()
    assert not console.is_tty(None)
    assert not console.is_tty(closed)


def test_clean_takes_away_what_moves_the_cursor() -> None:
    hostile = "a\x1b[31mred\x1b]0;title\x07\x00\x9b2Jb\u202ec\r\nd\te"
    assert console.clean(hostile) == "ared2Jbc\nd\te"
    assert console.one_line(" two\n lines ") == "two lines"


def test_shorten() -> None:
    assert console.shorten("abcdef", 6) == "abcdef"
    assert console.shorten("abcdefg", 6) == "abcde…"
    assert console.shorten("abcdefg", 1, "..") == "."


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.04, "0.0s"), (9.94, "9.9s"), (9.96, "10s"), (59.6, "1m00s"), (185, "3m05s")],
)
def test_seconds(value, text) -> None:
    assert console.seconds(value) == text


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EPIPE, errno.EIO])
def test_talk_never_fails(number) -> None:
    stderr = ErrorStream(Broken(number))
    stderr.line("hello")
    stderr.urgent("hello")
    ErrorStream(None).line("hello")
    assert ErrorStream(None).encoding == "ascii"


def test_talk_without_a_descriptor() -> None:
    with pytest.raises(OSError, match="no stream"):
        ErrorStream(None).fileno()
    stream = Stream()
    ErrorStream(stream).urgent("now")
    assert stream.getvalue() == "now\n"


def test_urgent_goes_to_the_descriptor() -> None:
    read, write = os.pipe()
    with os.fdopen(write, "w", encoding="ascii") as stream:
        ErrorStream(stream).urgent("stopping …")
    with os.fdopen(read, "rb") as source:
        assert source.read() == b"stopping \\u2026\n"


def test_urgent_takes_no_lock_though_the_reader_has_gone() -> None:
    """It is called while another write is under way, even by the thread that writes."""
    read, write = os.pipe()
    os.close(read)

    class Raw(io.FileIO):
        def write(self, data) -> int:
            stderr.urgent("stopping")
            return len(data)

    with io.TextIOWrapper(io.BufferedWriter(Raw(write, "w"))) as stream:
        stderr = ErrorStream(stream)
        stderr.line("under way")


def test_results_fail_loudly_and_can_be_discarded() -> None:
    results = Results(Broken(errno.ENOSPC))
    with pytest.raises(OSError, match="No space"):
        results.write("x")
    results.discard()
    results.write("forgotten")
    results.discard()
    Results(None).write("nobody listens")


def test_results_know_their_encoding() -> None:
    assert Results(Stream(encoding="UTF-8")).unicode
    assert not Results(Stream(encoding="ascii")).unicode
    assert not Results(None).unicode


def test_a_question_is_there_before_its_answer_is_waited_for(monkeypatch) -> None:
    below = io.BytesIO()
    stream = io.TextIOWrapper(io.BufferedWriter(below), line_buffering=True)  # type: ignore[type-var]
    shown = []

    class Person(io.StringIO):
        def readline(self, *_: object) -> str:
            shown.append(below.getvalue())
            return "yes\n"

    monkeypatch.setattr(sys, "stdin", Person())
    assert console.ask("go on? ", ErrorStream(stream)) == "yes"
    assert shown == [b"go on? "]


def test_ask(monkeypatch) -> None:
    stream = Stream(tty=True)
    monkeypatch.setattr(sys, "stdin", io.StringIO("dev \n"))
    assert console.ask("name? ", ErrorStream(stream)) == "dev"
    assert console.ask("again? ", ErrorStream(stream)) is None
    assert stream.getvalue() == "name? again? "
    assert not console.can_ask(ErrorStream(stream))
    monkeypatch.setattr(sys, "stdin", None)
    assert console.ask("? ", ErrorStream(stream)) is None


SENTENCE = "  Nodes and pods reach all that this host reaches; this host is host.ohmykube.internal."
FOUND = " ".join(["net.ipv4.ping_group_range is 1 0, and leaves root out"] * 3)
ROW = f"ok      ping from nodes          {FOUND}"
LONG = "x" * 90


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100])
@pytest.mark.parametrize("line", [SENTENCE, ROW, f"a {LONG} b", LONG, "", "short"])
def test_lines_are_broken_between_words_only(line: str, width: int) -> None:
    """Whatever the width, each word is whole, none is lost, and only a long word is too long."""
    rows = console.fit(f"{line}\n", width).split("\n")
    assert rows[-1] == ""
    assert " ".join(rows).split() == line.split()
    assert all(len(row) <= width or len(row.split()) == 1 for row in rows)
    assert rows[0].startswith(line[: len(line) - len(line.lstrip())])


def test_what_follows_stands_below_its_cell() -> None:
    rows = console.fit(ROW, 80).splitlines()
    start = ROW.index("net.ipv4")
    assert len(rows) > 1
    assert all(row[:start].isspace() and row[start] != " " for row in rows[1:])


@pytest.mark.parametrize(
    "line",
    [
        f"  export KUBECONFIG='/{LONG} {LONG}'",
        f"  /{LONG}/kubectl-1.36.3 get nodes",
        f"  '/{LONG}/kubectl-1.36.3' get nodes",
    ],
)
def test_a_command_stays_whole(line: str) -> None:
    assert console.fit(line, 40) == line


@pytest.mark.parametrize(("tty", "columns"), [(True, 40), (False, None)])
def test_only_a_terminal_has_columns(tty: bool, columns: int | None) -> None:
    assert Results(Stream(tty=tty)).columns({"COLUMNS": "40"}) == columns
