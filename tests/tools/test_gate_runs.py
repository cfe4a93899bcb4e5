"""Runs of a gate: what is kept, what is told, and what happens when something goes wrong."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.tools.conftest import NODES

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.tools.conftest import PassedOnce, Project

pytestmark = pytest.mark.usefixtures("as_root")  # the sandbox needs it
ALPHA, BETA = "unit/alpha", "unit/beta"


def parts(done: subprocess.CompletedProcess[str] | PassedOnce, word: str) -> set[str]:
    """Return the parts that ended with a word."""
    return set(re.findall(rf"^    {word} +(\S+) +[\d.]+ s", done.stdout, re.M))


def kept(project: Project, part: str) -> Path:
    """Return the file of the one kept result of a part."""
    (path,) = (project.kept / "results" / part.replace("/", "-")).glob("*.json")
    return path


def passed(done: subprocess.CompletedProcess[str]) -> set[str]:
    assert done.returncode == 0, done.stdout + done.stderr
    return parts(done, "passed")


def test_what_passed_is_not_run_again(project: Project, passed_once: PassedOnce) -> None:
    """Nor in another checkout of the same state."""
    assert parts(passed_once, "passed") == {ALPHA, BETA}
    assert "2 parts to run, 0 kept" in passed_once.stdout
    assert "2 passed in" in passed_once.stdout, "the runner's own summary"
    shutil.copytree(passed_once.kept, project.kept)
    again = project.gate("unit")
    assert passed(again) == set()
    assert "0 parts to run, 2 kept" in again.stdout
    assert "==> 0 parts ran, 2 kept" in again.stdout
    # A file that git does not know yet, and one that only one of them reads.
    project.write("tests/unit/alpha/test_more.py", "def test_more():\n    assert True\n")
    assert passed(project.gate("unit")) == {ALPHA}
    assert passed(project.gate("unit", "--full")) == {ALPHA, BETA}


def test_a_failure_is_told_by_its_decisive_lines_and_not_kept(project: Project) -> None:
    noise = "\n".join(f"    print('noise {number}')" for number in range(200))
    project.write(
        "tests/unit/alpha/test_alpha.py",
        f"def test_wrong():\n{noise}\n    assert 1 + 1 == 3, 'that is decisive'\n",
    )
    for _ in range(2):
        done = project.gate("unit")
        assert done.returncode == 1
        assert parts(done, "FAILED") == {ALPHA}
        assert "test_wrong" in done.stdout
        assert "E   AssertionError: that is decisive" in done.stdout
        assert "tests/unit/alpha/test_alpha.py:202: in test_wrong" in done.stdout
        assert "error: failed: unit/alpha" in done.stderr
        assert len(done.stdout.splitlines()) < 50, done.stdout
        log = re.search(r"all of it: (\S+)", done.stdout)
        assert log is not None
        assert "noise 199" in (project.root / log[1]).read_text()


def test_a_file_that_no_part_names_is_not_there(project: Project) -> None:
    """A part whose result does not depend on a file cannot read it."""
    done = project.gate("unit", SUDO_USER="README.md")
    assert parts(done, "FAILED") == {BETA}
    assert parts(done, "passed") == {ALPHA}
    assert passed(project.gate("unit", SUDO_USER="ohmykube/words.txt")) == {BETA}


def test_a_damaged_result_is_told_and_run_again(project: Project, passed_once: PassedOnce) -> None:
    shutil.copytree(passed_once.kept, project.kept)
    path = kept(project, ALPHA)
    path.write_text(path.read_text()[:40])
    done = project.gate("unit")
    assert passed(done) == {ALPHA}
    assert f"the kept result of {ALPHA} is damaged" in done.stdout


def test_results_are_not_kept_on_a_full_disk(project: Project) -> None:
    """The run itself passes all the same."""
    script = """
        mkdir "$1"; mount -t tmpfs -o size=16k tmpfs "$1"; head -c 16k /dev/zero >"$1/fill" || true
        shift; exec "$@"
    """
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", str(project.kept), *project.argv("unit")],
        cwd=project.root,
        env=project.env(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert passed(done) == {ALPHA, BETA}
    assert f"the result of {ALPHA} is not kept: No space left on device" in done.stdout


# -- what ARGS asks for ----------------------------------------------------------------------------


def test_a_path_or_a_word_runs_what_it_reaches(project: Project) -> None:
    assert passed(project.gate("all", "--", "tests/unit/alpha/test_alpha.py::test_deep")) == {ALPHA}
    assert passed(project.gate("all", "--", "unit/beta")) == {BETA}
    assert passed(project.gate("unit", "--", f"{project.root}/ohmykube/deep.py")) == {ALPHA}


def test_options_are_for_pytest_in_the_foreground(project: Project) -> None:
    done = project.gate("unit", "--", "-k", "deep or nothing", "-v")
    assert done.returncode == 0
    assert "test_alpha.py::test_deep PASSED" in done.stdout
    assert "test_module" not in done.stdout


def test_a_check_runs_nothing(project: Project) -> None:
    done = project.gate("nightly", "--check", "--", "unit/beta", "-k", "deep")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not (project.kept / "results").exists()


@pytest.mark.parametrize(
    "words",
    [["all", "--", "nowhere.py"], ["nightly", "--check", "--", "nowhere.py"], ["nothing"], []],
)
def test_what_cannot_be_understood_is_told(project: Project, words: list[str]) -> None:
    done = project.gate(*words)
    assert done.returncode == 2
    assert "nowhere.py" in done.stderr or "nothing" in done.stderr or "usage: " in done.stderr


# -- nodes: one run at a time, and what is left ----------------------------------------------------


@pytest.fixture
def place(project: Project, tmp_path: Path) -> Path:
    """Return a directory in which tests "with nodes" say what they do."""
    project.write("tests/e2e/cluster/test_nodes.py", "\n").write_text(NODES)
    made = tmp_path / "place"
    made.mkdir()
    return made


def test_where_results_with_nodes_are_kept_some_tests_still_run(
    project: Project, place: Path
) -> None:
    """Those marked so, in a part of its own, whose result is not kept."""
    smoke = "\n@pytest.mark.smoke\n@pytest.mark.nodes\ndef test_smoke():\n    assert True\n"
    project.write("tests/e2e/cluster/test_nodes.py", "\n").write_text(NODES + smoke)
    words = ("e2e", "--", "e2e/cluster")
    first = project.gate(*words, SUDO_USER=str(place))
    assert passed(first) == {"e2e/cluster"}
    assert "2 passed" in first.stdout
    for _ in range(2):
        again = project.gate(*words, SUDO_USER=str(place))
        assert passed(again) == {"e2e/cluster/smoke"}
        assert "1 passed, 1 deselected" in again.stdout
        assert "==> 1 parts ran, 1 kept" in again.stdout


def test_two_gates_at_once(
    project: Project, place: Path, eventually: Callable[[Callable[[], bool]], bool]
) -> None:
    (place / "stay").touch()
    words = ("e2e/cluster", "unit/alpha")
    first = project.start("e2e", "unit", "--", *words, SUDO_USER=str(place))
    assert eventually((place / "made").exists)
    # All of it: what the first has kept by now would not run again.
    second = project.start("e2e", "unit", "--full", "--", *words, SUDO_USER=str(place))
    # What needs no nodes does not wait.
    logs = project.kept / "logs"
    assert eventually(lambda: len(list(logs.glob("*/unit-alpha.log"))) == 2)
    assert list(logs.glob("*/e2e-cluster.log")) == []
    (place / "stay").unlink()
    said = [run.communicate(timeout=120)[0] for run in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), said
    assert "another run on this machine has nodes" in said[1]
    assert len(list(logs.glob("*/e2e-cluster.log"))) == 2


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_gate_that_is_ended_lets_its_tests_tidy_up(
    project: Project,
    place: Path,
    eventually: Callable[[Callable[[], bool]], bool],
    number: signal.Signals,
) -> None:
    (place / "stay").touch()
    run = project.start("e2e", "--", "e2e/cluster", SUDO_USER=str(place))
    assert eventually((place / "made").exists)
    os.kill(run.pid, number)
    said, _ = run.communicate(timeout=120)
    assert run.returncode == (-number if number == signal.SIGKILL else 130), said
    assert ("interrupted" in said) == (number != signal.SIGKILL)
    assert eventually((place / "removed").exists)
    if number != signal.SIGKILL:
        return
    for name in ("stay", "busy", "removed"):
        (place / name).unlink(missing_ok=True)
    done = project.gate("e2e", "--", "e2e/cluster", SUDO_USER=str(place))
    assert passed(done) == {"e2e/cluster"}


def test_what_tests_leave_fails_the_run_and_goes(project: Project, place: Path) -> None:
    name = f"omk-left-{os.getpid()}"
    group = f"/sys/fs/cgroup/pids/omk/left-{os.getpid()}"
    if not Path("/sys/fs/cgroup/pids").is_dir():
        group = f"/sys/fs/cgroup/omk/left-{os.getpid()}"
    project.write(
        "tests/e2e/cluster/test_nodes.py",
        f"""
        import os, pathlib, subprocess, pytest

        @pytest.mark.nodes
        def test_nodes():
            subprocess.run(["ip", "netns", "add", "{name}"], check=True)
            os.makedirs("{group}")
            child = subprocess.Popen(["sleep", "600"], start_new_session=True)
            pathlib.Path("{group}/cgroup.procs").write_text(str(child.pid))
        """,
    )
    done = subprocess.run(
        project.plain_argv("e2e", "--", "e2e/cluster"),
        cwd=project.root,
        env=project.env(OHMYKUBE_GATE_PATIENCE="1"),  # what is left here never goes by itself
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert f"network namespace {name}" in done.stderr
    assert "sleep 600" in done.stderr
    assert not Path("/run/netns", name).exists()
    assert not Path(group).exists()


def test_the_next_run_removes_what_a_killed_one_left(
    project: Project, place: Path, eventually: Callable[[Callable[[], bool]], bool]
) -> None:
    """Killed with all that it started, as when a machine runs out of memory."""
    project.write(
        "tests/e2e/cluster/test_nodes.py",
        f"""
        import pathlib, subprocess, time, pytest

        @pytest.mark.nodes
        def test_nodes():
            child = subprocess.Popen(["sleep", "600"], start_new_session=True)
            pathlib.Path("{place}/pid.new").write_text(str(child.pid))
            pathlib.Path("{place}/pid.new").rename("{place}/pid")
            time.sleep(600)
        """,
    )
    temporary = place.parent / "tmp"
    temporary.mkdir()
    run = project.start("e2e", "--", "e2e/cluster", TMPDIR=str(temporary))
    assert eventually((place / "pid").exists)
    pid = int((place / "pid").read_text())
    tests = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    for victim in (run.pid, tests):
        os.kill(victim, signal.SIGKILL)
    run.communicate(timeout=60)
    project.write("tests/e2e/cluster/test_nodes.py", "").write_text(NODES)
    words = ("e2e", "--", "e2e/cluster")
    done = project.gate(*words, SUDO_USER=str(place), TMPDIR=str(temporary))
    assert "a run was killed in the middle: removing what it left" in done.stdout
    assert list(temporary.iterdir()) == []
    assert passed(done) == {"e2e/cluster"}
    assert eventually(lambda: not Path(f"/proc/{pid}").exists())  # its heir may reap it later


# -- signals ---------------------------------------------------------------------------------------

SIGNALS = ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM")


@pytest.mark.parametrize("how", ["terminal", "nohup"])
def test_no_part_inherits_ignored_signals(project: Project, how: str) -> None:
    """As nohup and a shell's background leave them; the tests of signals would wait for ever."""
    project.write(
        "tests/unit/alpha/test_alpha.py",
        f"""
        import signal

        def test_dispositions():
            for name in {SIGNALS!r}:
                assert signal.getsignal(signal.Signals[name]) is not signal.SIG_IGN
        """,
    )
    names = SIGNALS if how == "nohup" else ()
    start = f"import os, signal, sys\nfor name in {names!r}:\n"
    start += "    signal.signal(signal.Signals[name], signal.SIG_IGN)\n"
    start += "os.execv(sys.argv[1], sys.argv[1:])"
    argv = project.plain_argv("unit", "--", "unit/alpha")
    done = subprocess.run(
        [argv[0], "-c", start, *argv],
        cwd=project.root,
        env=project.env(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert passed(done) == {ALPHA}
