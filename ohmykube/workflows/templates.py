"""Templates: list, build, prune and remove prepared machines that are there to be cloned."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ohmykube.errors import NotFoundError, PrerequisiteError
from ohmykube.kit import locks, parallel
from ohmykube.model.change import Plan
from ohmykube.planning.observation import Observed
from ohmykube.providers import registry
from ohmykube.providers.base import Templates
from ohmykube.state import layout
from ohmykube.steps import template_removal, templates
from ohmykube.steps.context import Context
from ohmykube.steps.create_nodes import prepare_nodes
from ohmykube.steps.preflight import preflight
from ohmykube.steps.proxy_urls import with_proxy
from ohmykube.steps.registry_logins import with_logins
from ohmykube.steps.resolve import resolved
from ohmykube.workflows import session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ohmykube.model.cluster import Cluster
    from ohmykube.providers.base import Provider, Template
    from ohmykube.steps.context import Services


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What a build came to."""

    templates: tuple[Template, ...]
    """Those that fit the cluster, old and new."""
    made: tuple[str, ...]
    """Keys of the new ones."""
    seconds: float


def _providers(services: Services, name: str) -> tuple[Templates, ...]:
    """Return the provider called ``name``; for ``auto`` all that keep templates.

    Which of them ``up`` takes depends on the host as it is now; templates of before stay where
    they are.
    """
    if name != registry.AUTO:
        return (_keeping(session.provider_of(services, name, None)),)
    installed = [one for one in registry.AUTO_ORDER if one in registry.names()]
    found = [session.provider_of(services, one, None) for one in installed]
    return tuple(one for one in found if isinstance(one, Templates))


def _keeping(provider: Provider) -> Templates:
    if not isinstance(provider, Templates):
        raise PrerequisiteError(
            f"provider {provider.name} keeps no templates",
            why="it cannot freeze and clone machines",
            hint="`ohmykube up` works without them; the providers nspawn and lima keep some",
            id="OMK-P-306",
        )
    return provider


def list_templates(services: Services, provider: str) -> tuple[Template, ...]:
    """Return the templates of a provider (``auto``: of all), the last used first; changes nothing.

    Raises:
        PrerequisiteError: the provider keeps none.
    """
    found = [t for one in _providers(services, provider) for t in one.templates()]
    return tuple(sorted(found, key=lambda one: (-one.last_used_at, one.key)))


def build(services: Services, cluster: Cluster) -> Built:
    """Build the templates that fit a cluster, as far as they are not there.

    Raises:
        PrerequisiteError: the provider keeps none, or this host cannot make machines.
        Else as ``up``.
    """
    started = services.clock.now()
    cluster = with_proxy(with_logins(cluster))
    provider = session.provider_of(services, cluster.provider, cluster)
    keeping = _keeping(provider)
    directory = services.paths.state / layout.TEMPLATE_BUILD
    ctx = Context(
        services=services,
        cluster=cluster,
        provider=provider,
        directory=directory,
        run_directory=directory,
    )
    preflight(ctx)
    with contextlib.ExitStack() as held:
        lock, _ = parallel.together(
            lambda: held.enter_context(resolved(ctx)),
            lambda: prepare_nodes(ctx, Observed(), Plan()),
        )
        built = templates.build_templates(ctx, lock)
    return Built(
        templates=tuple(t for t in keeping.templates() if t.key in built.keys),
        made=built.made,
        seconds=services.clock.now() - started,
    )


def prune(
    services: Services, provider: str, *, keep: int, max_bytes: int | None, dry_run: bool
) -> tuple[Template, ...]:
    """Remove the templates that were not used for longest; return them.

    Args:
        services: as always.
        provider: its name, or ``auto``.
        keep: how many of each role stay.
        max_bytes: how much the rest may take together; None for no limit.
        dry_run: remove nothing.

    Raises:
        LockedError: a build is under way.
        PrerequisiteError: the provider keeps none.
    """
    found = _providers(services, provider)
    with locks.exclusive(template_removal.lock_file(services), "the templates"):
        gone = [
            template_removal.prune(one, keep=keep, max_bytes=max_bytes, dry_run=dry_run)
            for one in found
        ]
    return tuple(template for of_one in gone for template in of_one)


def select(services: Services, provider: str, words: Sequence[str]) -> tuple[Template, ...]:
    """Return the templates whose keys begin with one of ``words``.

    Raises:
        NotFoundError: a word fits none.
        PrerequisiteError: the provider keeps none.
    """
    there = list_templates(services, provider)
    chosen: dict[str, Template] = {}
    for word in words:
        fitting = [template for template in there if word and template.key.startswith(word)]
        if not fitting:
            known = ", ".join(sorted(template.key for template in there)) or "none"
            raise NotFoundError(
                f'no template "{word}"',
                why=f"templates here: {known}",
                hint="ohmykube template list",
                id="OMK-P-305",
            )
        chosen |= {template.key: template for template in fitting}
    return tuple(chosen[key] for key in sorted(chosen))


def remove(services: Services, provider: str, chosen: Sequence[Template]) -> None:
    """Remove templates; machines that were cloned from them do not need them.

    Raises:
        LockedError: a build is under way.
        PrerequisiteError: the provider keeps none.
    """
    owners = _providers(services, provider)
    with locks.exclusive(template_removal.lock_file(services), "the templates"):
        for owner in owners:
            there = {template.key for template in owner.templates()}
            for template in chosen:
                if template.key in there:
                    owner.remove_template(template.key)
