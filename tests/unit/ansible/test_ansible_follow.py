"""Progress, log and findings from recorded events."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from ohmykube.ansible.follow import Follower
from ohmykube.errors import LockedError
from ohmykube.progress import WAITING, Event, Message, NodeProgress, Status

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Recorded = Callable[[str], list[dict[str, Any]]]


class Recorder:
    """A reporter that keeps what it gets."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        self.events.append(event)


def _follow(
    raw: list[dict[str, Any]],
    log: Path,
    *,
    verbosity: int = 0,
    secrets: tuple[str, ...] = (),
) -> tuple[Follower, Recorder]:
    reporter = Recorder()
    with Follower(log, reporter, verbosity=verbosity, secrets=secrets) as follower:
        for event in raw:
            assert follower.put(event) is False
    return follower, reporter


def test_failures_are_those_that_ended_a_node(recorded: Recorded, tmp_path: Path) -> None:
    follower, _ = _follow(recorded("mixed"), tmp_path / "log")
    assert [(f.host, f.task, f.unreachable) for f in follower.failures] == [
        ("node-c", "Change something", True),
        ("node-b", "Fail at last", False),
    ]
    assert follower.tasks_run == 11
    assert follower.stats is not None
    assert follower.stats["node-a"].failed == 0


def test_without_recap_what_failed_last_counts(recorded: Recorded, tmp_path: Path) -> None:
    follower, _ = _follow(recorded("mixed")[:-1], tmp_path / "log")
    assert follower.stats is None
    assert {f.host: f.task for f in follower.failures} == {
        "node-a": "Fails first",
        "node-b": "Fail at last",
        "node-c": "Change something",
    }


def test_progress_shows_what_each_node_does(recorded: Recorded, tmp_path: Path) -> None:
    _, reporter = _follow(recorded("role_verbose"), tmp_path / "log")
    assert all(isinstance(event, NodeProgress) for event in reporter.events)
    assert NodeProgress(node="node-a", activity="demo | Install it") in reporter.events
    failed = NodeProgress(
        node="node-b",
        activity="demo | Wait for it",
        status=Status.FAILED,
        detail="it does not answer",
    )
    assert failed in reporter.events
    assert reporter.events[-1] == NodeProgress(
        node="node-a", activity="configured", status=Status.CHANGED
    )


@pytest.mark.parametrize(
    ("recording", "host"),
    [("mixed", "node-a"), ("mixed", "node-b"), ("mixed", "node-c"), ("role_verbose", "node-a")],
)
def test_a_task_on_this_host_is_the_work_of_no_node(
    recorded: Recorded, tmp_path: Path, recording: str, host: str
) -> None:
    raw = recorded(recording)
    here = json.loads(json.dumps(raw).replace(host, "localhost"))
    _, all_shown = _follow(raw, tmp_path / "log")
    _, shown = _follow(here, tmp_path / "here")
    assert shown.events == [event for event in all_shown.events if event.node != host]
    assert any("localhost  " in line for line in (tmp_path / "here").read_text().splitlines())


@pytest.mark.parametrize("done", ["configured", "reset", "taken out of the cluster"])
def test_what_has_become_of_a_node_is_told_in_the_end(
    recorded: Recorded, tmp_path: Path, done: str
) -> None:
    reporter = Recorder()
    with Follower(tmp_path / "log", reporter, done=done) as follower:
        for event in recorded("role_verbose"):
            follower.put(event)
    assert reporter.events[-1] == NodeProgress(node="node-a", activity=done, status=Status.CHANGED)


def test_a_retry_is_shown(recorded: Recorded, tmp_path: Path) -> None:
    _, reporter = _follow(recorded("mixed"), tmp_path / "log")
    shown = NodeProgress(node="node-a", activity="Retry", detail="tried again, 1 left")
    assert shown in reporter.events


def test_an_ignored_failure_does_not_look_like_one(recorded: Recorded, tmp_path: Path) -> None:
    _, reporter = _follow(recorded("mixed"), tmp_path / "log")
    bad = {e.activity for e in reporter.events if isinstance(e, NodeProgress) and e.status}
    assert "Ignored failure" not in bad


def test_the_log_has_a_line_for_each_result(recorded: Recorded, tmp_path: Path) -> None:
    log = tmp_path / "log"
    _follow(recorded("mixed"), log)
    lines = log.read_text().splitlines()
    assert log.stat().st_mode & 0o777 == 0o600
    assert sum("node-a  Change something  changed" in line for line in lines) == 1
    assert sum("node-b  Ignored failure  failed (ignored)" in line for line in lines) == 1
    assert any("node-b  Fail at last  failed" in line for line in lines)
    assert "        stderr: to-err" in lines
    assert not any("stdout: out" in line for line in lines)
    assert any("node-c  recap  ok=1 changed=0 failed=0 unreachable=1" in line for line in lines)


def test_the_log_tells_of_the_item_that_failed(recorded: Recorded, tmp_path: Path) -> None:
    _follow(recorded("mixed"), tmp_path / "log")
    log = tmp_path / "log"
    assert "echo 3 >&2; exit 3" in log.read_text()
    assert "echo 0 >&2; exit 0" not in log.read_text()


def test_the_log_is_continued(recorded: Recorded, tmp_path: Path) -> None:
    log = tmp_path / "log"
    _follow(recorded("no_hosts"), log)
    once = len(log.read_text())
    _follow(recorded("no_hosts"), log)
    assert len(log.read_text()) == 2 * once


def test_verbose_shows_and_logs_all_output(recorded: Recorded, tmp_path: Path) -> None:
    _, reporter = _follow(recorded("role_verbose"), tmp_path / "log", verbosity=1)
    said = [e for e in reporter.events if isinstance(e, Message)]
    assert all(e.level == "debug" for e in said)
    assert any("node-a  demo | Install it  changed" in e.text for e in said)
    assert "stdout: installed" in (tmp_path / "log").read_text()


def test_errors_outside_of_tasks_are_kept(recorded: Recorded, tmp_path: Path) -> None:
    follower, _ = _follow(recorded("syntax_error"), tmp_path / "log", verbosity=1)
    assert follower.stats is None
    assert "YAML parsing failed" in follower.errors[0]
    assert "Origin: /playbooks/syntax.yml:4:4" in follower.errors


def test_a_secret_is_neither_shown_nor_logged(recorded: Recorded, tmp_path: Path) -> None:
    log = tmp_path / "log"
    follower, reporter = _follow(recorded("mixed"), log, verbosity=1, secrets=("to-err", "hello"))
    seen = log.read_text() + repr(reporter.events) + repr(follower.failures)
    assert "to-err" not in seen
    assert "***" in log.read_text()
    assert "node-a  Say ***  ok" in log.read_text()


def test_trouble_with_the_reporter_is_raised_where_it_can_be_seen(
    recorded: Recorded, tmp_path: Path
) -> None:
    class Broken:
        def emit(self, event: Event) -> None:
            raise RuntimeError("no terminal")

    def follow() -> None:
        with Follower(tmp_path / "log", Broken()) as follower:
            for event in recorded("mixed"):
                follower.put(event)

    with pytest.raises(RuntimeError, match="no terminal"):
        follow()


def test_an_error_inside_is_not_replaced(recorded: Recorded, tmp_path: Path) -> None:
    def follow() -> None:
        with Follower(tmp_path / "log", Recorder()):
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        follow()


def test_a_log_that_cannot_be_opened_is_explained(tmp_path: Path) -> None:
    follower = Follower(tmp_path, Recorder())
    with pytest.raises(LockedError, match="is in the way"):
        follower.__enter__()


@pytest.mark.parametrize("result", ["runner_on_ok", "runner_on_skipped"])
def test_a_node_that_has_done_its_part_is_not_shown_at_it(tmp_path: Path, result: str) -> None:
    def event(kind: str, host: str) -> dict[str, Any]:
        return {"event": kind, "event_data": {"host": host, "task": "Join", "res": {}}}

    raw = [event("runner_on_start", host) for host in ("cp1", "w1", "w2")]
    raw += [event(result, host) for host in ("w1", "cp1", "w2")]
    _, reporter = _follow(raw, tmp_path / "log")
    shown = [(e.node, e.activity) for e in reporter.events if isinstance(e, NodeProgress)]
    assert shown[3:] == [("w1", WAITING), ("cp1", WAITING)], "the last one waits for nobody"
