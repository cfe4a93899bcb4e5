"""Real runs of ansible-playbook: verdicts, and an answer to each habit of ansible-runner."""

from __future__ import annotations

import base64
import os
import signal
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import ansible_runner
import pytest

from ohmykube.ansible import launch
from ohmykube.ansible.launch import PlaybookRun, PlaybookStatus
from ohmykube.errors import Interrupted, LockedError, NodeError
from ohmykube.kit import interrupt, locks
from ohmykube.progress import Event, NodeProgress, Status

if TYPE_CHECKING:
    from collections.abc import Callable

DATA = Path(__file__).parents[1] / "data" / "ansible"


class Recorder:
    """A reporter that keeps what it gets."""

    def __init__(self, on_event: Callable[[Event], None] = lambda _event: None) -> None:
        self.events: list[Event] = []
        self._on_event = on_event

    def emit(self, event: Event) -> None:
        self.events.append(event)
        self._on_event(event)


@pytest.fixture
def ask(tmp_path: Path) -> PlaybookRun:
    return PlaybookRun(
        playbook=str(DATA / "ok.yml"),
        inventory=DATA / "local.yml",
        run_dir=tmp_path / "run",
        fact_cache=tmp_path / "facts",
        log_file=tmp_path / "ansible.log",
        lock_file=tmp_path / "playbook.lock",
        forks=2,
    )


def of(ask: PlaybookRun, playbook: str) -> PlaybookRun:
    return replace(ask, playbook=str(DATA / f"{playbook}.yml"))


def test_a_good_run(ask: PlaybookRun, capfd: pytest.CaptureFixture[str]) -> None:
    reporter = Recorder()
    outcome = launch.run(ask, reporter)
    launch.raise_for_failure(outcome)
    assert outcome.status is PlaybookStatus.OK
    assert {h: (s.ok, s.changed) for h, s in outcome.stats.items()} == {
        "node-a": (2, 1),
        "node-b": (2, 0),
    }
    assert outcome.tasks_run == 2
    assert outcome.failures == ()
    last = {e.node: e.status for e in reporter.events if isinstance(e, NodeProgress)}
    assert last == {"node-a": Status.CHANGED, "node-b": Status.OK}
    assert capfd.readouterr() == ("", "")
    assert ask.log_file.stat().st_mode & 0o777 == 0o600
    assert list(ask.run_dir.iterdir()) == []


def test_a_failed_task_is_the_one_that_was_not_rescued_or_ignored(ask: PlaybookRun) -> None:
    outcome = launch.run(of(ask, "fail"), Recorder())
    assert outcome.status is PlaybookStatus.FAILED
    assert [(f.host, f.task) for f in outcome.failures] == [("node-b", "Fail at last")]
    assert outcome.failures[0].message == "non-zero return code\nthe reason"
    with pytest.raises(NodeError, match='"Fail at last" failed on node "node-b"'):
        launch.raise_for_failure(outcome)


def test_an_unreachable_node(ask: PlaybookRun) -> None:
    outcome = launch.run(replace(ask, inventory=DATA / "unreachable.yml"), Recorder())
    assert outcome.status is PlaybookStatus.UNREACHABLE
    assert "Connection refused" in outcome.failures[0].message


@pytest.mark.parametrize(
    ("changes", "status", "said"),
    [
        ({"playbook": str(DATA / "nobody.yml")}, PlaybookStatus.NO_HOSTS, ""),
        ({"playbook": str(DATA / "broken.yml")}, PlaybookStatus.BROKEN, "no_such_module"),
        ({"playbook": "/nonexistent.yml"}, PlaybookStatus.BROKEN, "could not be found"),
        ({"playbook": "ohmykube.cluster.nope"}, PlaybookStatus.BROKEN, "could not be found"),
        ({"inventory": Path("/nonexistent")}, PlaybookStatus.BROKEN, "failed to parse inventory"),
        ({"limit": ("node-x",)}, PlaybookStatus.BROKEN, "limit"),
    ],
)
def test_what_ansible_would_let_pass_or_confuse_has_a_verdict(
    ask: PlaybookRun, changes: dict[str, object], status: PlaybookStatus, said: str
) -> None:
    outcome = launch.run(replace(ask, **changes), Recorder())  # type: ignore[arg-type]
    assert outcome.status is status
    assert said in " ".join(outcome.errors)
    with pytest.raises(NodeError):
        launch.raise_for_failure(outcome)


def test_only_the_chosen_nodes_are_touched(ask: PlaybookRun) -> None:
    outcome = launch.run(replace(ask, limit=("node-b",)), Recorder())
    assert list(outcome.stats) == ["node-b"]


def test_check_mode_changes_nothing(ask: PlaybookRun) -> None:
    outcome = launch.run(replace(ask, check=True), Recorder())
    assert outcome.status is PlaybookStatus.OK
    assert not outcome.changed


def test_settings_and_environment_are_ours(
    ask: PlaybookRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN_CANARY", "canary-1")
    monkeypatch.setenv("ANSIBLE_HOST_KEY_CHECKING", "False")
    monkeypatch.setenv("ANSIBLE_FORKS", "99")
    monkeypatch.setenv("AWX_LIB_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("LC_ALL", "C")
    extra = tmp_path / "extra vars.yml"
    extra.write_text("extra: from-a-file\n")
    wanted = replace(of(ask, "settings"), vars_files=(extra,))
    outcome = launch.run(wanted, Recorder())
    assert outcome.status is PlaybookStatus.OK, outcome
    log = ask.log_file.read_text()
    for line in (
        "setting CACHE_PLUGIN=jsonfile",
        f"setting CACHE_PLUGIN_CONNECTION={tmp_path}/facts",
        "setting DEFAULT_FORKS=2",
        "setting DEFAULT_GATHERING=smart",
        "setting DEFAULT_TIMEOUT=20",
        "setting HOST_KEY_CHECKING=True",
        "setting INJECT_FACTS_AS_VARS=False",
        "setting INVENTORY_UNPARSED_IS_FAILED=True",
        "setting RETRY_FILES_ENABLED=False",
        "extra: from-a-file",
    ):
        assert line in log
    encoded = log.partition("environment: ")[2].split()[0]
    environment = base64.b64decode(encoded).decode()
    assert "canary-1" not in environment
    assert "ANSIBLE_FORKS" not in environment


def test_nothing_of_a_run_reaches_the_next(ask: PlaybookRun, tmp_path: Path) -> None:
    extra = tmp_path / "extra.yml"
    extra.write_text("extra: from-the-first\n")
    launch.run(replace(of(ask, "settings"), vars_files=(extra,)), Recorder())
    second = replace(of(ask, "settings"), log_file=tmp_path / "second.log")
    launch.run(second, Recorder())
    assert "extra: none" in second.log_file.read_text()


def test_secrets_are_never_written_by_ansible_runner(
    ask: PlaybookRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN_CANARY", "canary-2")
    seen: list[bytes] = []

    def look(_event: Event) -> None:
        if not seen:
            seen.extend(f.read_bytes() for f in ask.run_dir.rglob("*") if f.is_file())

    launch.run(ask, Recorder(look))
    assert any(b"ansible.cli.playbook" in content for content in seen)
    assert any(b"AWX_ISOLATED_DATA_DIR" in content for content in seen)  # artifacts/run/command
    assert not any(b"canary-2" in content for content in seen)


def test_facts_outlive_a_run(ask: PlaybookRun) -> None:
    launch.run(of(ask, "facts"), Recorder())
    launch.run(of(ask, "facts"), Recorder())
    log = ask.log_file.read_text()
    assert log.index("remembered: nothing") < log.index("remembered: everything")


def test_signal_handlers_stay_as_they_were(ask: PlaybookRun) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    launch.run(ask, Recorder())
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_venv_that_is_not_on_the_path_is_enough(
    ask: PlaybookRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert launch.run(ask, Recorder()).status is PlaybookStatus.OK


def test_the_working_directory_does_not_matter(
    ask: PlaybookRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "ansible.cfg").write_text("[defaults]\nforks = 77\n")
    monkeypatch.chdir(elsewhere)
    relative = replace(
        ask,
        playbook=os.path.relpath(DATA / "settings.yml"),
        inventory=Path(os.path.relpath(DATA / "local.yml")),
        run_dir=Path("run"),
        lock_file=Path("lock"),
        log_file=Path("log"),
    )
    assert launch.run(relative, Recorder()).status is PlaybookStatus.OK
    assert "DEFAULT_FORKS=2" in (elsewhere / "log").read_text()


def test_a_slow_reader_does_not_hold_ansible_up(ask: PlaybookRun) -> None:
    gate = threading.Event()

    def wait(_event: Event) -> None:
        # The recap is there before the reader looks at its first event.
        gate.wait(0.3)

    assert launch.run(ask, Recorder(wait)).status is PlaybookStatus.OK


def test_a_stop_request_ends_everything(ask: PlaybookRun, tmp_path: Path) -> None:
    def stop(event: Event) -> None:
        if isinstance(event, NodeProgress) and event.activity == "Take long":
            interrupt.requested.set()

    with pytest.raises(Interrupted):
        launch.run(of(ask, "slow"), Recorder(stop))
    with locks.exclusive(ask.lock_file, "the playbook"):
        assert _running(tmp_path) == []


def test_a_stop_request_before_the_start_is_respected(ask: PlaybookRun) -> None:
    interrupt.requested.set()
    with pytest.raises(Interrupted):
        launch.run(ask, Recorder())
    assert not ask.log_file.exists()


def test_an_exception_in_the_middle_leaves_nothing_running(
    ask: PlaybookRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = interrupt.requested.is_set

    class Late:
        """Fails once the playbook is under way, as Ctrl-C without handler would."""

        def is_set(self) -> bool:
            if any("sleep 4711" in line for line in _running(tmp_path)):
                raise KeyboardInterrupt
            return real()

        def clear(self) -> None:
            pass

    monkeypatch.setattr(interrupt, "requested", Late())
    with pytest.raises(KeyboardInterrupt):
        launch.run(of(ask, "slow"), Recorder())
    with locks.exclusive(ask.lock_file, "the playbook"):
        assert _running(tmp_path) == []


def test_a_failure_of_ansible_runner_is_told(
    ask: PlaybookRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_self: object) -> None:
        raise TimeoutError("pty")

    monkeypatch.setattr(ansible_runner.Runner, "run", fail)
    with pytest.raises(NodeError, match="ansible-runner failed") as caught:
        launch.run(ask, Recorder())
    assert caught.value.why == "TimeoutError: pty"


def test_a_ghost_is_waited_for_and_then_named(
    ask: PlaybookRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "_WAIT_FOR_GHOST_SECONDS", 0.1)
    with (
        locks.exclusive(ask.lock_file, "the playbook"),
        pytest.raises(LockedError, match="still busy") as caught,
    ):
        launch.run(ask, Recorder())
    assert caught.value.why == f"held by process {os.getpid()}"


def _running(tmp_path: Path) -> list[str]:
    """Return the command lines of all processes whose environment names this test's directory."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                environment = (entry / "environ").read_bytes()
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if os.fsencode(tmp_path / "run") in environment:
                found.append(command.replace(b"\0", b" ").decode(errors="replace"))
    return found
