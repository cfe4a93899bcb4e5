"""Programs at the other end of a pipe."""

from __future__ import annotations

import threading
from typing import IO, TYPE_CHECKING

import pytest

from ohmykube.errors import Interrupted
from ohmykube.kit import interrupt, pipe, process

if TYPE_CHECKING:
    import io


def chunks(sink: IO[bytes]) -> None:
    for _ in range(64):
        sink.write(b"x" * 65536)


def test_a_program_reads_what_is_written() -> None:
    result = pipe.feed(["wc", "-c"], chunks, timeout=20)
    assert result.stdout.strip() == str(64 * 65536)


def test_a_program_that_fails_says_why_whatever_was_left_to_write() -> None:
    with pytest.raises(process.CommandFailed) as caught:
        pipe.feed(["sh", "-c", "echo no room >&2; exit 3"], chunks, timeout=20)
    assert (caught.value.result.code, caught.value.why) == (3, "no room")


def test_a_writer_that_fails_outweighs_the_program() -> None:
    def broken(sink: IO[bytes]) -> None:
        sink.write(b"half")
        raise ValueError("the source is gone")

    with pytest.raises(ValueError, match="the source is gone"):
        pipe.feed(["sh", "-c", "cat >/dev/null; exit 1"], broken, timeout=20)


def test_a_program_that_takes_too_long_is_ended() -> None:
    with pytest.raises(process.CommandFailed) as caught:
        pipe.feed(["sleep", "60"], chunks, timeout=0.3)
    assert caught.value.timed_out


def test_output_is_read_as_it_comes() -> None:
    def count(source: io.BufferedReader) -> int:
        return sum(len(chunk) for chunk in iter(lambda: source.read(4096), b""))

    argv = ["head", "-c", "3000000", "/dev/zero"]
    assert pipe.read(argv, count, timeout=20) == 3_000_000


def test_a_program_that_fails_outweighs_what_its_reader_thought() -> None:
    def whole(source: io.BufferedReader) -> None:
        source.read()
        raise ValueError("it ends in the middle")

    with pytest.raises(process.CommandFailed) as caught:
        pipe.read(["sh", "-c", "echo part; echo lost it >&2; exit 1"], whole, timeout=20)
    assert caught.value.why == "lost it"
    with pytest.raises(ValueError, match="ends in the middle"):
        pipe.read(["echo", "part"], whole, timeout=20)


def test_a_reader_that_wants_no_more_ends_the_program() -> None:
    def refuse(source: io.BufferedReader) -> None:
        source.read(10)
        raise ValueError("rubbish")

    with pytest.raises(ValueError, match="rubbish"):
        pipe.read(["yes"], refuse, timeout=20)


_HELD = """\
exec 3<&0
{ read -r _ || :; echo ended >&2; } <&3 &
sleep 0.1
kill $!
"""


def test_an_input_that_is_held_ends_neither_before_the_program_nor_after_it() -> None:
    done = pipe.hold(["sh", "-c", _HELD], timeout=20)
    assert (done.code, done.stderr) == (0, "")
    with pytest.raises(process.CommandFailed) as caught:
        pipe.hold(["sh", "-c", "echo why >&2; exit 3"], timeout=20)
    assert (caught.value.result.code, caught.value.why) == (3, "why")


def test_a_stop_ends_both_ways() -> None:
    ended = threading.Event()

    def wait(sink: IO[bytes]) -> None:
        try:
            while True:
                sink.write(b"x" * 65536)
        finally:
            ended.set()

    interrupt.requested.set()
    with pytest.raises(Interrupted):
        pipe.feed(["sleep", "60"], wait, timeout=60)
    assert ended.is_set()
    with pytest.raises(Interrupted):
        pipe.read(["sleep", "60"], lambda source: source.read(), timeout=60)
