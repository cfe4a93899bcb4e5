"""Interrupts changes of a record at every line; run by ``test_state_crash``.

A program of its own, because it forks some 200 times: a fork of pytest, which has imported the
whole product, costs ten times as much as one of a process that has imported the store.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ohmykube.errors import OhmykubeError
from ohmykube.state.record import Record
from ohmykube.state.store import StateStore

if TYPE_CHECKING:
    from types import FrameType

WATCHED = ("/kit/files.py", "/state/store.py", "/state/locking.py", "/state/trash.py", "/shutil.py")
MOST_POINTS = 1500


def first() -> Record:
    """Return the record before the change."""
    return Record(id="i", name="dev", document={}, provider="p", kubernetes_version="1.36.3")


class Trap:
    """Does something when the watched code reaches its n-th line."""

    def __init__(self, point: int, kill: bool) -> None:
        self.left = point
        self.kill = kill

    def __call__(self, frame: FrameType, event: str, _argument: Any) -> Any:
        if not frame.f_code.co_filename.endswith(WATCHED):
            return None
        if event == "line":
            self.left -= 1
            if self.left == 0:
                if self.kill:
                    os.kill(os.getpid(), signal.SIGKILL)
                sys.settrace(None)
                raise OSError(5, "Input/output error")
        return self


def in_child(point: int, kill: bool, work: Any) -> bool:
    """Run ``work`` in a child with the trap set; tell whether it came to its end."""
    pid = os.fork()
    if pid == 0:
        sys.settrace(Trap(point, kill))
        code = 0
        try:
            work()
        except (OSError, OhmykubeError):
            code = 1
        except BaseException:  # noqa: BLE001 - whatever it is, the parent must hear of it
            code = 2
        sys.settrace(None)
        os._exit(code)
    _pid, status = os.waitpid(pid, 0)
    if os.WIFEXITED(status):
        assert os.WEXITSTATUS(status) in (0, 1), f"point {point}"
        return os.WEXITSTATUS(status) == 0
    return False


def leftovers(root: Path) -> list[Path]:
    """Return temp files and half-removed directories."""
    return [*root.rglob(".omk-tmp-*"), *root.glob(".removing-*")]


def change(store: StateStore, what: str) -> None:
    """Do what is going to be interrupted."""
    if what == "create":
        store.create(first())
    elif what == "update":
        store.update("dev", lambda old: dataclasses.replace(old, done=("old", "new")))
    else:
        store.remove("dev")


ALLOWED: dict[str, tuple[tuple[str, ...] | None, ...]] = {
    "create": (None, ()),
    "update": (("old",), ("old", "new")),
    "remove": (None, ("old",)),
}
"""What may be found after each interrupted change; None is no record."""


def sweep(root: Path, what: str, kill: bool) -> int:
    """Interrupt a change at its first line, at its second, to the end; return how many."""
    before = StateStore(root / "before")
    if what != "create":
        before.create(first())
        before.update("dev", lambda old: dataclasses.replace(old, done=("old",)))
    ended, points = False, 0
    while not ended and points < MOST_POINTS:
        points += 1
        store = StateStore(root / str(points))
        if before.root.exists():
            shutil.copytree(before.root, store.root)
        ended = in_child(points, kill, functools.partial(change, StateStore(store.root), what))
        found = store.read("dev")
        assert (found.done if found else None) in ALLOWED[what], f"point {points}"
        if what == "remove":
            whole = sorted(path.name for path in before.directory("dev").iterdir())
            directory = store.directory("dev")
            left = sorted(path.name for path in directory.iterdir()) if directory.exists() else []
            assert left in ([], whole), f"point {points}: never half of it"
        # The next run goes on, and nothing of the crash stays.
        with store.locked("dev"):
            assert leftovers(store.root) == [], f"point {points}"
        shutil.rmtree(store.root, ignore_errors=True)
    assert ended, "the sweep must come to the end of the work"
    return points


if __name__ == "__main__":
    sys.stdout.write(str(sweep(Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "killed")))
