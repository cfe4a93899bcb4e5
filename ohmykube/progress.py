"""What a run says while it works: frozen events handed to a ``Reporter``.

Everything below ``ui`` emits events and prints nothing. ``ui`` has three reporters (live, plain,
JSON lines); tests use ``RecordingReporter`` from ``testing``.
"""

from __future__ import annotations

import contextlib
import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


WAITING = "waiting for the other nodes"
"""Activity of a node whose part of a common task is done."""


class Status(enum.StrEnum):
    """How a step, or a node within it, ended."""

    OK = "ok"
    CHANGED = "changed"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepStarted:
    """A step of the workflow begins."""

    step: str
    title: str
    expect_seconds: float | None = None
    """Rough duration, said to the user before long steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepEnded:
    """A step of the workflow is over; ``detail`` is the skip reason or a short result."""

    step: str
    title: str
    status: Status
    seconds: float
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeProgress:
    """What one node is doing now (``activity``), and whether it is done with it."""

    node: str
    activity: str
    status: Status | None = None
    """None while it is under way."""
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemProgress:
    """Something countable that is not a node: a build, a download, an image."""

    item: str
    activity: str
    status: Status | None = None
    done: int | None = None
    total: int | None = None
    unit: str = ""
    """``bytes`` or empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One line for the user. ``level`` is ``info``, ``warning`` or ``debug`` (shown with -v)."""

    text: str
    level: str = "info"
    fields: Mapping[str, str] = field(default_factory=dict)


Event = StepStarted | StepEnded | NodeProgress | ItemProgress | Message


class Reporter(Protocol):
    """Takes events from any thread; must not block and must not raise."""

    def emit(self, event: Event) -> None:
        """Show or record one event."""
        ...


class NullReporter:
    """Throws everything away."""

    def emit(self, event: Event) -> None:
        """Ignore the event."""


@contextlib.contextmanager
def item(reporter: Reporter, name: str, activity: str) -> Iterator[None]:
    """Report an item as under way, then as ok or failed."""
    reporter.emit(ItemProgress(item=name, activity=activity))
    try:
        yield
    except BaseException:
        reporter.emit(ItemProgress(item=name, activity=activity, status=Status.FAILED))
        raise
    reporter.emit(ItemProgress(item=name, activity=activity, status=Status.OK))
