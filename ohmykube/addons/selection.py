"""The add-ons of a cluster: which, in which order, with which artifacts and variables."""

from __future__ import annotations

import graphlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ohmykube.addons import registry
from ohmykube.cache import releases
from ohmykube.errors import PrerequisiteError
from ohmykube.model.addon import AppliedAddon
from ohmykube.model.cluster import NO_CNI, WantedAddon

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ohmykube.addons.base import Addon
    from ohmykube.cache.catalog import ArtifactSet, Release
    from ohmykube.model.cluster import Cluster


@dataclass(frozen=True, slots=True, kw_only=True)
class Selected:
    """An add-on of a cluster."""

    addon: Addon
    wanted: WantedAddon

    @property
    def set(self) -> ArtifactSet:
        """Its artifacts."""
        return self.addon.set(self.wanted.version)


def selected(cluster: Cluster) -> tuple[Selected, ...]:
    """Return the add-ons of a cluster: the pod network first, each after those that it needs.

    Raises:
        NotFoundError, PrerequisiteError: one is not installed, or cannot be loaded.
    """
    wanted = {one.name: one for one in cluster.addons}
    cni = cluster.network.cni
    found = {name: registry.load(name) for name in dict.fromkeys((cni, *wanted)) if name != NO_CNI}
    if cni in found and cni not in wanted:
        wanted[cni] = WantedAddon(name=cni, version=found[cni].facts.versions[0])
    return tuple(Selected(addon=found[name], wanted=wanted[name]) for name in _ordered(found))


def _ordered(found: Mapping[str, Addon]) -> list[str]:
    """Return names with each after those that it needs, else as they came."""
    needs = {name: [n for n in addon.facts.needs if n in found] for name, addon in found.items()}
    try:
        return list(graphlib.TopologicalSorter(needs).static_order())
    except graphlib.CycleError as error:
        raise PrerequisiteError(
            "add-ons need each other, so none of them can be the first",
            why=" needs ".join(reversed(error.args[1])),
            hint="tell whoever made them",
            id="OMK-H-311",
        ) from error


def release_of(cluster: Cluster) -> Release:
    """Return all sets of artifacts that a cluster consists of.

    Raises:
        ConfigError: a version of Kubernetes that is not supported.
        NotFoundError, PrerequisiteError: as ``selected``.
    """
    found = [one.set for one in selected(cluster)]
    return releases.release(cluster.kubernetes_version).with_sets(
        [one for one in found if one.applies_to(cluster)]
    )


def applied(cluster: Cluster) -> tuple[AppliedAddon, ...]:
    """Return what the playbook and the record are told of the add-ons; raises as ``selected``."""
    return tuple(_applied(one, cluster) for one in selected(cluster))


def _applied(one: Selected, cluster: Cluster) -> AppliedAddon:
    facts = one.addon.facts
    variables: dict[str, Any] = dict(one.addon.variables(cluster, one.wanted))
    return AppliedAddon(
        name=facts.name,
        version=one.wanted.version,
        role=facts.role,
        namespace=one.wanted.namespace or facts.namespace,
        provides=facts.provides,
        variables=variables,
        removal=dict(facts.removal),
        owns=facts.owns,
    )


def known_sets() -> tuple[ArtifactSet, ...]:
    """Return the preferred artifacts of all add-ons that are installed; raises as ``selected``."""
    found = [registry.load(name) for name in registry.names()]
    return tuple(one.set(version) for one in found for version in one.facts.versions)
