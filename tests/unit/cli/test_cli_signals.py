"""Signal handlers, with a leave that does not leave."""

from __future__ import annotations

import io
import os
import signal
import threading

import pytest

from ohmykube.cli import _signals
from ohmykube.cli._signals import Signals
from ohmykube.errors import ExitCode, NodeError
from ohmykube.kit import interrupt


class Voice:
    """Notes what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def stopping(self) -> None:
        self.said.append("stopping")

    def ended(self, code: ExitCode) -> None:
        self.said.append(f"ended {code.value}")


@pytest.fixture
def gone() -> threading.Event:
    """Set when the process would be ended."""
    return threading.Event()


@pytest.fixture
def stage(gone):
    voice, left = Voice(), []
    return voice, left, Signals(voice, lambda code: (left.append(code), gone.set()))


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)]
)
def test_first_asks_second_ends(stage, gone, number, code) -> None:
    voice, left, signals = stage
    with signals:
        signal.raise_signal(number)
        assert interrupt.requested.wait(10)
        assert signals.code == code
        assert left == []
        signal.raise_signal(signal.SIGINT)
        assert gone.wait(10)
    assert left == [code]
    assert voice.said == ["stopping", f"ended {code}"]
    assert not interrupt.requested.is_set()


def test_handlers_are_given_back(stage) -> None:
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with stage[2]:
        assert signal.getsignal(signal.SIGTERM) != before[1]
    after = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    assert after == before


def test_patience_ends(stage, gone, monkeypatch) -> None:
    voice, left, signals = stage
    monkeypatch.setattr(_signals, "PATIENCE_SECONDS", 0.01)
    with signals:
        signal.raise_signal(signal.SIGTERM)
        assert gone.wait(10)
    assert left == [143]
    assert voice.said == ["stopping", "ended 143"]


class Held(io.RawIOBase):
    """Lets nobody read until it is released; who waits for its buffer's lock sees no signal."""

    def __init__(self) -> None:
        self.taken, self.released = threading.Event(), threading.Event()

    def readable(self) -> bool:
        return True

    def readinto(self, _buffer: object) -> int:
        self.taken.set()
        self.released.wait(60)
        return 0


def test_a_signal_does_not_wait_for_the_main_thread(stage, gone, monkeypatch) -> None:
    """Handlers run in the main thread, which may sit in a call that no signal ends."""
    voice, left, signals = stage
    monkeypatch.setattr(_signals, "PATIENCE_SECONDS", 60)
    held = Held()
    stream = io.BufferedReader(held)

    def send() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        if interrupt.requested.wait(20):
            os.kill(os.getpid(), signal.SIGTERM)
            gone.wait(20)
        held.released.set()

    with signals:
        threading.Thread(target=stream.read).start()
        held.taken.wait(20)
        threading.Thread(target=send).start()
        stream.read()
        assert (voice.said, left) == (["stopping", "ended 143"], [143])


def test_a_question_is_left_at_once(stage) -> None:
    voice, _, signals = stage
    with signals, pytest.raises(KeyboardInterrupt), signals.asking():
        signal.raise_signal(signal.SIGINT)
    assert voice.said == []


def test_ctrl_c_belongs_to_the_program_in_front(stage) -> None:
    voice, left, signals = stage
    with signals:
        with signals.elsewhere():
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            assert not interrupt.requested.is_set()
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGTERM)
        assert signals.code == 143
    assert (voice.said, left) == ([], [])


def test_other_threads_leave_signals_alone(stage) -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen: list[object] = []

    def use() -> None:
        with stage[2]:
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=use)
    thread.start()
    thread.join(10)
    assert seen == [before]


def test_an_interrupted_command_says_so(cli, fakes) -> None:
    def up(services, cluster, options):
        signal.raise_signal(signal.SIGTERM)
        raise NodeError("ssh ended early")

    fakes.up = up
    outcome = cli("up")
    assert outcome.code == 143
    assert outcome.err.splitlines()[:3] == [
        "stopping ... (Ctrl-C again to stop now)",
        "error[OMK-U-130]: stopped on request",
        "  at that moment: ssh ended early",
    ]


def test_work_that_ended_in_spite_of_a_signal_is_a_result(cli, fakes) -> None:
    def list_clusters(_services):
        signal.raise_signal(signal.SIGINT)
        return ()

    fakes.list_clusters = list_clusters
    assert cli("list").code == 0
