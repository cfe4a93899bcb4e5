"""A crash, an error or a full disk at any point leaves the old record or the new one."""

from __future__ import annotations

import dataclasses
import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ohmykube.errors import OhmykubeError
from ohmykube.state.record import Record
from ohmykube.state.store import StateStore

if TYPE_CHECKING:
    from collections.abc import Iterator
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


@pytest.fixture
def in_memory(tmp_path: Path) -> Iterator[Path]:
    """Give a directory where fsync costs nothing, when there is one: the sweep has 1000 points."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as path:
        yield Path(path)


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


@pytest.mark.parametrize("kill", [True, False], ids=["killed", "io-error"])
@pytest.mark.parametrize("what", ["create", "update", "remove"])
def test_old_or_new_at_every_point(in_memory: Path, what: str, kill: bool) -> None:
    before = StateStore(in_memory / "before")
    if what != "create":
        before.create(first())
        before.update("dev", lambda old: dataclasses.replace(old, done=("old",)))
    ended, points = False, 0
    while not ended and points < MOST_POINTS:
        points += 1
        store = StateStore(in_memory / str(points))
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
    assert points > 60


def test_two_processes_lose_no_update(tmp_path: Path) -> None:
    store = StateStore(tmp_path / "state")
    store.create(first())
    code = (
        "import sys, dataclasses, pathlib\n"
        "from ohmykube.state.store import StateStore\n"
        "store = StateStore(pathlib.Path(sys.argv[1]))\n"
        "for n in range(100):\n"
        "    store.update('dev', lambda r: dataclasses.replace(\n"
        "        r, done=(*r.done, f'{sys.argv[2]}{n}')))\n"
    )
    workers = [
        subprocess.Popen([sys.executable, "-c", code, str(store.root), label]) for label in "ab"
    ]
    assert [worker.wait(120) for worker in workers] == [0, 0]
    found = store.need("dev")
    assert sorted(found.done) == sorted(f"{label}{n}" for label in "ab" for n in range(100))
    assert found.serial == 201


def as_root(kind: str) -> None:
    """Fail in CI and skip elsewhere when the test cannot be root."""
    if os.getuid() != 0:
        text = f"{kind} needs root"
        if os.environ.get("CI") == "true":
            pytest.fail(text)
        pytest.skip(text)


def test_full_disk_keeps_the_old_record(tmp_path: Path) -> None:
    as_root("a small tmpfs")
    disk = tmp_path / "disk"
    disk.mkdir()
    script = (
        f"mount -t tmpfs -o size=64k none {disk} && exec {sys.executable} -c "
        '"import sys; exec(sys.stdin.read())"'
    )
    code = f"""
import dataclasses, pathlib
from ohmykube.errors import ResourceError
from ohmykube.state.record import Record
from ohmykube.state.store import StateStore
store = StateStore(pathlib.Path({str(disk)!r}) / "state")
store.create(Record(id="i", name="dev", document={{}}, provider="p", kubernetes_version="1.36.3"))
try:
    store.update("dev", lambda r: dataclasses.replace(r, document={{"x": "y" * 200_000}}))
except ResourceError as error:
    print(error.message.split(" for ")[0], int(error.exit_code), "MiB are free" in error.why)
print(store.need("dev").document, list(store.directory("dev").glob(".omk-tmp-*")))
print(store.update("dev", lambda r: dataclasses.replace(r, done=("on",))).done)
"""
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", script],
        input=code, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "no space left 8 True\n{} []\n('on',)\n"


def test_foreign_files_give_permission_errors(public: Path) -> None:
    """State that an earlier sudo left behind: the error says whose it is."""
    as_root("changing the user")
    root = public / "state"
    store = StateStore(root)
    store.create(first())
    for place in (root, root / "clusters"):
        place.chmod(0o755)
    code = """
import os, pathlib, sys
import ohmykube.state.store
from ohmykube.errors import PermissionDenied
from ohmykube.state.record import Record
from ohmykube.state.store import StateStore
os.setgroups([]); os.setgid(65534); os.setuid(65534)
store = StateStore(pathlib.Path(sys.argv[1]))
def tell(work):
    try:
        print(work())
    except PermissionDenied as error:
        print(int(error.exit_code), error.message[:12], error.why, flush=True)
tell(store.current)
tell(store.names)
tell(lambda: store.read("dev"))
new = Record(id="", name="new", document={}, provider="p", kubernetes_version="1")
tell(lambda: store.create(new))
tell(lambda: store.update("dev", lambda r: r))
tell(lambda: store.new_run("dev"))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(root)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "None"
    assert len(lines) == 6
    assert [line for line in lines[1:] if not line.startswith("9 cannot ")] == []
    assert "belongs to root" in lines[2]
    assert store.names() == ("dev",)
