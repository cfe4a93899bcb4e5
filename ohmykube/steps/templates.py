"""Clone machines from templates where that is possible; build templates."""

from __future__ import annotations

import contextlib
import hashlib
from typing import TYPE_CHECKING

from ohmykube import progress
from ohmykube.ansible import inventory, variables
from ohmykube.kit import files, locks, parallel
from ohmykube.model.cluster import Role, TemplateUse
from ohmykube.model.machine import MachineState
from ohmykube.model.names import HIDDEN
from ohmykube.providers.base import Templates
from ohmykube.steps import template_keys
from ohmykube.steps.base import Run
from ohmykube.steps.connect import Connect, disconnect
from ohmykube.steps.create_nodes import CreateNodes
from ohmykube.steps.playbook import Playbook
from ohmykube.steps.serve import Serve
from ohmykube.steps.tunnel import ENDPOINT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from ohmykube.model.cluster import Cluster
    from ohmykube.providers.base import NewTemplate

BUILD_SECONDS = 1800
"""How long to wait for another build."""


class UseTemplates:
    """Fills ``run.templates``; the machines that exist are of no concern to it."""

    name = "templates"
    title = "Look for templates"

    def skip_reason(self, run: Run) -> str | None:
        """Nothing to do when nothing can or need be cloned."""
        if run.cluster.template is TemplateUse.NEVER:
            return "not wanted"
        if not isinstance(run.provider, Templates):
            return f"provider {run.provider.name} has none"
        if not _roles_to_make(run):
            return "no machine to make"
        return None

    def run(self, run: Run) -> str:
        """Raise what a build raises."""
        wanted = wanted_templates(run)
        missing = missing_templates(run, wanted)
        if missing and run.cluster.template is TemplateUse.BUILD:
            build(run, missing)
            missing = {}
        run.templates = {r: new.key for r, new in wanted.items() if r not in missing}
        if not run.templates:
            return "none yet: nodes are made from scratch"
        return ", ".join(f"{role} {key}" for role, key in run.templates.items())


def _roles_to_make(run: Run) -> set[Role]:
    there = (MachineState.RUNNING, MachineState.STOPPED)
    made = {name for name, machine in run.machines.items() if machine.state in there}
    return {node.role for node in run.cluster.nodes if node.name not in made}


def provider_of(run: Run) -> Templates:
    """Return the run's provider, which can make templates."""
    if not isinstance(run.provider, Templates):
        raise TypeError(f"provider {run.provider.name} has no templates")
    return run.provider


def wanted_templates(run: Run) -> dict[Role, NewTemplate]:
    """Return the templates that fit the run's cluster; ``resolve`` came before."""
    return template_keys.wanted(
        run.cluster,
        run.need_lock(),
        provider_of(run),
        system_containers=run.provider.capabilities.system_containers,
    )


def missing_templates(run: Run, wanted: Mapping[Role, NewTemplate]) -> dict[Role, NewTemplate]:
    """Return those that are not there."""
    there = {template.key for template in provider_of(run).templates()}
    return {role: new for role, new in wanted.items() if new.key not in there}


def build(run: Run, wanted: Mapping[Role, NewTemplate]) -> tuple[NewTemplate, ...]:
    """Build those templates of ``wanted`` that are not there; return what was built.

    Prepares one machine for each role with the collection's own roles and freezes it. Two builds
    at once become one after the other, and the second finds all done. What a killed build left is
    removed first.

    Raises:
        LockedError: another build took too long.
        As the steps of ``up``.
    """
    provider = provider_of(run)
    paths = run.services.paths
    with locks.exclusive(
        paths.data / "templates.lock", "the building of templates", wait_seconds=BUILD_SECONDS
    ):
        provider.sweep_templates()
        missing = missing_templates(run, wanted)
        if not missing:
            return ()
        directory = paths.state / "template-build"
        files.remove_tree(directory)
        files.ensure_directory(directory)
        cluster = template_keys.build_cluster(run.cluster, _name(paths.data), missing)
        try:
            with _prepared(run, cluster, directory):
                pass
            nodes = {node.name: missing[node.role] for node in cluster.nodes}
            with progress.item(run.services.reporter, "templates", "freeze"):
                parallel.each(nodes, lambda node: provider.freeze(cluster.name, node, nodes[node]))
        except BaseException:
            provider.sweep_templates()
            raise
        files.remove_tree(directory)
        return tuple(missing.values())


def _name(data: Path) -> str:
    # Names are the host's, and another data directory may build at the same time.
    return f"{HIDDEN}template-{hashlib.sha256(str(data).encode()).hexdigest()[:8]}"


@contextlib.contextmanager
def _prepared(outer: Run, cluster: Cluster, directory: Path) -> Iterator[Run]:
    """Make and prepare the machines of a build; nothing is connected to them afterwards."""
    run = Run(
        services=outer.services,
        cluster=cluster,
        provider=outer.provider,
        directory=directory,
        run_directory=directory / "run",
        lock=outer.need_lock(),
    )
    files.ensure_directory(run.run_directory)
    try:
        with run.cleanup:
            for step in (CreateNodes(), Connect(), Serve()):
                step.run(run)
            run.inventory = inventory.write(
                run.run_directory / "inventory",
                cluster=cluster,
                lock=run.lock,
                machines=run.machines,
                access=None
                if run.cache_token is None
                else variables.CacheAccess(endpoint=ENDPOINT, token=run.cache_token),
                ssh_config=run.need_ssh_config(),
                system_containers=run.provider.capabilities.system_containers,
            )
            Playbook(template_keys.PLAYBOOK, "Prepare the templates").run(run)
            yield run
    finally:
        disconnect(directory)
