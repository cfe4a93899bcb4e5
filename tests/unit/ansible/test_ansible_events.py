"""Raw events of real runs, turned into typed ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ohmykube.ansible import events
from ohmykube.ansible.events import HostStats, Result, TaskEnded, TaskRetried, TaskStarted

if TYPE_CHECKING:
    from collections.abc import Callable

    Recorded = Callable[[str], list[dict[str, Any]]]


def _ended(raw: list[dict[str, Any]], host: str) -> dict[str, TaskEnded]:
    parsed = [events.parse(event) for event in raw]
    return {e.task: e for e in parsed if isinstance(e, TaskEnded) and e.host == host}


def test_each_result_of_a_task_is_told_apart(recorded: Recorded) -> None:
    a = _ended(recorded("mixed"), "node-a")
    assert a["Say hello"].result is Result.OK
    assert a["Say hello"].message == "hello"
    assert a["Change something"].result is Result.CHANGED
    assert a["Change something"].message == ""
    assert a["Change something"].seconds > 0
    assert a["Skip it"].result is Result.SKIPPED
    assert a["Ignored failure"].result is Result.FAILED
    assert a["Ignored failure"].ignored


def test_a_failure_tells_message_and_last_output(recorded: Recorded) -> None:
    failed = _ended(recorded("mixed"), "node-b")["Fail at last"]
    assert failed.result is Result.FAILED
    assert not failed.ignored
    assert failed.message == "non-zero return code\nto-err"


def test_a_failed_loop_tells_of_the_item_that_failed(recorded: Recorded) -> None:
    assert _ended(recorded("mixed"), "node-a")["Loop"].message == "non-zero return code\n3"


def test_each_turn_of_a_loop_is_seen(recorded: Recorded) -> None:
    parsed = [events.parse(event) for event in recorded("mixed")]
    items = [e for e in parsed if isinstance(e, events.ItemEnded) and e.host == "node-a"]
    assert [(e.task, e.failed) for e in items] == [("Loop", False), ("Loop", True)]


def test_a_secret_task_tells_nothing(recorded: Recorded) -> None:
    failed = _ended(recorded("mixed"), "node-a")["Secret fails"]
    assert failed.message == "the task handles secrets, so its output is hidden"


def test_an_unreachable_node_tells_what_ssh_said(recorded: Recorded) -> None:
    failed = _ended(recorded("mixed"), "node-c")["Change something"]
    assert failed.result is Result.UNREACHABLE
    assert "Connection refused" in failed.message


def test_a_retry_tells_how_often_it_will_be_tried(recorded: Recorded) -> None:
    retried = [e for e in map(events.parse, recorded("mixed")) if isinstance(e, TaskRetried)]
    assert {(e.host, e.task, e.left) for e in retried} == {
        ("node-a", "Retry", 1),
        ("node-b", "Retry", 1),
    }


def test_the_recap_has_counts_for_each_host(recorded: Recorded) -> None:
    last = events.parse(recorded("mixed")[-1])
    assert isinstance(last, events.PlaybookEnded)
    assert last.stats["node-b"] == HostStats(
        ok=8, changed=4, failed=1, unreachable=0, skipped=1, rescued=1, ignored=4
    )
    assert last.stats["node-c"].unreachable == 1


def test_roles_and_handlers_are_named(recorded: Recorded) -> None:
    started = {
        (e.role, e.task, e.host)
        for e in map(events.parse, recorded("role_verbose"))
        if isinstance(e, TaskStarted)
    }
    assert ("demo", "Install it", "") in started
    assert ("demo", "Restart it", "node-a") in started


def test_text_outside_of_tasks_has_a_level(recorded: Recorded) -> None:
    found = [e for e in map(events.parse, recorded("syntax_error")) if e is not None]
    assert isinstance(found[0], events.Output)
    assert found[0].level == "error"
    assert "YAML parsing failed" in found[0].text
    (missing,) = map(events.parse, recorded("no_playbook"))
    assert isinstance(missing, events.Output)
    assert missing.level == "error"
    warned = [e for e in map(events.parse, recorded("no_hosts")) if isinstance(e, events.Output)]
    assert [e.level for e in warned] == ["warning"]


def test_a_play_without_hosts_is_seen(recorded: Recorded) -> None:
    found = [events.parse(event) for event in recorded("no_hosts")]
    assert events.NoHosts() in found
    assert found[-1] == events.PlaybookEnded(stats={})


def test_names_of_collections_are_left_out() -> None:
    event = {"event": "runner_on_start", "event_data": {"role": "ohmykube.cluster.kubeadm"}}
    assert events.parse(event) == TaskStarted(task="", role="kubeadm")


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"event": "EOF"},
        {"event": "playbook_on_something_new", "event_data": {"a": 1}},
        {"event": "verbose", "stdout": "\r\n"},
    ],
)
def test_what_is_unknown_or_empty_is_ignored(raw: dict[str, object]) -> None:
    assert events.parse(raw) is None


@pytest.mark.parametrize("data", [None, [], "x", {"res": "x", "duration": "y", "host": None}])
def test_malformed_events_do_no_harm(data: object) -> None:
    parsed = events.parse({"event": "runner_on_failed", "event_data": data})
    assert parsed == TaskEnded(
        host="", task="", result=Result.FAILED, message="no reason was given"
    )


def test_a_warning_among_the_plain_text_is_a_warning() -> None:
    parsed = events.parse({"event": "verbose", "stdout": "\x1b[1;35m[WARNING]: odd\x1b[0m"})
    assert parsed == events.Output(text="[WARNING]: odd", level="warning")


def test_arguments_of_a_module_are_never_part_of_the_reason() -> None:
    res = {"msg": "no", "rc": 3, "invocation": {"module_args": {"t": "s3cret"}}, "cmd": "s3cret"}
    assert events.reason(res) == "no\nexit code 3"


def test_long_output_is_cut_to_its_end() -> None:
    res = {"msg": "no", "stdout": "\n".join(map(str, range(50))), "stderr": " \n"}
    assert events.reason(res) == "no\n45\n46\n47\n48\n49"
