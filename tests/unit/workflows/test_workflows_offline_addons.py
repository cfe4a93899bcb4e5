"""`up` without a network takes add-ons from the cache, and tells what is missing of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml

from ohmykube.addons import selection
from ohmykube.config import load
from ohmykube.errors import OhmykubeError
from ohmykube.kit import paths
from ohmykube.steps.context import Services
from ohmykube.workflows.up import up
from ohmykube.workflows.up_values import UpOptions
from tests import foreign_addon, plenty
from tests.unit.workflows.test_workflows_up import Place

if TYPE_CHECKING:
    from pathlib import Path

    from ohmykube.model.cluster import Cluster

IMAGE = "registry.example.com/tools/echo:v1.1.0"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Give a host that really resolves, and on which the package of an add-on is installed."""
    foreign_addon.install(tmp_path / "site", monkeypatch)
    return Place(tmp_path, monkeypatch, lock=None)


def cluster(*addons: str) -> Cluster:
    nodes = {"workers": {"count": 1}}
    spec: dict[str, Any] = {"provider": {"name": "fake"}, "nodes": nodes, "addons": [*addons]}
    metadata = {"name": "dev"}
    document = {"apiVersion": "ohmykube.dev/v1", "kind": "Cluster", "metadata": metadata}
    return load.from_document({**document, "spec": spec}, desired=True)


def bring(place: Place, wanted: Cluster) -> dict[str, Any]:
    """Do it offline; return the variables of the group and of all hosts, by name of host."""
    services = Services(paths=paths.from_environment(), reporter=place.reporter)
    up(services, wanted, UpOptions(offline=True, may_delete=None))
    text = place.plays[-1].inventory.read_text().replace("!unsafe ", "")
    groups = yaml.safe_load(text)["all"]["children"]
    hosts = {n: v for one in groups.values() for n, v in one.get("hosts", {}).items()}
    return {"": groups["k8s_cluster"]["vars"], **hosts}


def images(variables: dict[str, Any]) -> set[str]:
    return {image["ref"] for image in variables["cache_images"]}


def test_an_add_on_comes_from_the_cache(place: Place) -> None:
    wanted = cluster("echo")
    plenty.fill(paths.from_environment().cache, cluster=wanted)
    found = bring(place, wanted)
    (echo,) = [one for one in selection.applied(wanted) if one.name == "echo"]
    assert found[""]["cluster_addon_roles"] == [echo.role]
    assert (found[""]["echo_text"], found[""]["echo_image"]) == ("hello", IMAGE)
    assert (IMAGE in images(found["w1"]), IMAGE in images(found["cp1"])) == (True, False)
    place.plays.clear()
    gone = bring(place, cluster())
    assert gone[""]["cluster_addon_roles"] == [echo.role]
    assert gone[""]["echo_state"] == "absent", "it is removed without anything from the network"
    assert IMAGE not in images(gone["w1"])


@pytest.mark.parametrize("exists", [False, True])
def test_what_is_missing_of_an_add_on_is_named_before_anything_is_made(
    place: Place, *, exists: bool
) -> None:
    plenty.fill(paths.from_environment().cache, cluster=cluster())
    if exists:
        bring(place, cluster())
    before = (place.machines(), place.recorded() if exists else None)
    place.plays.clear()
    with pytest.raises(OhmykubeError) as caught:
        bring(place, cluster("echo"))
    assert IMAGE in f"{caught.value.message} {caught.value.why}"
    assert "flannel" not in str(caught.value.why)
    assert place.plays == []
    assert (place.machines(), place.recorded() if exists else None) == before
