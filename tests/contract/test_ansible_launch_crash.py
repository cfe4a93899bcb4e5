"""kill -9 of the caller at several moments: no process of the playbook stays, the lock is free."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

DATA = Path(__file__).parents[1] / "data" / "ansible"
CALLER = """
import sys
from pathlib import Path
from ohmykube.ansible import launch

class Tell:
    def emit(self, event):
        print(event.activity, flush=True)

root = Path(sys.argv[1])
print("ready", flush=True)
launch.run(
    launch.PlaybookRun(
        playbook=sys.argv[2],
        inventory=Path(sys.argv[3]),
        run_dir=root / "run",
        fact_cache=root / "facts",
        log_file=root / "log",
        lock_file=root / "lock",
    ),
    Tell(),
)
"""


def _ours(root: Path) -> list[int]:
    """Return the processes whose environment names this test's run directory."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                environment = (entry / "environ").read_bytes()
            except OSError:
                continue
            if os.fsencode(root / "run") in environment:
                found.append(int(entry.name))
    return found


def _free(lock: Path) -> bool:
    with lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
@pytest.mark.parametrize("moment", ["ready", 0.05, 0.2, 0.4, "Leave something behind", "Take long"])
def test_nothing_outlives_a_killed_caller(
    tmp_path: Path,
    eventually: Callable[[Callable[[], bool]], bool],
    moment: str | float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    argv = [sys.executable, "-c", CALLER, str(tmp_path)]
    argv += [str(DATA / "slow.yml"), str(DATA / "local.yml")]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as caller:
        assert caller.stdout is not None
        wanted = moment if isinstance(moment, str) else "ready"
        assert any(line.strip() == wanted for line in caller.stdout)
        if isinstance(moment, float):
            threading.Event().wait(moment)
        if moment == "Take long":
            assert list(tmp_path.glob("left-*"))  # daemons in sessions of their own
        caller.kill()
    assert eventually(lambda: not _ours(tmp_path) and _free(tmp_path / "lock"))


def test_the_check_above_can_fail(tmp_path: Path) -> None:
    environment = {**os.environ, "PATH": f"{tmp_path}/run/bin:{os.environ['PATH']}"}
    with subprocess.Popen(["sleep", "600"], env=environment) as child:
        assert _ours(tmp_path) == [child.pid]
        child.kill()
