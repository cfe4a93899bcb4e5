"""Plain progress lines."""

from __future__ import annotations

import io

import pytest

from ohmykube.progress import ItemProgress, Message, NodeProgress, Status, StepEnded, StepStarted
from ohmykube.ui.console import ErrorStream
from ohmykube.ui.plain import PlainReporter
from tests.data.cli.fake_cli import script


class Scene:
    """A reporter, its output and a clock in our hands."""

    def __init__(self, verbosity: int = 0) -> None:
        self.time = 100.0
        self.stream = io.StringIO()
        self.reporter = PlainReporter(
            ErrorStream(self.stream), verbosity=verbosity, now=lambda: self.time
        )

    def lines(self) -> list[str]:
        return self.stream.getvalue().splitlines()


@pytest.fixture
def scene():
    made = Scene()
    yield made
    made.reporter.close()


def test_a_whole_run(scene) -> None:
    def beat(count: int) -> None:
        scene.time += count

    script(scene.reporter.emit, beat)
    text = scene.stream.getvalue()
    assert "\x1b" not in text
    assert "\r" not in text
    lines = scene.lines()
    assert lines[0] == "[00:00] Check this host ..."
    assert "[00:01] Check this host: ok after 0.4s" in lines
    assert "[00:01] Find artifacts ... (about 1m00s)" in lines
    assert "[00:10]   dev-worker-2: started: ok" in lines
    assert "[00:13] Serve: skipped: not needed" in lines
    assert "[00:08] warning: registry.k8s.io cannot be reached; building instead" in lines
    assert lines[-1] == "[00:19] Configure the nodes: ok after 25s"


def test_the_same_news_is_told_once(scene) -> None:
    scene.reporter.emit(StepStarted(step="s", title="S"))
    for _ in range(3):
        scene.reporter.emit(NodeProgress(node="n", activity="started", status=Status.CHANGED))
    scene.reporter.emit(NodeProgress(node="n", activity="join", status=Status.FAILED, detail="no"))
    assert scene.lines()[1:] == ["[00:00]   n: started: changed", "[00:00]   n: join: FAILED (no)"]


def test_heartbeat_after_silence_only(scene) -> None:
    scene.reporter.emit(StepStarted(step="s", title="Slow"))
    scene.reporter.emit(NodeProgress(node="n1", activity="waiting for ssh"))
    scene.time += 29.9
    scene.reporter.tick()
    assert len(scene.lines()) == 1
    scene.time += 0.2
    scene.reporter.tick()
    scene.reporter.tick()
    assert scene.lines()[1:] == ["[00:30] Slow: still running, 30s: n1 waiting for ssh"]
    scene.reporter.emit(StepEnded(step="s", title="Slow", status=Status.OK, seconds=30))
    scene.time += 100
    scene.reporter.tick()
    assert len(scene.lines()) == 3


@pytest.mark.parametrize(
    ("seconds", "shown"), [(59.9, "00:59"), (60, "01:00"), (754, "12:34"), (6000, "100:00")]
)
def test_the_time_of_a_line_is_in_minutes_and_seconds(scene, seconds, shown) -> None:
    scene.time += seconds
    scene.reporter.emit(Message(text="hello"))
    assert scene.lines() == [f"[{shown}] hello"]


def test_verbose_shows_activities_and_debug(scene) -> None:
    verbose = Scene(verbosity=1)
    for one in (scene, verbose):
        one.reporter.emit(ItemProgress(item="etcd", activity="building"))
        one.reporter.emit(ItemProgress(item="etcd", activity="building"))
        one.reporter.emit(Message(text="TASK [x]", level="debug"))
        one.reporter.emit(Message(text="hello\n\x1b[31mworld"))
    assert scene.lines() == ["[00:00] hello world"]
    assert verbose.lines() == [
        "[00:00]   etcd: building ...",
        "[00:00] TASK [x]",
        "[00:00] hello world",
    ]


def test_a_stopped_step_did_not_fail(scene) -> None:
    scene.reporter.emit(StepStarted(step="s", title="S"))
    scene.reporter.stopping()
    scene.reporter.emit(StepEnded(step="s", title="S", status=Status.FAILED, seconds=1))
    assert scene.lines()[1:] == [
        "stopping ... (Ctrl-C again to stop now)",
        "[00:00] S: stopped after 1.0s",
    ]


def test_a_failed_step_says_so(scene) -> None:
    scene.reporter.emit(StepEnded(step="s", title="S", status=Status.FAILED, seconds=1))
    assert scene.lines() == ["[00:00] S: FAILED after 1.0s"]
