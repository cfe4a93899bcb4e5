"""The verdict and the error that it becomes."""

from __future__ import annotations

from pathlib import Path

import pytest

from ohmykube.ansible.events import HostStats
from ohmykube.ansible.outcome import (
    Outcome,
    PlaybookStatus,
    TaskFailure,
    judge,
    raise_for_failure,
)
from ohmykube.errors import NodeError, UnreachableError

FAILED = TaskFailure(host="dev-w-1", role="kubeadm", task="Join the cluster", message="no\nlast")
SILENT = TaskFailure(host="dev-w-2", task="Gather", message="ssh: refused", unreachable=True)


@pytest.mark.parametrize(
    ("stats", "failures", "code", "expected"),
    [
        ({"a": HostStats(ok=1)}, (), 0, PlaybookStatus.OK),
        ({}, (), 0, PlaybookStatus.NO_HOSTS),
        (None, (), 0, PlaybookStatus.BROKEN),
        (None, (), 4, PlaybookStatus.BROKEN),
        ({"a": HostStats(ok=1)}, (), 1, PlaybookStatus.BROKEN),
        ({"a": HostStats(failed=1)}, (), 0, PlaybookStatus.FAILED),
        ({"a": HostStats(unreachable=1)}, (), 0, PlaybookStatus.UNREACHABLE),
        ({"a": HostStats(failed=1)}, (FAILED, SILENT), 4, PlaybookStatus.FAILED),
        ({"a": HostStats(failed=1)}, (SILENT, FAILED), 2, PlaybookStatus.UNREACHABLE),
        (None, (FAILED,), 0, PlaybookStatus.FAILED),
    ],
)
def test_verdict(
    stats: dict[str, HostStats] | None,
    failures: tuple[TaskFailure, ...],
    code: int,
    expected: PlaybookStatus,
) -> None:
    assert judge(stats, failures, code) is expected


def test_a_good_outcome_raises_nothing() -> None:
    raise_for_failure(Outcome(status=PlaybookStatus.OK))


def test_a_failed_task_names_node_task_reason_and_next_command() -> None:
    outcome = Outcome(
        status=PlaybookStatus.FAILED, failures=(FAILED, SILENT), log_file=Path("/state/run.log")
    )
    with pytest.raises(NodeError) as caught:
        raise_for_failure(outcome)
    assert caught.value.message == '"kubeadm | Join the cluster" failed on node "dev-w-1"'
    assert caught.value.why == "no\nlast\nalso failed: dev-w-2"
    assert caught.value.hint is not None
    assert "`ohmykube up` again" in caught.value.hint
    assert "/state/run.log" in caught.value.hint
    assert caught.value.id == "OMK-N-101"


def test_a_silent_node_is_an_error_of_its_own_class() -> None:
    outcome = Outcome(status=PlaybookStatus.UNREACHABLE, failures=(SILENT,))
    with pytest.raises(UnreachableError, match='node "dev-w-2" cannot be reached by ssh') as caught:
        raise_for_failure(outcome)
    assert caught.value.why == "ssh: refused"


def test_a_long_reason_keeps_the_message_and_the_end() -> None:
    lines = "\n".join(["message", *map(str, range(20))])
    failure = TaskFailure(host="a", task="t", message=lines)
    with pytest.raises(NodeError) as caught:
        raise_for_failure(Outcome(status=PlaybookStatus.FAILED, failures=(failure,)))
    assert caught.value.why == "message\n15\n16\n17\n18\n19"


def test_a_playbook_that_touched_nothing_is_a_failure() -> None:
    with pytest.raises(NodeError, match="touched no node"):
        raise_for_failure(Outcome(status=PlaybookStatus.NO_HOSTS))


def test_a_broken_playbook_tells_what_ansible_said() -> None:
    outcome = Outcome(status=PlaybookStatus.BROKEN, errors=("[ERROR]: bad\n", "line 4"))
    with pytest.raises(NodeError) as caught:
        raise_for_failure(outcome)
    assert caught.value.why == "[ERROR]: bad\nline 4"
    with pytest.raises(NodeError, match="could not be run to its end") as caught:
        raise_for_failure(Outcome(status=PlaybookStatus.BROKEN))
    assert caught.value.why == "Ansible ended without a recap"


def test_an_outcome_knows_whether_anything_changed() -> None:
    stats = {"a": HostStats(ok=3), "b": HostStats(ok=2, changed=1)}
    assert Outcome(status=PlaybookStatus.OK, stats=stats).changed
    assert not Outcome(status=PlaybookStatus.OK, stats={"a": HostStats(ok=3)}).changed
