"""What every add-on must be, as tests: subclass ``AddonConformance`` and name yours.

class TestMine(AddonConformance):
    name = "mine"
"""

from __future__ import annotations

import datetime as dt
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from ohmykube.addons import registry, selection
from ohmykube.cache import catalog, releases
from ohmykube.kit import digest, paths
from ohmykube.model import names
from ohmykube.model.addon import CNI
from ohmykube.model.artifact import Kind
from ohmykube.model.cluster import NO_CNI, Cluster, Network, Node, Role, WantedAddon

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ohmykube.addons.base import Addon

_ROLLOUT = re.compile(r"[a-z0-9-]+/(?:daemonset|deployment|statefulset)/[a-z0-9.-]+")
_REFERENCE = re.compile(r"[a-z0-9.-]+\.[a-z]+(?::[0-9]+)?/[a-z0-9._/-]+:[A-Za-z0-9._-]+")
_COLLECTION = "ohmykube.cluster."


class AddonConformance:
    """Every MUST of ``addons.base``, and what ``AddonFacts`` promises."""

    name: str
    """Of the entry point."""
    values: Mapping[str, Any] = {}
    """Values that the add-on takes, for its variables."""

    @pytest.fixture
    def addon(self) -> Addon:
        """Give the add-on as everybody gets it."""
        return registry.load(self.name)

    @pytest.fixture(params=[0, -1], ids=["preferred", "last"])
    def version(self, addon: Addon, request: pytest.FixtureRequest) -> str:
        """Give one of its versions."""
        found: str = addon.facts.versions[request.param]
        return found

    @pytest.fixture
    def cluster(self, addon: Addon, version: str) -> Cluster:
        """Give a cluster with the add-on and all that it needs."""
        facts = addon.facts
        others = [registry.load(name).facts for name in facts.needs]
        networks = [one.name for one in (facts, *others) if CNI in one.provides]
        wanted = [WantedAddon(name=one.name, version=one.versions[0]) for one in others]
        return Cluster(
            name="dev",
            kubernetes_version=_fitting(addon, version),
            provider="fake",
            nodes=(Node(name="cp1", role=Role.CONTROL_PLANE), Node(name="w1", role=Role.WORKER)),
            network=Network(cni=networks[0] if networks else NO_CNI),
            addons=(*wanted, WantedAddon(name=self.name, version=version, values=self.values)),
        )

    def test_it_says_what_it_is(self, addon: Addon) -> None:
        """Texts are there, names are such."""
        facts = addon.facts
        assert facts.name == self.name
        assert names.is_name(facts.name)
        assert facts.summary
        assert "\n" not in facts.summary
        assert facts.versions
        assert len(set(facts.versions)) == len(facts.versions)
        assert facts.name not in (*facts.needs, *facts.conflicts)
        for rollout in facts.readiness:
            assert _ROLLOUT.fullmatch(rollout), rollout

    def test_its_artifacts_are_its_own_and_only_for_those_who_want_it(
        self, addon: Addon, version: str
    ) -> None:
        """The set is named and conditioned after it."""
        found = addon.set(version)
        kind = "cni" if CNI in addon.facts.provides else "addon"
        assert (found.name, found.version) == (self.name, version)
        assert found.condition == f"{kind}: {self.name}"
        assert addon.set(version) == found
        packages = {component.role for component in found.components}
        ours = {c.role for c in releases.release(releases.default_version()).components}
        assert not packages & ours
        if found.end_of_life:
            assert dt.date.fromisoformat(found.end_of_life).isoformat() == found.end_of_life

    def test_every_artifact_can_be_checked(self, addon: Addon, version: str) -> None:
        """Images have full references; files have digests, for all nodes or each architecture."""
        found = addon.set(version)
        for image in found.images:
            assert _REFERENCE.fullmatch(image.ref), image.ref
            assert set(image.node_roles) <= set(catalog.EVERYWHERE)
        for file in found.files:
            assert file.module is None or digest.is_digest(file.module.digest), file.name
        every = [file.downloads for file in found.files if file.module is None]
        for downloads in (*every, *(component.downloads for component in found.components)):
            assert set(downloads) in ({catalog.ANY}, set(catalog.ARCHITECTURES))
            for download in downloads.values():
                assert digest.is_digest(download.digest), download.url
        for file in found.files:
            assert file.kind in (Kind.FILE, Kind.CHART)

    def test_its_role_is_there_and_knows_its_variables(
        self, addon: Addon, version: str, cluster: Cluster
    ) -> None:
        """What the playbook is told has the role's prefix and is in its argument specs."""
        facts, found = addon.facts, addon.set(version)
        options = _options(facts.role)
        (wanted,) = [one for one in cluster.addons if one.name == self.name]
        told = addon.variables(cluster, wanted)
        assert json.loads(json.dumps(told)) == told
        for name in (*told, *facts.removal, *found.variables, *found.image_variables):
            assert name in options, f"{name} is no variable of {facts.role}"
        assert set(found.image_variables.values()) <= {image.name for image in found.images}

    def test_values_that_are_none_of_its_own_are_refused(self, addon: Addon) -> None:
        """The schema is strict, and takes none at all."""
        schema = addon.facts.values
        if schema is None:
            assert not self.values
            return
        assert schema.model_validate({}) is not None
        assert schema.model_validate(dict(self.values)) is not None
        with pytest.raises(ValueError, match="no-such-value"):
            schema.model_validate({"no-such-value": 1})

    def test_a_cluster_that_wants_it_gets_it(self, cluster: Cluster) -> None:
        """Its set is among those that are resolved, and it comes after what it needs."""
        release = selection.release_of(cluster)
        assert self.name in [one.name for one in release.sets]
        order = [one.name for one in selection.applied(cluster)]
        needs = registry.load(self.name).facts.needs
        assert all(order.index(name) < order.index(self.name) for name in needs)


def _fitting(addon: Addon, version: str) -> str:
    """Return a version of Kubernetes that the add-on works with."""
    requires = addon.set(version).requires
    return next(one for one in reversed(releases.buildable()) if requires.fits(one))


def _options(role: str) -> set[str]:
    """Return the variables in the argument specs of a role."""
    specs = list(_places(role))
    assert specs, f"there is no role {role}"
    found = yaml.safe_load(specs[0].read_text())["argument_specs"]["main"]["options"]
    return set(found)


def _places(role: str) -> Iterator[Path]:
    if role.startswith(_COLLECTION):
        top = paths.collections_root() / "ansible_collections/ohmykube/cluster/roles"
        directory = top / role.removeprefix(_COLLECTION)
    else:
        directory = Path(role)
        assert directory.is_absolute(), f"{role} is neither of {_COLLECTION}* nor a path"
    for name in ("meta/argument_specs.yml", "meta/argument_specs.yaml"):
        if (directory / name).is_file():
            yield directory / name
