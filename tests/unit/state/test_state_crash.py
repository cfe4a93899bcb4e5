"""A crash, an error or a full disk at any point leaves the old record or the new one."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ohmykube.state.store import StateStore
from tests import unmeasured
from tests.unit.state import crash_sweep

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[3]


@pytest.fixture
def in_memory(tmp_path: Path) -> Iterator[Path]:
    """Give a directory where fsync costs nothing, when there is one: the sweep has 1000 points."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as path:
        yield Path(path)


@pytest.mark.parametrize("end", ["killed", "io-error"])
@pytest.mark.parametrize("what", ["create", "update", "remove"])
def test_old_or_new_at_every_point(in_memory: Path, what: str, end: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", crash_sweep.__name__, str(in_memory), what, end],
        cwd=ROOT, env=unmeasured.environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 60, "the sweep went through the work line by line"


def test_two_processes_lose_no_update(tmp_path: Path) -> None:
    store = StateStore(tmp_path / "state")
    store.create(crash_sweep.first())
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
    store.create(crash_sweep.first())
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
