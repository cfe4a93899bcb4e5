"""Runs playbooks: the only place that knows ansible-runner, and the answer to its habits.

ansible-runner copies the whole environment, writes it and all variables to disk, loads what an
earlier run left, replaces signal handlers, turns host key checking off and kills by process group
only. So: a new private directory for each run, an environment of our own, variables in files of our
own, our own cancel callback, and ``supervise`` between it and Ansible.
"""

from __future__ import annotations

import contextlib
import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import ansible_runner
from ansible_runner.config.runner import RunnerConfig

from ohmykube.ansible import inventory as inventory_files
from ohmykube.ansible import supervise, workspace
from ohmykube.ansible.follow import Follower
from ohmykube.ansible.outcome import (
    Outcome,
    PlaybookStatus,
    TaskFailure,
    judge,
    raise_for_failure,
)
from ohmykube.errors import LockedError, NodeError
from ohmykube.kit import excerpt, failures, interrupt

if TYPE_CHECKING:
    from ohmykube.progress import Reporter

__all__ = ["Outcome", "PlaybookRun", "PlaybookStatus", "TaskFailure", "raise_for_failure", "run"]

_POLL_SECONDS = 0.25
_SETTLE_SECONDS = 4.0
_WAIT_FOR_GHOST_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaybookRun:
    """One playbook to run; paths may be relative to the working directory."""

    playbook: str
    """Fully qualified name such as ``ohmykube.cluster.cluster_up``, or the path of a file."""
    inventory: Path
    run_dir: Path
    """Private directory of this run of the CLI; made 0700 when absent."""
    fact_cache: Path
    """Directory of cached facts; one for each cluster."""
    log_file: Path
    """Appended to, 0600."""
    lock_file: Path
    """Held as long as any process of the playbook lives; one for each cluster."""
    forks: int = 10
    check: bool = False
    """Change nothing and say what would change."""
    limit: tuple[str, ...] = ()
    """Names of nodes; empty for all."""
    done: str = "configured"
    """What has become of a node when the playbook is over, for people."""
    verbosity: int = 0
    vars_files: tuple[Path, ...] = ()
    """Files with extra variables, which override everything; 0600 when they hold secrets."""


def run(playbook_run: PlaybookRun, reporter: Reporter) -> Outcome:
    """Run a playbook to its end and tell what happened; a failure on a node is no exception.

    Progress goes to ``reporter``, everything in full to the log file. When this process dies, in
    whatever way, all processes of the playbook die with it.

    Raises:
        Interrupted: a stop was asked for; nothing of the playbook runs any more on this host.
        LockedError: a previous run on the same cluster is still busy.
        NodeError: ansible-runner itself failed.
        PermissionDenied, ResourceError: the log or the run directory cannot be written.
    """
    started = time.monotonic()
    follower = Follower(
        playbook_run.log_file,
        reporter,
        done=playbook_run.done,
        verbosity=playbook_run.verbosity,
        secrets=inventory_files.secrets_of(playbook_run.inventory),
    )
    interrupt.check()
    with (
        workspace.prepared(
            playbook_run.run_dir,
            fact_cache=playbook_run.fact_cache,
            lock_file=playbook_run.lock_file,
            forks=playbook_run.forks,
            wait_seconds=_WAIT_FOR_GHOST_SECONDS,
        ) as place,
        follower,
    ):
        runner = _runner(playbook_run, place, follower)
        with failures.closing(lambda: _settle(runner, playbook_run)):
            try:
                runner.run()
            except Exception as error:
                raise NodeError(
                    "ansible-runner failed",
                    why=f"{type(error).__name__}: {excerpt.both_ends(str(error).strip(), 300)}",
                    hint=f"`ohmykube up` again; full log: {playbook_run.log_file}",
                    id="OMK-N-104",
                ) from error
    if runner.canceled:
        raise interrupt.interrupted()
    if runner.rc == supervise.LOCKED and follower.stats is None:
        raise LockedError(
            "a previous playbook on this cluster is still busy",
            why=supervise.holder(playbook_run.lock_file),
            hint="wait a minute, then run the same command again",
            id="OMK-H-190",
        )
    return Outcome(
        status=judge(follower.stats, follower.failures, runner.rc),
        stats=follower.stats or {},
        failures=follower.failures,
        tasks_run=follower.tasks_run,
        seconds=time.monotonic() - started,
        errors=tuple(follower.errors),
        log_file=playbook_run.log_file,
    )


def _runner(
    playbook_run: PlaybookRun, place: workspace.Workspace, follower: Follower
) -> ansible_runner.Runner:
    # RunnerConfig and Runner instead of ansible_runner.run(): that one also replaces signal
    # handlers and writes an inventory that it cannot find as if it were inventory text.
    config = RunnerConfig(
        private_data_dir=str(place.directory),
        ident="run",
        playbook=_playbook(playbook_run.playbook),
        inventory=str(playbook_run.inventory.absolute()),
        limit=",".join(playbook_run.limit) or None,
        verbosity=playbook_run.verbosity or None,
        forks=playbook_run.forks,
        cmdline=_options(playbook_run) or None,
        suppress_env_files=True,
        fact_cache_type="",
        quiet=True,
    )
    config.prepare()
    # `settings` are dropped when there is no settings file, so the results of prepare() are set.
    config.pexpect_timeout = _POLL_SECONDS
    config.suppress_ansible_output = True
    config.suppress_output_file = True
    config.env = {**place.environment, **_for_runner(place.directory / "artifacts" / "run")}
    return ansible_runner.Runner(
        config, event_handler=follower.put, cancel_callback=interrupt.requested.is_set
    )


def _settle(runner: ansible_runner.Runner, playbook_run: PlaybookRun) -> None:
    """Wait for a playbook whose end was not seen."""
    if runner.rc is None or runner.canceled:
        supervise.settle(playbook_run.lock_file, _SETTLE_SECONDS)


def _for_runner(artifacts: Path) -> dict[str, str]:
    """Return what ansible-runner's display plugin needs, and no more."""
    callbacks = Path(ansible_runner.__file__).parent / "display_callback" / "callback"
    return {
        "ANSIBLE_CALLBACK_PLUGINS": str(callbacks),
        "ANSIBLE_STDOUT_CALLBACK": "awx_display",
        "AWX_ISOLATED_DATA_DIR": str(artifacts),
        "RUNNER_OMIT_EVENTS": "False",
        "RUNNER_ONLY_FAILED_EVENTS": "False",
    }


def _playbook(name: str) -> str:
    # A name of a collection's playbook is no path, and the working directory is not ours.
    with contextlib.suppress(OSError):
        if "/" in name or name.endswith((".yml", ".yaml")):
            return str(Path(name).absolute())
    return name


def _options(playbook_run: PlaybookRun) -> str:
    options = ["--check", "--diff"] if playbook_run.check else []
    for file in playbook_run.vars_files:
        options += ["-e", f"@{file.absolute()}"]
    return shlex.join(options)
