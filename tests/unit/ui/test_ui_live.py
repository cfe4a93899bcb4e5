"""The live display, drawn into memory."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from ohmykube.progress import ItemProgress, Message, NodeProgress, Status, StepEnded, StepStarted
from ohmykube.ui.console import ASCII, UNICODE, ErrorStream, Terminal
from ohmykube.ui.live import LiveReporter
from tests.data.cli.fake_cli import script


class Scene:
    """A reporter on a recorded terminal with a clock in our hands."""

    def __init__(self, width: int = 80, height: int = 24, *, symbols=UNICODE, verbosity=0) -> None:
        self.time = 100.0
        self.stream = io.StringIO()
        self.console = Console(
            file=self.stream, width=width, height=height, force_terminal=True, color_system=None,
            highlight=False, markup=False, emoji=False, legacy_windows=False,
        )  # fmt: skip
        terminal = Terminal(tty=True, colour=False, animate=True, symbols=symbols, width=width)
        self.reporter = LiveReporter(
            ErrorStream(self.stream), terminal, verbosity=verbosity, now=lambda: self.time,
            console=self.console,
        )  # fmt: skip

    def frame(self) -> list[str]:
        """What the moving part shows now."""
        sheet = Console(file=io.StringIO(), width=self.console.width, record=True)
        sheet.print(self.reporter.frame())
        spinner = re.compile(f"^[{UNICODE.spinner}]")
        return [spinner.sub("*", line.rstrip()) for line in sheet.export_text().splitlines()]


@pytest.fixture
def stage():
    made: list[Scene] = []

    def make(*args, **kwargs) -> Scene:
        made.append(Scene(*args, **kwargs))
        return made[-1]

    yield make
    for scene in made:
        scene.reporter.close()


def test_frames_of_a_whole_run(stage) -> None:
    scene = stage()
    frames: list[list[str]] = []

    def beat(count: int) -> None:
        scene.time += count
        frames.append(scene.frame())

    script(scene.reporter.emit, beat)
    scene.reporter.close()
    assert frames[0] == ["* Check this host  1.0s"]
    assert frames[3] == [
        "* Find artifacts  3.0s of about 1m00s",
        "* Create nodes  3.0s of about 10s",
        "    dev-control-plane-1  starting  3.0s",
        "    dev-worker-1         starting  2.0s",
        "    dev-worker-2         starting  1.0s",
        "    etcd     building  3.0s",
        "    kubelet  building  2.0s",
        "    kubeadm  building  1.0s",
    ]
    packing = next(f for f in frames if any("packing" in row for row in f))
    assert "    etcd     packing 19.1 of 28.6 MiB  1.0s" in packing
    assert not any("dev-" in row for row in packing), "nodes of an ended step are gone"
    assert frames[-1] == [
        "* Configure the nodes  6.0s of about 25s",
        "    dev-control-plane-1  flannel: apply  2.0s",
        "    dev-worker-1         flannel: apply  2.0s",
        "    dev-worker-2         flannel: apply  2.0s",
    ]
    assert all(len(row) < 80 for frame in frames for row in frame)
    assert scene.frame() == []


def test_what_stays_on_the_screen(stage) -> None:
    scene = stage()
    script(scene.reporter.emit, lambda _beats: None)
    scene.reporter.close()
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", scene.stream.getvalue()).replace("\r", "\n")
    stays = [line for line in text.splitlines() if line[:1] in ("✓", "-", "w")]
    assert stays == [
        "✓ Check this host  0.4s",
        "✓ Compare with what is there  0.1s  3 nodes to create",
        "warning: registry.k8s.io cannot be reached; building instead",
        "✓ Create nodes  3.2s  3 created",
        "✓ Find artifacts  1m12s  14 from cache, 7 built",
        "- Serve  skipped  not needed",
        "✓ Configure the nodes  25s",
    ]


def test_many_items_are_folded(stage) -> None:
    scene = stage()
    scene.reporter.emit(StepStarted(step="s", title="Pull"))
    for number in range(30):
        scene.reporter.emit(ItemProgress(item=f"image-{number}", activity="pull"))
    assert len(scene.frame()) == 12
    assert scene.frame()[-1] == "    … 20 more"
    for number in range(28):
        scene.reporter.emit(ItemProgress(item=f"image-{number}", activity="pull", status=Status.OK))
    assert scene.frame()[1:] == [
        "    image-28  pull  0.0s",
        "    image-29  pull  0.0s",
        "    28 of 30 done",
    ]


@pytest.mark.parametrize(("width", "height"), [(20, 24), (80, 4), (20, 3), (200, 60)])
def test_it_never_grows_beyond_the_terminal(stage, width, height) -> None:
    scene = stage(width, height)
    sizes = []

    def beat(count: int) -> None:
        scene.time += count
        rows = scene.frame()
        sizes.append((len(rows), max(map(len, rows), default=0)))

    script(scene.reporter.emit, beat)
    assert max(rows for rows, _ in sizes) <= min(12, max(height - 2, 2))
    assert max(columns for _, columns in sizes) < width


def test_ended_and_failed_parts(stage) -> None:
    scene = stage(symbols=ASCII)
    scene.reporter.emit(StepStarted(step="s", title="Join"))
    scene.reporter.emit(NodeProgress(node="w1", activity="join"))
    scene.time += 5
    scene.reporter.emit(NodeProgress(node="w1", activity="joined", status=Status.OK))
    scene.reporter.emit(
        NodeProgress(node="w2", activity="join", status=Status.FAILED, detail="no\nroute")
    )
    scene.time += 60
    assert scene.frame() == [
        "| Join  1m05s",
        "    w1  + joined  5.0s",
        "    w2  x FAILED join  0.0s  no route",
    ]
    scene.reporter.emit(StepEnded(step="s", title="Join", status=Status.FAILED, seconds=65))
    assert "x Join  FAILED on w2  1m05s" in scene.stream.getvalue()


def test_stopping_is_shown_and_is_no_failure(stage) -> None:
    scene = stage()
    scene.reporter.emit(StepStarted(step="s", title="S"))
    scene.reporter.stopping()
    assert scene.frame()[-1] == "stopping (Ctrl-C again to stop now)"
    scene.reporter.emit(StepEnded(step="s", title="S", status=Status.FAILED, seconds=1))
    assert "✗ S  stopped  1.0s" in scene.stream.getvalue()


def test_debug_only_when_verbose(stage) -> None:
    quiet, verbose = stage(), stage(verbosity=1)
    for scene in (quiet, verbose):
        scene.reporter.emit(Message(text="TASK [x]", level="debug"))
    assert quiet.stream.getvalue() == ""
    assert "TASK [x]" in verbose.stream.getvalue()


def test_amounts(stage) -> None:
    scene = stage()
    scene.reporter.emit(StepStarted(step="s", title="S"))
    scene.reporter.emit(ItemProgress(item="a", activity="x", done=2, total=5))
    scene.reporter.emit(ItemProgress(item="b", activity="x", done=2_000_000, unit="bytes"))
    scene.reporter.emit(ItemProgress(item="c", activity="x", done=7))
    assert [row.split()[2] for row in scene.frame()[1:]] == ["2/5", "1.9", "7"]


def test_nothing_is_drawn_after_the_end(stage) -> None:
    scene = stage()
    scene.reporter.close()
    scene.reporter.emit(StepStarted(step="s", title="S"))
    assert scene.stream.getvalue() == ""


def test_it_makes_its_own_console() -> None:
    stream = io.StringIO()
    terminal = Terminal(tty=True, colour=False, animate=True, symbols=ASCII, width=80)
    reporter = LiveReporter(ErrorStream(stream), terminal)
    reporter.emit(StepStarted(step="s", title="Own"))
    reporter.emit(StepEnded(step="s", title="Own", status=Status.OK, seconds=1))
    reporter.close()
    text = stream.getvalue()
    assert "+ Own" in text
    assert "\x1b[?25h" in text, "the cursor is shown again"
    assert not re.search(r"\x1b\[[0-9;]*m", text), "no colour was asked for"


EVENTS = st.tuples(st.sampled_from("sni"), st.integers(0, 3), st.sampled_from([None, *Status]))


@given(st.lists(EVENTS, max_size=30))
def test_what_is_under_way_is_on_the_screen(told: list[tuple[str, int, Status | None]]) -> None:
    """Whatever the order of events, and whether or not a step is told around them."""
    scene = Scene(height=60)
    busy: dict[str, None] = {}
    steps: set[str] = set()
    for kind, number, status in told:
        name = f"{kind}{number}"
        if kind == "s" and name not in steps:
            scene.reporter.emit(StepStarted(step=name, title=name))
            steps.add(name)
        elif kind == "s":
            scene.reporter.emit(StepEnded(step=name, title=name, status=Status.OK, seconds=1))
            steps.discard(name)
            if not steps:
                busy.clear()
        else:
            made = (
                NodeProgress(node=name, activity="x", status=status)
                if kind == "n"
                else (ItemProgress(item=name, activity="x", status=status))
            )
            scene.reporter.emit(made)
            busy.pop(name, None)
            if status is None:
                busy[name] = None
        shown = " ".join(scene.frame()).split()
        assert {*steps, *busy} <= set(shown)
    scene.reporter.close()


@pytest.mark.parametrize("status", list(Status))
def test_no_ended_part_looks_as_if_it_worked(stage, status) -> None:
    scene = stage()
    scene.reporter.emit(NodeProgress(node="w1", activity="join"))
    scene.time += 5
    (working,) = scene.frame()
    scene.reporter.emit(NodeProgress(node="w1", activity="join", status=status))
    (ended,) = scene.frame()
    assert ended != working
    scene.time += 60
    assert scene.frame() == [ended], "its clock has stopped"
    assert {Status.SKIPPED: "skipped", Status.FAILED: "FAILED"}.get(status, UNICODE.ok) in ended


def test_the_end_of_what_no_step_was_told_of_goes_with_the_next_step(stage) -> None:
    scene = stage()
    scene.reporter.emit(NodeProgress(node="w1", activity="removed", status=Status.OK))
    assert len(scene.frame()) == 1
    scene.reporter.emit(StepStarted(step="s", title="Wait"))
    assert scene.frame() == ["* Wait  0.0s"]
