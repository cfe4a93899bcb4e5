"""ansible-runner's raw event dictionaries, turned into a few typed events.

What is not known is ignored (``parse`` gives None): new releases add events and fields.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ohmykube.kit import excerpt

_TAIL_LINES = 5
_LINE_LENGTH = 400
_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class Result(enum.StrEnum):
    """How a task ended on a host."""

    OK = "ok"
    CHANGED = "changed"
    SKIPPED = "skipped"
    FAILED = "failed"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayStarted:
    """A play begins."""

    play: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskStarted:
    """A task begins, on ``host`` or, when that is empty, at all."""

    task: str
    role: str = ""
    """Without the collection's name; empty outside a role."""
    host: str = ""
    uuid: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskEnded:
    """A task is over on one host."""

    host: str
    task: str
    result: Result
    role: str = ""
    seconds: float = 0.0
    ignored: bool = False
    """It failed, and the play goes on on purpose."""
    message: str = ""
    """Why it failed, or what a debug task says; several lines; never the module's arguments."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemEnded:
    """One turn of a task that loops is over."""

    host: str
    task: str
    role: str = ""
    failed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRetried:
    """A task did not get what it waits for and is tried again."""

    host: str
    task: str
    role: str = ""
    left: int = 0
    """Attempts left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostStats:
    """How often each result came; ``ok`` includes ``changed``, as Ansible counts."""

    ok: int = 0
    changed: int = 0
    failed: int = 0
    unreachable: int = 0
    skipped: int = 0
    rescued: int = 0
    ignored: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaybookEnded:
    """The recap; the last event of an orderly run."""

    stats: Mapping[str, HostStats] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """Text outside of plays: warnings, errors, what -v adds."""

    text: str
    level: str = "debug"
    """``debug``, ``warning`` or ``error``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoHosts:
    """A play matched no host at all."""


TaskEvent = TaskStarted | TaskEnded | TaskRetried | ItemEnded
AnsibleEvent = PlayStarted | TaskEvent | PlaybookEnded | Output | NoHosts

_RESULTS = {
    "runner_on_ok": Result.OK,
    "runner_on_skipped": Result.SKIPPED,
    "runner_on_failed": Result.FAILED,
    "runner_on_async_failed": Result.FAILED,
    "runner_on_unreachable": Result.UNREACHABLE,
}
_LEVELS = {
    "verbose": "debug",
    "debug": "debug",
    "deprecated": "debug",
    "warning": "warning",
    "system_warning": "warning",
    "error": "error",
}


def parse(raw: Mapping[str, object]) -> AnsibleEvent | None:
    """Return the typed event, or None for one that does not matter here."""
    name = str(raw.get("event", ""))
    data = _mapping(raw.get("event_data"))
    if name in _RESULTS:
        return _ended(_RESULTS[name], data)
    if name in _LEVELS:
        return _output(_LEVELS[name], _text(raw.get("stdout")))
    reader = _READERS.get(name)
    return reader(data) if reader else None


def _started(data: Mapping[str, object]) -> TaskStarted:
    return TaskStarted(
        task=_text(data.get("task")),
        role=_role(data),
        host=_text(data.get("host")),
        uuid=_text(data.get("task_uuid")),
    )


def _ended(result: Result, data: Mapping[str, object]) -> TaskEnded:
    res = _mapping(data.get("res"))
    if result is Result.OK and res.get("changed") is True:
        result = Result.CHANGED
    seconds = data.get("duration")
    bad = result in (Result.FAILED, Result.UNREACHABLE)
    return TaskEnded(
        host=_text(data.get("host")),
        task=_text(data.get("task")),
        role=_role(data),
        result=result,
        seconds=float(seconds) if isinstance(seconds, int | float) else 0.0,
        ignored=bool(data.get("ignore_errors")),
        message=reason(res) if bad else _said(res),
    )


def _item(data: Mapping[str, object], *, failed: bool) -> ItemEnded:
    return ItemEnded(
        host=_text(data.get("host")),
        task=_text(data.get("task")),
        role=_role(data),
        failed=failed,
    )


def _retried(data: Mapping[str, object]) -> TaskRetried:
    res = _mapping(data.get("res"))
    tried, of = res.get("attempts"), res.get("retries")
    left = of - tried if isinstance(tried, int) and isinstance(of, int) else 0
    return TaskRetried(
        host=_text(data.get("host")), task=_text(data.get("task")), role=_role(data), left=left
    )


def _said(res: Mapping[str, object]) -> str:
    """Return what a debug or assert task has to say; other modules' messages are noise."""
    return _text(res.get("msg")) if res.get("_ansible_verbose_always") else ""


def reason(res: Mapping[str, object]) -> str:
    """Return why a task failed: its message and the last lines of what the program printed.

    Never the arguments (``invocation``, ``cmd``): those can hold secrets.
    """
    if "censored" in res:
        return "the task handles secrets, so its output is hidden"
    failed = _failed_item(res)
    if failed is not None:
        return reason(failed)
    parts = [_text(res.get("msg"))]
    for key in ("stderr", "module_stderr", "stdout", "module_stdout"):
        lines = [
            excerpt.both_ends(line.rstrip(), _LINE_LENGTH)
            for line in _text(res.get(key)).splitlines()
        ]
        found = [line for line in lines if line][-_TAIL_LINES:]
        if found:
            parts += found
            break
    code = res.get("rc")
    if isinstance(code, int) and code and len(parts) == 1:
        parts.append(f"exit code {code}")
    return "\n".join(part for part in parts if part) or "no reason was given"


def _failed_item(res: Mapping[str, object]) -> Mapping[str, object] | None:
    items = res.get("results")
    for item in items if isinstance(items, list) else []:
        found = _mapping(item)
        if found.get("failed") or found.get("unreachable"):
            return found
    return None


def _stats(data: Mapping[str, object]) -> dict[str, HostStats]:
    def count(key: str, host: str) -> int:
        value = _mapping(data.get(key)).get(host, 0)
        return value if isinstance(value, int) else 0

    return {
        host: HostStats(
            ok=count("ok", host),
            changed=count("changed", host),
            failed=count("failures", host),
            unreachable=count("dark", host),
            skipped=count("skipped", host),
            rescued=count("rescued", host),
            ignored=count("ignored", host),
        )
        for host in sorted(_mapping(data.get("processed")))
    }


def _output(level: str, text: str) -> Output | None:
    if not text.strip():
        return None
    if text.startswith(("[ERROR]", "ERROR!", "Traceback")):
        level = "error"
    elif text.startswith("[WARNING]"):
        level = "warning"
    return Output(text=text, level=level)


def _role(data: Mapping[str, object]) -> str:
    return _text(data.get("role")).rpartition(".")[2]


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str:
    if value is None:
        return ""
    text = _ESCAPES.sub("", value if isinstance(value, str) else str(value))
    return text.replace("\r\n", "\n").strip("\r\n")


_READERS: Mapping[str, Callable[[Mapping[str, object]], AnsibleEvent]] = {
    "playbook_on_play_start": lambda data: PlayStarted(play=_text(data.get("play"))),
    "playbook_on_task_start": _started,
    "playbook_on_handler_task_start": _started,
    "runner_on_start": _started,
    "runner_item_on_ok": lambda data: _item(data, failed=False),
    "runner_item_on_failed": lambda data: _item(data, failed=True),
    "runner_retry": _retried,
    "playbook_on_no_hosts_matched": lambda _data: NoHosts(),
    "playbook_on_stats": lambda data: PlaybookEnded(stats=_stats(data)),
}
