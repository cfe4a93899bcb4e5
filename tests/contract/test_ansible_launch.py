"""Real runs of ansible-playbook: verdicts, and an answer to each habit of ansible-runner."""

from __future__ import annotations

import base64
import os
import signal
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import ansible_runner
import pytest

from ohmykube.ansible import launch
from ohmykube.ansible.launch import Outcome, PlaybookRun, PlaybookStatus
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


def playbook_run(root: Path, playbook: str = "ok") -> PlaybookRun:
    return PlaybookRun(
        playbook=str(DATA / f"{playbook}.yml"),
        inventory=DATA / "local.yml",
        run_dir=root / "run",
        fact_cache=root / "facts",
        log_file=root / "ansible.log",
        lock_file=root / "playbook.lock",
        forks=2,
    )


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PlaybookRun:
    # What a playbook leaves behind, it leaves there.
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return playbook_run(tmp_path)


def of(ask: PlaybookRun, playbook: str) -> PlaybookRun:
    return replace(ask, playbook=str(DATA / f"{playbook}.yml"))


def handlers() -> list[object]:
    return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]


@dataclass
class GoodRun:
    """A run that went well, its first event held up, and what was to be seen of it."""

    ask: PlaybookRun
    events: list[Event] = field(default_factory=list)
    files: list[bytes] = field(default_factory=list)
    """What lay in the run's directory at its first event."""
    handlers: tuple[list[object], list[object]] = ([], [])
    outcome: Outcome | None = None

    def emit(self, event: Event) -> None:
        if not self.events:
            self.files = [f.read_bytes() for f in self.ask.run_dir.rglob("*") if f.is_file()]
            # The recap is there before the reader looks at its first event.
            threading.Event().wait(0.3)
        self.events.append(event)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> GoodRun:
    """Run a playbook once; several tests look at it."""
    found = GoodRun(playbook_run(tmp_path_factory.mktemp("good")))
    before = handlers()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOKEN_CANARY", "canary-2")
        found.outcome = launch.run(found.ask, found)
    found.handlers = (before, handlers())
    return found


def test_a_good_run(good: GoodRun) -> None:
    outcome = good.outcome
    assert outcome is not None
    launch.raise_for_failure(outcome)
    assert outcome.status is PlaybookStatus.OK
    assert {h: (s.ok, s.changed) for h, s in outcome.stats.items()} == {
        "node-a": (2, 1),
        "node-b": (2, 0),
    }
    assert outcome.tasks_run == 2
    assert outcome.failures == ()
    last = {e.node: e.status for e in good.events if isinstance(e, NodeProgress)}
    assert last == {"node-a": Status.CHANGED, "node-b": Status.OK}
    assert good.ask.log_file.stat().st_mode & 0o777 == 0o600
    assert list(good.ask.run_dir.iterdir()) == []


def test_a_slow_reader_does_not_hold_ansible_up(good: GoodRun) -> None:
    assert good.outcome is not None
    assert good.outcome.status is PlaybookStatus.OK


def test_signal_handlers_stay_as_they_were(good: GoodRun) -> None:
    before, after = good.handlers
    assert after == before


def test_secrets_are_never_written_by_ansible_runner(good: GoodRun) -> None:
    assert any(b"ansible.cli.playbook" in content for content in good.files)
    assert any(b"AWX_ISOLATED_DATA_DIR" in content for content in good.files)  # run/command
    assert not any(b"canary-2" in content for content in good.files)


def test_the_surroundings_of_the_caller_do_not_matter(
    ask: PlaybookRun,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Neither its working directory nor a PATH without our environment; nothing is printed."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "ansible.cfg").write_text("[defaults]\nforks = 77\n")
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
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
    assert capfd.readouterr() == ("", "")


@pytest.fixture(scope="module")
def with_settings(tmp_path_factory: pytest.TempPathFactory) -> PlaybookRun:
    """Run a playbook that tells its settings, in an environment that has others."""
    root = tmp_path_factory.mktemp("settings")
    extra = root / "extra vars.yml"
    extra.write_text("extra: from-a-file\n")
    wanted = replace(playbook_run(root, "settings"), vars_files=(extra,))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOKEN_CANARY", "canary-1")
        patch.setenv("ANSIBLE_HOST_KEY_CHECKING", "False")
        patch.setenv("ANSIBLE_FORKS", "99")
        patch.setenv("AWX_LIB_DIRECTORY", str(root))
        patch.setenv("LC_ALL", "C")
        outcome = launch.run(wanted, Recorder())
    assert outcome.status is PlaybookStatus.OK, outcome
    return wanted


def test_settings_and_environment_are_ours(with_settings: PlaybookRun) -> None:
    log = with_settings.log_file.read_text()
    for line in (
        "setting CACHE_PLUGIN=jsonfile",
        f"setting CACHE_PLUGIN_CONNECTION={with_settings.fact_cache}",
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


def test_nothing_of_a_run_reaches_the_next(with_settings: PlaybookRun, tmp_path: Path) -> None:
    second = replace(with_settings, vars_files=(), log_file=tmp_path / "second.log")
    launch.run(second, Recorder())
    assert "extra: none" in second.log_file.read_text()


def test_a_failed_task_is_the_one_that_was_not_rescued_or_ignored(ask: PlaybookRun) -> None:
    outcome = launch.run(of(ask, "fail"), Recorder())
    assert outcome.status is PlaybookStatus.FAILED
    assert [(f.host, f.task) for f in outcome.failures] == [("node-b", "Fail at last")]
    assert outcome.failures[0].message == "non-zero return code\nthe reason"
    with pytest.raises(NodeError, match='"Fail at last" failed on node "node-b"'):
        launch.raise_for_failure(outcome)


def test_an_unreachable_node(ask: PlaybookRun) -> None:
    outcome = launch.run(replace(of(ask, "slow"), inventory=DATA / "unreachable.yml"), Recorder())
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


def test_a_chosen_node_has_the_facts_and_the_help_of_the_others(ask: PlaybookRun) -> None:
    launch.run(of(ask, "facts"), Recorder())
    outcome = launch.run(replace(of(ask, "limited"), limit=("node-b",)), Recorder())
    launch.raise_for_failure(outcome)
    assert {host: stats.ok for host, stats in outcome.stats.items()} == {"node-b": 3}
    log = ask.log_file.read_text()
    assert "remembered: everything" in log
    assert "asked: node-a was asked by node-b" in log


def test_check_mode_changes_nothing(ask: PlaybookRun) -> None:
    outcome = launch.run(replace(ask, check=True), Recorder())
    assert outcome.status is PlaybookStatus.OK
    assert not outcome.changed


def test_facts_outlive_a_run(ask: PlaybookRun) -> None:
    launch.run(of(ask, "facts"), Recorder())
    launch.run(of(ask, "facts"), Recorder())
    log = ask.log_file.read_text()
    assert log.index("remembered: nothing") < log.index("remembered: everything")


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
