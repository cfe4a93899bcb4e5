"""Clone machines from templates where that is possible; build templates."""

from __future__ import annotations

import contextlib
import hashlib
from typing import TYPE_CHECKING

from ohmykube import progress
from ohmykube.ansible import inventory, variables
from ohmykube.errors import IntegrityError, LockedError, ProviderError
from ohmykube.kit import failures, files, locks, parallel
from ohmykube.model.cluster import Role, TemplateUse
from ohmykube.model.machine import MachineState
from ohmykube.model.names import HIDDEN
from ohmykube.providers.base import NOT_FROZEN, Templates
from ohmykube.state import layout
from ohmykube.steps import template_keys
from ohmykube.steps.base import Run
from ohmykube.steps.connect import Connect, disconnect
from ohmykube.steps.create_nodes import CreateNodes
from ohmykube.steps.playbook import Playbook
from ohmykube.steps.serve import Serve
from ohmykube.steps.tunnel import ENDPOINT

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ohmykube.model.cluster import Cluster, Node
    from ohmykube.providers.base import NewTemplate, Provider, Template
    from ohmykube.steps.base import Services

BUILD_SECONDS = 1800
"""How long to wait for another build."""
KEPT = 3
"""Templates of each role that stay when a new one was built: those that were used last."""


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
        if not _to_make(run):
            return "no machine to make"
        return None

    def run(self, run: Run) -> str:
        """Raise what a build raises."""
        sweep(run.services, run.provider)
        roles = {node.role for node in _to_make(run)}
        wanted = {role: new for role, new in wanted_templates(run).items() if role in roles}
        missing = missing_templates(run, wanted)
        if missing and pays(run, missing) and self._built(run, missing):
            missing = {}
        run.templates = {r: new.key for r, new in wanted.items() if r not in missing}
        if not run.templates:
            return "none yet: nodes are made from scratch"
        return f"{', '.join(role.value for role in run.templates)} cloned"

    @staticmethod
    def _built(run: Run, missing: Mapping[Role, NewTemplate]) -> bool:
        """Build; where that was not asked for, a machine that cannot be frozen is only said."""
        try:
            build(run, missing)
        except (ProviderError, IntegrityError) as error:
            if error.id not in NOT_FROZEN or run.cluster.template is TemplateUse.BUILD:
                raise
            text = f"no template was made: {error.message}: {error.why}"
            run.services.reporter.emit(progress.Message(text=text, level="warning"))
            return False
        return True


class BuildTemplates:
    """Has the templates of the run's cluster built, whether that pays or not."""

    name = "build-templates"
    title = "Build the templates"

    def run(self, run: Run) -> str:
        """Raise what a build raises."""
        wanted = wanted_templates(run)
        made = build(run, wanted)
        run.templates = {role: new.key for role, new in wanted.items()}
        return f"{len(made)} built" if made else "all there"


def pays(run: Run, missing: Mapping[Role, NewTemplate]) -> bool:
    """Tell whether to build templates first.

    Preparing a machine takes the same work for a template as for a node, so from the first node on
    that only has to be cloned, building first takes no longer.
    """
    if run.cluster.template is TemplateUse.BUILD:
        return True
    served = [node for node in _to_make(run) if node.role in missing]
    return len(served) > len(missing)


def _to_make(run: Run) -> list[Node]:
    there = (MachineState.RUNNING, MachineState.STOPPED)
    made = {name for name, machine in run.machines.items() if machine.state in there}
    return [node for node in run.cluster.nodes if node.name not in made]


def lock_file(services: Services) -> Path:
    """Return the lock of whoever builds or removes templates."""
    return services.paths.data / "templates.lock"


def sweep(services: Services, provider: Provider) -> None:
    """Remove what a killed build left, unless another one is under way."""
    if isinstance(provider, Templates):
        with (
            contextlib.suppress(LockedError),
            locks.exclusive(lock_file(services), "the templates"),
        ):
            _clean(services, provider)


def _clean(services: Services, provider: Templates) -> None:
    """Remove machines, connections and files of builds that did not end."""
    directory = services.paths.state / layout.TEMPLATE_BUILD
    disconnect(directory)
    provider.sweep_templates()
    _remove(directory)


def prune(
    provider: Templates, *, keep: int, max_bytes: int | None = None, dry_run: bool = False
) -> tuple[Template, ...]:
    """Remove the templates that were not used for longest; for the holder of the lock.

    Args:
        provider: whose.
        keep: how many of each role stay.
        max_bytes: how much those may take together.
        dry_run: remove nothing.

    Returns:
        What was removed, or would be.
    """
    left = dict.fromkeys(Role, keep)
    room = max_bytes
    gone = []
    for template in sorted(provider.templates(), key=lambda one: -one.last_used_at):
        role = Role(template.role)
        fits = room is None or template.size <= room
        if left[role] > 0 and fits:
            left[role] -= 1
            room = None if room is None else room - template.size
        else:
            gone.append(template)
    if not dry_run:
        for template in gone:
            provider.remove_template(template.key)
    return tuple(gone)


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
        run.nature,
    )


def missing_templates(run: Run, wanted: Mapping[Role, NewTemplate]) -> dict[Role, NewTemplate]:
    """Return those that are not there."""
    there = {template.key for template in provider_of(run).templates()}
    return {role: new for role, new in wanted.items() if new.key not in there}


def build(run: Run, wanted: Mapping[Role, NewTemplate]) -> tuple[str, ...]:
    """Build those templates of ``wanted`` that are not there; return the keys of what was built.

    Prepares one machine for each role with the collection's own roles and freezes it. Two builds
    at once become one after the other, and the second finds all done. What a killed build left is
    removed first.

    Raises:
        LockedError: another build took too long.
        As the steps of ``up``.
    """
    provider = provider_of(run)
    paths = run.services.paths
    path = lock_file(run.services)
    with locks.exclusive(path, "the building of templates", wait_seconds=BUILD_SECONDS):
        _clean(run.services, provider)
        missing = missing_templates(run, wanted)
        if not missing:
            return ()
        directory = files.ensure_directory(paths.state / layout.TEMPLATE_BUILD)
        cluster = template_keys.build_cluster(run.cluster, build_name(paths.data), missing)
        nodes = {node.name: missing[node.role] for node in cluster.nodes}
        with (
            failures.undoing(provider.sweep_templates),
            progress.item(run.services.reporter, "templates", f"build {', '.join(nodes)}"),
        ):
            _prepare(run, cluster, directory)
            parallel.each(nodes, lambda node: provider.freeze(cluster.name, node, nodes[node]))
        _remove(directory)
        run.templates_made = tuple(new.key for new in missing.values())
        prune(provider, keep=KEPT)
        return run.templates_made


def _remove(directory: Path) -> None:
    files.remove_tree(directory)
    layout.remove_control_directory(directory)


def build_name(data: Path) -> str:
    """Return the name of the cluster in which templates below ``data`` are built."""
    # Names are the host's, and another data directory may build at the same time.
    return f"{HIDDEN}template-{hashlib.sha256(str(data).encode()).hexdigest()[:8]}"


def _prepare(outer: Run, cluster: Cluster, directory: Path) -> None:
    """Make and prepare the machines of a build; nothing is connected to them afterwards."""
    run = Run(
        services=outer.services,
        cluster=cluster,
        provider=outer.provider,
        directory=directory,
        run_directory=directory / "run",
        lock=outer.need_lock(),
        offline=outer.offline,
    )
    files.ensure_directory(run.run_directory)
    with failures.closing(lambda: disconnect(directory)), failures.closing(run.cleanup.close):
        for step in (CreateNodes(), Connect(), Serve()):
            step.run(run)
        access = None
        if run.cache_token is not None:
            access = variables.CacheAccess(endpoint=ENDPOINT, token=run.cache_token)
        hosts, shared = inventory.compose(
            cluster=cluster,
            lock=run.lock,
            machines=run.machines,
            access=access,
            ssh_config=run.need_ssh_config(),
            nature=run.nature,
        )
        run.inventory = inventory.write(run.run_directory / "inventory", hosts, shared)
        Playbook(template_keys.PLAYBOOK, "Prepare the templates").run(run)
