"""Clone machines from templates where that is possible; build templates."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ohmykube import progress
from ohmykube.ansible import inventory, variables
from ohmykube.errors import IntegrityError, ProviderError
from ohmykube.kit import failures, files, locks, parallel
from ohmykube.model.change import Plan
from ohmykube.model.cluster import Role, TemplateUse
from ohmykube.model.machine import MachineState
from ohmykube.model.names import HIDDEN
from ohmykube.planning.observation import Observed
from ohmykube.providers.base import NOT_FROZEN, Templates
from ohmykube.state import layout
from ohmykube.steps import template_keys, template_removal
from ohmykube.steps.connect_nodes import connect_nodes, disconnect
from ohmykube.steps.context import Context
from ohmykube.steps.create_nodes import create_nodes
from ohmykube.steps.run_playbook import NODE_TEMPLATE, run_playbook
from ohmykube.steps.serve import serve
from ohmykube.steps.step import Step, WithinStep
from ohmykube.steps.tunnel import ENDPOINT

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ohmykube.model.artifact import ArtifactLock
    from ohmykube.model.cluster import Cluster, Node
    from ohmykube.model.machine import Machine
    from ohmykube.providers.base import NewTemplate

BUILD_SECONDS = 1800
"""How long to wait for another build."""
KEPT = 3
"""Templates of each role that stay when a new one was built: those that were used last."""


USE_TEMPLATES = Step("templates", "Look for templates")
BUILD_TEMPLATES = Step("build-templates", "Build the templates")


def use_templates(
    ctx: Context, lock: ArtifactLock, machines: Mapping[str, Machine]
) -> dict[Role, str]:
    """Return the key of the template to clone for the nodes of a role; builds first if that pays.

    Args:
        ctx: whose cluster.
        lock: its artifacts.
        machines: those that exist, which are of no concern here.

    Raises:
        As ``build``.
    """
    if reason := _nothing_to_clone(ctx, machines):
        USE_TEMPLATES.skipped(ctx.services, reason)
        return {}
    with USE_TEMPLATES.running(ctx.services) as result:
        template_removal.sweep(ctx.services, ctx.provider)
        roles = {node.role for node in _to_make(ctx, machines)}
        wanted = {r: new for r, new in wanted_templates(ctx, lock).items() if r in roles}
        missing = missing_templates(ctx, wanted)
        if missing and pays(ctx, machines, missing) and _built(ctx, lock, missing):
            missing = {}
        found = {role: new.key for role, new in wanted.items() if role not in missing}
        cloned = ", ".join(role.value for role in found)
        result.detail = f"{cloned} cloned" if found else "none yet: nodes are made from scratch"
    return found


def _nothing_to_clone(ctx: Context, machines: Mapping[str, Machine]) -> str:
    """Return why nothing can or need be cloned; empty when something can."""
    if ctx.cluster.template is TemplateUse.NEVER:
        return "not wanted"
    if not isinstance(ctx.provider, Templates):
        return f"provider {ctx.provider.name} has none"
    return "" if _to_make(ctx, machines) else "no machine to make"


def _built(ctx: Context, lock: ArtifactLock, missing: Mapping[Role, NewTemplate]) -> bool:
    """Build; where that was not asked for, a machine that cannot be frozen is only told."""
    try:
        build(ctx, lock, missing)
    except (ProviderError, IntegrityError) as error:
        if error.id not in NOT_FROZEN or ctx.cluster.template is TemplateUse.BUILD:
            raise
        text = f"no template was made: {error.message}: {error.why}"
        ctx.services.reporter.emit(progress.Message(text=text, level="warning"))
        return False
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """The templates that fit a cluster."""

    keys: frozenset[str]
    made: tuple[str, ...]
    """Those of them that were built now."""


def build_templates(ctx: Context, lock: ArtifactLock) -> Built:
    """Have the templates of a cluster built, whether that pays or not; raises as ``build``."""
    with BUILD_TEMPLATES.running(ctx.services) as result:
        wanted = wanted_templates(ctx, lock)
        made = build(ctx, lock, wanted)
        result.detail = f"{len(made)} built" if made else "all there"
    return Built(keys=frozenset(new.key for new in wanted.values()), made=made)


def pays(
    ctx: Context, machines: Mapping[str, Machine], missing: Mapping[Role, NewTemplate]
) -> bool:
    """Tell whether to build templates first.

    Preparing a machine takes the same work for a template as for a node, so from the first node on
    that only has to be cloned, building first takes no longer.
    """
    if ctx.cluster.template is TemplateUse.BUILD:
        return True
    served = [node for node in _to_make(ctx, machines) if node.role in missing]
    return len(served) > len(missing)


def _to_make(ctx: Context, machines: Mapping[str, Machine]) -> list[Node]:
    there = (MachineState.RUNNING, MachineState.STOPPED)
    made = {name for name, machine in machines.items() if machine.state in there}
    return [node for node in ctx.cluster.nodes if node.name not in made]


def provider_of(ctx: Context) -> Templates:
    """Return the run's provider, which can make templates."""
    if not isinstance(ctx.provider, Templates):
        raise TypeError(f"provider {ctx.provider.name} has no templates")
    return ctx.provider


def wanted_templates(ctx: Context, lock: ArtifactLock) -> dict[Role, NewTemplate]:
    """Return the templates that fit the run's cluster with these artifacts."""
    return template_keys.wanted(ctx.cluster, lock, provider_of(ctx), ctx.node_traits)


def missing_templates(ctx: Context, wanted: Mapping[Role, NewTemplate]) -> dict[Role, NewTemplate]:
    """Return those that are not there."""
    there = {template.key for template in provider_of(ctx).templates()}
    return {role: new for role, new in wanted.items() if new.key not in there}


def build(ctx: Context, lock: ArtifactLock, wanted: Mapping[Role, NewTemplate]) -> tuple[str, ...]:
    """Build those templates of ``wanted`` that are not there; return the keys of what was built.

    Prepares one machine for each role with the collection's own roles and freezes it. Two builds
    at once become one after the other, and the second finds all done. What a killed build left is
    removed first.

    Raises:
        LockedError: another build took too long.
        As the steps of ``up``.
    """
    provider = provider_of(ctx)
    paths = ctx.services.paths
    path = template_removal.lock_file(ctx.services)
    with locks.exclusive(path, "the building of templates", wait_seconds=BUILD_SECONDS):
        template_removal.clean(ctx.services, provider)
        missing = missing_templates(ctx, wanted)
        if not missing:
            return ()
        directory = files.ensure_directory(paths.state / layout.TEMPLATE_BUILD)
        cluster = template_keys.build_cluster(ctx.cluster, build_name(paths.data), missing)
        nodes = {node.name: missing[node.role] for node in cluster.nodes}
        with (
            failures.undoing(provider.sweep_templates),
            progress.item(ctx.services.reporter, "templates", f"build {', '.join(nodes)}"),
        ):
            _prepare(ctx, lock, cluster, directory)
            parallel.each(nodes, lambda node: provider.freeze(cluster.name, node, nodes[node]))
        template_removal.remove(directory)
        template_removal.prune(provider, keep=KEPT)
        return tuple(new.key for new in missing.values())


def build_name(data: Path) -> str:
    """Return the name of the cluster in which templates below ``data`` are built."""
    # Names are the host's, and another data directory may build at the same time.
    return f"{HIDDEN}template-{hashlib.sha256(str(data).encode()).hexdigest()[:8]}"


def _prepare(outer: Context, lock: ArtifactLock, cluster: Cluster, directory: Path) -> None:
    """Make and prepare the machines of a build; nothing is connected to them afterwards."""
    ctx = Context(
        services=replace(outer.services, reporter=WithinStep(outer.services.reporter)),
        cluster=cluster,
        provider=outer.provider,
        directory=directory,
        run_directory=files.ensure_directory(directory / "run"),
        options=outer.options,
    )
    with failures.closing(lambda: disconnect(directory)):
        nodes = connect_nodes(ctx, create_nodes(ctx, Observed(), Plan(), {}))
        with serve(ctx, nodes, lock) as served:
            access = variables.CacheAccess(endpoint=ENDPOINT, token=served.token)
            hosts, shared = inventory.compose(
                cluster=cluster,
                lock=lock,
                machines=nodes.machines,
                access=access,
                ssh_config=nodes.ssh_config,
                node_traits=ctx.node_traits,
            )
            path = inventory.write(ctx.run_directory / "inventory", hosts, shared)
            run_playbook(ctx, NODE_TEMPLATE, path, served.server)
