from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ohmykube.errors import ExitCode, Interrupted, PrerequisiteError
from ohmykube.kit import interrupt, process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Eventually = Callable[[Callable[[], bool]], bool]

# Ends itself after a minute, should a test fail to end it.
STUBBORN = "trap '' TERM; echo $$; for i in $(seq 600); do sleep 0.1; done"


def alive(pid: int) -> bool:
    if sys.platform != "linux":
        argv = ["ps", "-o", "stat=", "-p", str(pid)]
        told = process.run(argv, timeout=30, check=False).stdout.strip()
        return told[:1] not in ("", "Z")
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


@pytest.fixture
def doomed() -> Iterator[list[int]]:
    """Collect process ids that must not outlive the test."""
    pids: list[int] = []
    yield pids
    for pid in pids:
        if alive(pid):
            os.kill(pid, signal.SIGKILL)


def python(script: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", script, *arguments]


def test_run_returns_both_streams_and_the_code() -> None:
    result = process.run(["sh", "-c", "echo out; echo err >&2; exit 3"], timeout=10, check=False)
    assert (result.code, result.stdout, result.stderr) == (3, "out\n", "err\n")
    assert result.argv[0] == "sh"


def test_output_that_is_no_utf8_is_replaced() -> None:
    assert process.run(["printf", r"a\377b"], timeout=10).stdout == "a\N{REPLACEMENT CHARACTER}b"


def test_a_failure_shows_the_last_lines_of_stderr() -> None:
    script = "for i in $(seq 1 20); do echo line $i >&2; echo >&2; done; exit 1"
    with pytest.raises(process.CommandFailed) as caught:
        process.run(["sh", "-c", script], timeout=10)
    assert caught.value.message == "`sh` failed with code 1"
    assert caught.value.why == "\n".join(f"line {i}" for i in range(13, 21))
    assert caught.value.result.code == 1
    assert not caught.value.timed_out
    assert caught.value.exit_code is ExitCode.BUG


def test_a_failure_without_stderr_shows_stdout() -> None:
    with pytest.raises(process.CommandFailed) as caught:
        process.run(["sh", "-c", "echo only this; exit 1"], timeout=10)
    assert caught.value.why == "only this"


@pytest.mark.parametrize("data", ["héllo", "héllo".encode()])
def test_input_reaches_the_program(data: str | bytes) -> None:
    assert process.run(["cat"], timeout=10, input=data).stdout == "héllo"


def test_much_input_and_output_do_not_block_each_other() -> None:
    data = b"x" * (4 << 20)
    assert len(process.run(["cat"], timeout=60, input=data).stdout) == len(data)


def test_without_input_stdin_is_empty() -> None:
    assert process.run(["cat"], timeout=10).stdout == ""


def test_files_as_streams(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.write_text("text")
    with source.open("rb") as stdin, (tmp_path / "out").open("wb") as stdout:
        result = process.run(["cat"], timeout=10, stdin=stdin, stdout=stdout)
    assert result.stdout == ""
    assert (tmp_path / "out").read_text() == "text"


def test_environment_and_directory(tmp_path: Path) -> None:
    result = process.run(
        ["/bin/sh", "-c", "pwd; echo $ONLY$HOME"], timeout=10, env={"ONLY": "this"}, cwd=tmp_path
    )
    assert result.stdout == f"{tmp_path}\nthis\n"


def test_a_missing_program_names_the_next_command() -> None:
    with pytest.raises(PrerequisiteError, match="`no-such-program` is not installed") as caught:
        process.run(["no-such-program"], timeout=10)
    assert caught.value.hint == "ohmykube doctor --fix"


def test_a_program_that_cannot_be_run(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("text")
    with pytest.raises(PrerequisiteError, match="cannot be run"):
        process.run([str(tmp_path / "plain")], timeout=10)


def out_of_time(script: str, pids: int) -> tuple[process.CommandFailed, list[int]]:
    """Let a script run out of time; on a busy machine with more of it, until its pids are told."""
    for limit in (0.5, 4, 32):
        with pytest.raises(process.CommandFailed, match="did not end in time") as caught:
            process.run(["sh", "-c", script], timeout=limit)
        told = [int(word) for word in caught.value.result.stdout.split()]
        if len(told) == pids:
            break
    return caught.value, told


def test_the_time_limit_ends_the_program_and_its_children(eventually: Eventually) -> None:
    script = f'sh -c "{STUBBORN.replace("$", chr(92) + "$")}" & {STUBBORN}'
    error, pids = out_of_time(script, 2)
    assert error.timed_out
    assert len(pids) == 2
    assert eventually(lambda: not any(alive(pid) for pid in pids))


def test_a_stop_request_ends_a_stubborn_program(tmp_path: Path, eventually: Eventually) -> None:
    seen = tmp_path / "pid"
    stop = threading.Thread(
        target=lambda: (
            eventually(lambda: seen.exists() and seen.stat().st_size > 0)
            and interrupt.requested.set()
        )
    )
    stop.start()
    with seen.open("wb") as sink, pytest.raises(Interrupted):
        process.run(["sh", "-c", STUBBORN], timeout=60, stdout=sink)
    stop.join()
    assert eventually(lambda: not alive(int(seen.read_text())))


def test_a_stop_takes_less_than_five_seconds_by_design() -> None:
    # SIGTERM and its grace, SIGKILL, the rest of the pipes, and one slice to notice.
    assert process.GRACE_SECONDS + process._DRAIN_SECONDS + 2 * process._SLICE < 5


def test_a_daemon_that_keeps_the_pipes_open_is_not_waited_for(doomed: list[int]) -> None:
    result = process.run(["sh", "-c", "setsid sleep 60 & echo $!"], timeout=30)
    doomed.append(int(result.stdout))
    assert alive(doomed[0])


def test_a_time_limit_with_a_daemon_on_the_pipes(doomed: list[int]) -> None:
    error, pids = out_of_time("setsid sleep 60 & echo $!; sleep 60", 1)
    doomed += pids
    assert error.timed_out
    assert len(pids) == 1


def test_stream_hands_over_each_line_of_both_streams() -> None:
    lines: list[str] = []
    result = process.stream(
        ["sh", "-c", "echo one; echo two >&2; printf 3"], lines.append, timeout=10
    )
    assert lines == ["one", "two", "3"]
    assert result.stdout == "one\ntwo\n3"


def test_stream_raises_what_the_listener_raised_after_the_end(tmp_path: Path) -> None:
    def listen(line: str) -> None:
        raise ValueError(line)

    done = tmp_path / "done"
    with pytest.raises(ValueError, match=r"^first$"):
        process.stream(["sh", "-c", f"echo first; seq 1 100000; touch {done}"], listen, timeout=30)
    assert done.exists()


def test_stream_failure_and_time_limit() -> None:
    with pytest.raises(process.CommandFailed, match="code 4") as caught:
        process.stream(["sh", "-c", "echo why; exit 4"], lambda _: None, timeout=10)
    assert caught.value.why == "why"
    with pytest.raises(process.CommandFailed, match="in time"):
        process.stream(["sleep", "60"], lambda _: None, timeout=0.5)


def test_stream_stops_on_request() -> None:
    with pytest.raises(Interrupted):
        process.stream(
            ["sh", "-c", "echo started; exec sleep 60"],
            lambda _: interrupt.requested.set(),
            timeout=60,
        )


def test_an_exception_in_the_wait_ends_the_program(eventually: Eventually) -> None:
    # What a signal handler raises, such as KeyboardInterrupt in somebody else's program.
    child = process._start(
        ["sleep", "60"], stdin=None, stdout=None, stderr=None, env=None, cwd=None
    )
    old = signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(KeyboardInterrupt):
            process._wait(child, 60)
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(KeyboardInterrupt):
            process.run(["sleep", "60"], timeout=60)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert eventually(lambda: not alive(child.pid))


def test_interactive_returns_the_code() -> None:
    assert process.interactive(["sh", "-c", "exit $CODE"], env={"CODE": "5"}) == 5
    with pytest.raises(PrerequisiteError):
        process.interactive(["no-such-program"])


def test_companion_is_closed_twice_and_logs(tmp_path: Path, eventually: Eventually) -> None:
    log = tmp_path / "log"
    companion = process.Companion(["sh", "-c", "echo hello; exec sleep 60"], log)
    assert eventually(lambda: log.read_text() == "hello\n")
    assert companion.alive()
    companion.close()
    companion.close()
    assert not companion.alive()
    assert not alive(companion.pid)


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux")
def test_companion_dies_when_we_are_killed(
    tmp_path: Path, doomed: list[int], eventually: Eventually
) -> None:
    script = """
import os, pathlib, signal, sys
from ohmykube.kit.process import Companion
log = pathlib.Path(sys.argv[1])
companion = Companion(["sh", "-c", "echo ready; exec sleep 60"], log)
while not log.read_text():
    pass
print(companion.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    result = process.run(python(script, str(tmp_path / "log")), timeout=30, check=False)
    assert result.code == -signal.SIGKILL
    doomed.append(int(result.stdout))
    assert eventually(lambda: not alive(doomed[0]))


def test_of_contained_programs_nothing_outlives_us(
    tmp_path: Path, as_root: None, doomed: list[int], eventually: Eventually
) -> None:
    """Not what they have started in sessions of their own either, whatever signals it ignores."""
    script = """
import os, pathlib, signal, subprocess, sys, threading
from ohmykube.kit import process
ready = sys.argv[1]
os.mkfifo(ready)
late = f"trap '' TERM; echo >{ready}; exec sleep 60"
threading.Thread(
    target=process.run,
    args=(process.contained(["sh", "-c", f'setsid sh -c "{late}" & wait']),),
    kwargs={"timeout": 60},
    daemon=True,
).start()
pathlib.Path(ready).read_text()
found = subprocess.run(["pgrep", "--full", ready], capture_output=True, text=True, check=True)
print(*(pid for pid in found.stdout.split() if int(pid) != os.getpid()), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    result = process.run(python(script, str(tmp_path / "ready")), timeout=30, check=False)
    assert result.code == -signal.SIGKILL, result
    doomed.extend(map(int, result.stdout.split()))
    assert len(doomed) >= 2
    assert eventually(lambda: not any(map(alive, doomed)))
    with pytest.raises(PrerequisiteError, match="no-such-program"):
        process.contained(["no-such-program"])


def test_detached_programs_outlive_us(tmp_path: Path, doomed: list[int]) -> None:
    script = """
import pathlib, sys
from ohmykube.kit.process import detach
print(detach(["sleep", "60"], pathlib.Path(sys.argv[1])))
"""
    result = process.run(python(script, str(tmp_path / "log")), timeout=30)
    doomed.append(int(result.stdout))
    assert alive(doomed[0])
    assert os.getsid(doomed[0]) != os.getsid(0)


def test_detached_programs_outlive_the_end_of_all_others(
    tmp_path: Path, doomed: list[int], eventually: Eventually
) -> None:
    doomed.append(process.detach(["sleep", "60"], tmp_path / "log"))
    companion = process.Companion(["sleep", "60"], tmp_path / "log")
    process.end_all()
    assert eventually(lambda: not companion.alive())
    assert alive(doomed[0])
    companion.close()


class Ended:
    """A child that has ended."""

    pid = 2**22 + 1

    def poll(self) -> int:
        return 0

    def wait(self, _timeout: float) -> int:
        return 0


def test_children_may_start_while_all_are_looked_at() -> None:
    children = process._Children()
    first, second, third = Ended(), Ended(), Ended()
    children.add(first)
    children.add(second)
    looking = iter(children)
    children.add(third)
    assert list(looking) == [first, second]
    assert list(children) == [first, second, third]
    del looking, first
    assert list(children) == [second, third], "what is garbage was waited for"


def test_ending_all_is_safe_beside_threads_that_start_programs() -> None:
    stop = threading.Event()

    def start() -> None:
        while not stop.is_set():
            kept = [Ended() for _ in range(50)]
            for child in kept:
                process._children.add(child)

    threads = [threading.Thread(target=start) for _ in range(2)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for _ in range(300):
            process.end_all(0)
    finally:
        sys.setswitchinterval(before)
        stop.set()
        for thread in threads:
            thread.join()


def test_a_detached_program_that_ends_leaves_no_zombie(
    tmp_path: Path, eventually: Eventually
) -> None:
    pid = process.detach(["true"], tmp_path / "log")
    assert eventually(lambda: not Path(f"/proc/{pid}").exists())


def test_detach_of_a_missing_program(tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteError):
        process.detach(["no-such-program"], tmp_path / "log")


def test_tail_and_which() -> None:
    assert process.tail("a\n\n b \nc\n", 2) == " b \nc"
    assert process.which("sh")
    assert process.which("no-such-program") is None
