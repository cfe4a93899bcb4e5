"""How a playbook ended, judged by what happened on the nodes, and the error that this becomes."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ohmykube.errors import NodeError, UnreachableError
from ohmykube.kit import excerpt

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ohmykube.ansible.events import HostStats

_WHY_LINES = 6


class PlaybookStatus(enum.StrEnum):
    """The verdict."""

    OK = "ok"
    FAILED = "failed"
    """A task failed on a node."""
    UNREACHABLE = "unreachable"
    """A node did not answer, and that came first."""
    NO_HOSTS = "no_hosts"
    """Nothing failed because no node was touched at all."""
    BROKEN = "broken"
    """It ended without a recap: a syntax error, an unreadable inventory, a crash."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFailure:
    """A task that ended the play for a node."""

    host: str
    task: str
    message: str
    """Why: the module's message and the last lines of what the program printed."""
    role: str = ""
    unreachable: bool = False

    @property
    def title(self) -> str:
        """Role and task as shown to the user."""
        return f"{self.role} | {self.task}" if self.role else self.task


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run of a playbook did."""

    status: PlaybookStatus
    stats: Mapping[str, HostStats] = field(default_factory=dict)
    """By host name."""
    failures: tuple[TaskFailure, ...] = ()
    """In the order in which they happened, one for each failed node."""
    tasks_run: int = 0
    """Tasks and handlers that were started, each counted once whatever the number of nodes."""
    seconds: float = 0.0
    errors: tuple[str, ...] = ()
    """Ansible's own error lines, outside of tasks."""
    log_file: Path | None = None

    @property
    def changed(self) -> bool:
        """Whether anything was changed on any node."""
        return any(stats.changed for stats in self.stats.values())


def judge(
    stats: Mapping[str, HostStats] | None, failures: tuple[TaskFailure, ...], code: int
) -> PlaybookStatus:
    """Return the verdict; ``stats`` is None when there was no recap, ``code`` the exit code.

    The exit code alone proves nothing: Ansible returns 0 when no host matched, and the same 4 for a
    syntax error and an unreachable host.
    """
    if failures:
        first = failures[0]
        return PlaybookStatus.UNREACHABLE if first.unreachable else PlaybookStatus.FAILED
    if stats is None:
        return PlaybookStatus.BROKEN
    if any(host.failed for host in stats.values()):
        return PlaybookStatus.FAILED
    if any(host.unreachable for host in stats.values()):
        return PlaybookStatus.UNREACHABLE
    if code != 0:
        return PlaybookStatus.BROKEN
    return PlaybookStatus.OK if stats else PlaybookStatus.NO_HOSTS


def raise_for_failure(outcome: Outcome) -> None:
    """Raise the error for an outcome that is not ``ok``; names node, task and reason.

    Raises:
        UnreachableError: a node did not answer.
        NodeError: a task failed, no node was touched, or the playbook itself is broken.
    """
    if outcome.status is PlaybookStatus.OK:
        return
    hint = "fix the cause, then `ohmykube up` again: it goes on from here"
    if outcome.log_file is not None:
        hint += f"; full log: {outcome.log_file}"
    if outcome.failures:
        raise _failed(outcome.failures, hint)
    if outcome.status is PlaybookStatus.NO_HOSTS:
        raise NodeError(
            "the playbook touched no node",
            why="no host of the inventory matched",
            hint=hint,
            id="OMK-N-102",
        )
    lines = [line for text in outcome.errors for line in text.splitlines() if line.strip()]
    raise NodeError(
        "the playbook could not be run to its end",
        why="\n".join(excerpt.first_and_last(lines, _WHY_LINES)) or "Ansible ended without a recap",
        hint=hint,
        id="OMK-N-103",
    )


def _failed(failures: tuple[TaskFailure, ...], hint: str) -> NodeError | UnreachableError:
    first = failures[0]
    lines = excerpt.first_and_last(first.message.splitlines(), _WHY_LINES)
    others = sorted({failure.host for failure in failures[1:]} - {first.host})
    if others:
        lines.append(f"also failed: {', '.join(others)}")
    why = "\n".join(lines)
    if first.unreachable:
        return UnreachableError(
            f'node "{first.host}" cannot be reached by ssh', why=why, hint=hint, id="OMK-V-190"
        )
    return NodeError(
        f'"{first.title}" failed on node "{first.host}"', why=why, hint=hint, id="OMK-N-101"
    )
