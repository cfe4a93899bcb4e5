"""The command line as a process: pipes, terminals, closed streams, signals."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ohmykube.errors import ExitCode

ROOT = Path(__file__).parents[3]
FAKE = ROOT / "tests" / "data" / "cli" / "fake_cli.py"
DEADLINE = 30
ESCAPE, CARRIAGE_RETURN = b"\x1b", b"\r"
COLOUR = re.compile(rb"\x1b\[[0-9;]*m")


@pytest.fixture
def environ(tmp_path) -> dict[str, str]:
    """A small environment of our own."""
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        "HOME": str(tmp_path),
        "OHMYKUBE_HOME": str(tmp_path / "home"),
        "FAKE_PID": str(tmp_path / "pid"),
        "LANG": "C.UTF-8",
        "TERM": "xterm-256color",
    }


def _run(environ, *argv: str, **kwargs) -> subprocess.CompletedProcess[bytes]:
    extra = kwargs.pop("env", {})
    kwargs.setdefault("stdout", subprocess.PIPE)
    kwargs.setdefault("stderr", subprocess.PIPE)
    return subprocess.run(
        [sys.executable, str(FAKE), *argv], env=environ | extra, stdin=subprocess.DEVNULL,
        timeout=DEADLINE, check=False, **kwargs,
    )  # fmt: skip


def _on_terminal(environ, *argv: str, env=(), columns: int = 80) -> tuple[int, bytes, bytes]:
    """Run with stderr on a terminal and stdout in a pipe."""
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, str(FAKE), *argv], env=environ | {"COLUMNS": str(columns)} | dict(env),
        stdin=theirs, stderr=theirs, stdout=subprocess.PIPE,
    )  # fmt: skip
    os.close(theirs)
    talk = _drain(ours)
    assert child.stdout is not None
    with child.stdout:
        out = child.stdout.read()
    return child.wait(DEADLINE), out, talk


def _drain(descriptor: int, until: bytes | None = None) -> bytes:
    found = b""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end and (until is None or until not in found):
        if not select.select([descriptor], [], [], 1)[0]:
            continue
        try:
            chunk = os.read(descriptor, 65536)
        except OSError:  # Linux says EIO when the other side has closed
            break
        if not chunk:
            break
        found += chunk
    if until is None:
        os.close(descriptor)
    else:
        assert until in found
    return found


def test_results_on_stdout_and_all_else_on_stderr(environ) -> None:
    done = _run(environ, "up", env={"FAKE_UP": "demo"})
    assert done.returncode == 0
    assert done.stdout.startswith(b'Cluster "dev" is ready')
    assert b"Check this host" in done.stderr
    assert b"Check this host" not in done.stdout
    assert b"is ready" not in done.stderr


@pytest.mark.parametrize("force", [{}, {"FORCE_COLOR": "1"}, {"FORCE_COLOR": "1", "CI": "1"}])
def test_no_animation_into_a_pipe(environ, force) -> None:
    done = _run(environ, "up", env={"FAKE_UP": "demo", **force})
    assert CARRIAGE_RETURN not in done.stderr + done.stdout
    assert ESCAPE not in COLOUR.sub(b"", done.stderr + done.stdout)
    if not force:
        assert ESCAPE not in done.stderr + done.stdout


def test_force_color_colours_an_error_in_a_pipe(environ) -> None:
    assert COLOUR.search(_run(environ, "status", "no", env={"FORCE_COLOR": "1"}).stderr)
    assert not COLOUR.search(_run(environ, "status", "no").stderr)


def test_a_terminal_is_animated_and_left_tidy(environ) -> None:
    code, out, talk = _on_terminal(environ, "up", env={"FAKE_UP": "demo", "FAKE_SPEED": "0.02"})
    assert code == 0
    assert ESCAPE not in out
    assert COLOUR.search(talk)
    assert talk.count(b"\x1b[?25l") == talk.count(b"\x1b[?25h") == 1
    assert "✓ Configure the nodes".encode() in COLOUR.sub(b"", talk)


def test_no_color_on_a_terminal_stops_colour_only(environ) -> None:
    env = {"FAKE_UP": "demo", "FAKE_SPEED": "0.02", "NO_COLOR": "1"}
    code, _, talk = _on_terminal(environ, "up", env=env)
    assert code == 0
    assert not COLOUR.search(talk)
    assert b"\x1b[?25l" in talk


@pytest.mark.parametrize(
    "env", [{"TERM": "dumb"}, {"CI": "true", "NO_COLOR": "1"}, {"NO_PROGRESS": "1"}]
)
def test_terminals_that_want_no_animation(environ, env) -> None:
    code, _, talk = _on_terminal(environ, "up", env={"FAKE_UP": "demo", **env})
    assert code == 0
    assert ESCAPE not in talk
    assert re.search(rb"\[\d\d:\d\d\] Check this host \.\.\.", talk)


@pytest.mark.parametrize("columns", [20, 80])
def test_rows_fit_the_terminal(environ, columns) -> None:
    env = {"FAKE_UP": "demo", "FAKE_SPEED": "0.02"}
    code, _, talk = _on_terminal(environ, "up", env=env, columns=columns)
    assert code == 0
    text = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", talk).replace(b"\r", b"\n").decode()
    rows = [row for row in text.splitlines() if "warning" not in row]
    assert max(map(len, rows)) <= columns


@pytest.mark.parametrize(
    "words", [("up",), ("status", "no"), ("help", "up"), ("list", "-o", "json")]
)
def test_an_ascii_terminal(environ, words) -> None:
    env = {"PYTHONIOENCODING": "ascii", "FAKE_UP": "demo"}
    done = _run(environ, *words, env=env)
    assert b"Traceback" not in done.stderr
    assert b"UnicodeEncodeError" not in done.stderr
    (done.stdout + done.stderr).decode("ascii")


def test_an_ascii_terminal_gets_ascii_marks(environ) -> None:
    env = {"PYTHONIOENCODING": "ascii", "FAKE_UP": "demo", "FAKE_SPEED": "0.02", "NO_COLOR": "1"}
    _, _, talk = _on_terminal(environ, "up", env=env)
    talk.decode("ascii")
    assert b"+ Configure the nodes" in talk
    assert b"\\u" not in talk


def test_head_takes_one_line(environ) -> None:
    for words in ("help up", "list", "status -o yaml"):
        script = f'set -o pipefail; "{sys.executable}" "{FAKE}" {words} | head -1 >/dev/null'
        done = subprocess.run(
            ["bash", "-c", script], env=environ, capture_output=True, timeout=DEADLINE, check=False
        )
        assert done.returncode in (0, 141)
        assert done.stderr == b""


def test_a_reader_that_has_gone(environ) -> None:
    read, write = os.pipe()
    os.close(read)
    done = _run(environ, "list", stdout=write)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
@pytest.mark.parametrize("words", [("list",), ("--help",), ("status", "-o", "json")])
def test_dev_full(environ, words) -> None:
    with Path("/dev/full").open("wb") as full:
        done = _run(environ, *words, stdout=full)
        assert done.returncode == ExitCode.RESOURCE
        assert done.stderr.startswith(b"error[OMK-H-108]: the result could not be written")
        assert b"Traceback" not in done.stderr
        assert b"Exception ignored" not in done.stderr
        assert _run(environ, *words, stdout=full, stderr=full).returncode == ExitCode.RESOURCE


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_full_disk_behind_the_progress_does_not_stop_the_work(environ) -> None:
    with Path("/dev/full").open("wb") as full:
        done = _run(environ, "up", stderr=full, env={"FAKE_UP": "demo"})
    assert done.returncode == 0
    assert done.stdout.startswith(b'Cluster "dev" is ready')


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams(environ, closed) -> None:
    script = f'exec "{sys.executable}" "{FAKE}" up {closed}'
    done = subprocess.run(
        ["bash", "-c", script], env=environ | {"FAKE_UP": "demo"}, capture_output=True,
        timeout=DEADLINE, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr
    (log,) = Path(environ["OHMYKUBE_HOME"], "state", "logs").iterdir()
    assert "is ready" not in log.read_text()


def test_down_asks_on_a_terminal(environ) -> None:
    for answer, code in ((b"dev\n", 0), (b"prod\n", 2), (b"\x04", 2)):
        ours, theirs = pty.openpty()
        child = subprocess.Popen(
            [sys.executable, str(FAKE), "down", "dev"], env=environ,
            stdin=theirs, stderr=theirs, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(theirs)
        _drain(ours, b"Type its name to go on: ")
        os.write(ours, answer)
        _drain(ours)
        assert child.wait(DEADLINE) == code


def _start(environ, play: str, *argv: str, **kwargs) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, str(FAKE), "up", *argv], env=environ | {"FAKE_UP": play},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kwargs,
    )  # fmt: skip


def _read_until(child: subprocess.Popen[bytes], text: bytes) -> bytes:
    assert child.stderr is not None
    return _drain(child.stderr.fileno(), text)


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)],
)
def test_a_signal_stops_the_run_cleanly(environ, number, code) -> None:
    for _ in range(3):  # the seconds may be those of a busy machine, but not each time
        child = _start(environ, "hang")
        _read_until(child, b"Something slow")
        child.send_signal(number)
        began = time.monotonic()
        _, err = child.communicate(timeout=DEADLINE)
        seconds = time.monotonic() - began
        assert child.returncode == code
        assert err.startswith(b"stopping ... (Ctrl-C again to stop now)\n")
        assert b"error[OMK-U-130]: stopped on request" in err
        assert b"try: run the same command again to go on" in err
        assert b"Traceback" not in err
        if seconds <= 5:
            break
    assert seconds <= 5


def test_a_second_signal_ends_it_and_its_children(environ) -> None:
    child = _start(environ, "child")
    _read_until(child, b"A child")
    pid = Path(environ["FAKE_PID"])
    _wait_for(pid.exists)
    grandchild = int(pid.read_text())
    child.send_signal(signal.SIGINT)
    _read_until(child, b"stopping")
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=DEADLINE)
    assert child.returncode == 130
    assert err.count(b"error[") == 1
    _wait_for(lambda: not Path(f"/proc/{grandchild}").exists())  # whoever inherits it reaps it


def _twice(number: int, send):
    """Return what sends a signal as a user does who does not want to wait."""

    def stop(child: subprocess.Popen[bytes], terminal: int) -> None:
        send(child.pid, number)
        _drain(terminal, b"stopping")
        send(child.pid, number)

    return stop


@pytest.mark.parametrize(
    "stop",
    [
        *(_twice(n, os.kill) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)),
        *(_twice(n, os.killpg) for n in (signal.SIGINT, signal.SIGHUP)),
        lambda _child, terminal: os.write(terminal, b"\x03"),
        lambda child, _terminal: os.killpg(child.pid, signal.SIGKILL),
        lambda _child, _terminal: None,
    ],
    ids=["INT", "TERM", "HUP", "group-INT", "group-HUP", "typed", "group-KILL", "closed"],
)
def test_what_was_detached_outlives_every_end_of_the_command(environ, stop) -> None:
    """Nodes and forwarders stay, however the command ends: signals, or its terminal closed.

    What works beside it does not stay.
    """
    ours, theirs = pty.openpty()
    argv = ["setsid", "--ctty", sys.executable, str(FAKE), "up", "--progress", "plain"]
    child = subprocess.Popen(
        argv, env=environ | {"FAKE_UP": "detached"}, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    pids = Path(environ["FAKE_PID"])
    try:
        _drain(ours, b"Two children")
        companion, detached = map(int, pids.read_text().split())
        stop(child, ours)
    finally:
        os.close(ours)
    try:
        child.wait(DEADLINE)
        _wait_for(lambda: not Path(f"/proc/{companion}").exists())
        assert Path(f"/proc/{detached}").exists()
    finally:
        os.kill(detached, signal.SIGKILL)


def test_what_does_not_listen_is_ended_after_a_while(environ) -> None:
    child = _start(environ, "deaf", "--progress", "json")
    _read_until(child, b"Something deaf")
    child.send_signal(signal.SIGTERM)
    _, err = child.communicate(timeout=DEADLINE)
    assert child.returncode == 143
    last = err.splitlines()[-1]
    assert b'"type": "error"' in last
    assert b"OMK-U-130" in last


def test_a_question_ends_at_once(environ) -> None:
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, str(FAKE), "down", "dev"], env=environ,
        stdin=theirs, stderr=theirs, stdout=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    _drain(ours, b"Type its name to go on: ")
    child.send_signal(signal.SIGINT)
    talk = _drain(ours)
    assert child.wait(DEADLINE) == 130
    assert b"Traceback" not in talk


def test_ignored_signals_stay_ignored(environ) -> None:
    script = f'trap "" HUP; exec "{sys.executable}" "{FAKE}" up'
    child = subprocess.Popen(
        ["bash", "-c", script], env=environ | {"FAKE_UP": "hang"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    _read_until(child, b"Something slow")
    child.send_signal(signal.SIGHUP)
    child.send_signal(signal.SIGTERM)
    child.communicate(timeout=DEADLINE)
    assert child.returncode == 143


def _wait_for(probe) -> None:
    end = time.monotonic() + DEADLINE
    while not probe():
        assert time.monotonic() < end
        select.select([], [], [], 0.02)


def test_the_last_live_frame_is_removed_when_stopped(environ) -> None:
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, str(FAKE), "up"], env=environ | {"FAKE_UP": "hang", "NO_COLOR": "1"},
        stdin=theirs, stderr=theirs, stdout=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    _drain(ours, b"Something slow")
    child.send_signal(signal.SIGINT)
    talk = _drain(ours)
    assert child.wait(DEADLINE) == 130
    assert talk.count(b"\x1b[?25h") == 1, "the cursor is back"
    assert b"error[OMK-U-130]" in talk
