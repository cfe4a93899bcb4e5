"""Run one of the collection's playbooks over the nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.ansible import launch
from ohmykube.ansible.outcome import PlaybookStatus
from ohmykube.errors import OhmykubeError
from ohmykube.state import layout

if TYPE_CHECKING:
    from ohmykube.steps.base import Run


class Playbook:
    """The outcome is judged by what happened on the nodes."""

    def __init__(self, playbook: str, title: str) -> None:
        self.name = playbook.rpartition(".")[2].replace("_", "-")
        self.title = title
        self.playbook = playbook

    def run(self, run: Run) -> str:
        """Do it.

        Raises:
            UnreachableError, NodeError: names node, task and reason.
            IntegrityError: the reason is a damaged artifact in the cache on this host.
        """
        if run.inventory is None:
            raise OhmykubeError("internal order of steps is wrong: no inventory yet")
        outcome = launch.run(
            launch.PlaybookRun(
                playbook=self.playbook,
                inventory=run.inventory,
                run_dir=run.run_directory / "ansible",
                fact_cache=run.directory / layout.FACTS,
                forks=max(10, len(run.cluster.nodes)),
                verbosity=run.services.verbosity,
                log_file=run.run_directory / "ansible.log",
                lock_file=run.directory / layout.PLAYBOOK_LOCK,
            ),
            run.services.reporter,
        )
        damaged = run.server.damaged if run.server is not None else None
        if damaged is not None and outcome.status is not PlaybookStatus.OK:
            raise damaged
        launch.raise_for_failure(outcome)
        changed = sum(stats.changed for stats in outcome.stats.values())
        run.changed = run.changed or changed > 0
        return f"{changed} changed" if changed else "nothing changed"
