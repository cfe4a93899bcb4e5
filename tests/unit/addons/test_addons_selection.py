"""Which add-ons a cluster has: their order, artifacts and variables; doors that lead nowhere."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import pytest

from ohmykube.addons import registry, selection
from ohmykube.cache import resolve
from ohmykube.cache.bundle import contents
from ohmykube.cache.store import Store
from ohmykube.errors import NotFoundError, PrerequisiteError
from ohmykube.model.addon import AppliedAddon
from ohmykube.model.artifact import Kind
from ohmykube.model.cluster import Cluster, Network, Node, Role, WantedAddon
from ohmykube.testing.reporter import RecordingReporter
from tests import foreign_addon
from tests.plenty import plenty

if TYPE_CHECKING:
    from pathlib import Path

ECHO = WantedAddon(name="echo", version="1.0.0", values={"text": "good morning"})
CLUSTER = Cluster(
    name="dev",
    kubernetes_version="1.36.3",
    provider="fake",
    nodes=(Node(name="cp1", role=Role.CONTROL_PLANE),),
)


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return foreign_addon.install(tmp_path / "site", monkeypatch)


def cluster(*addons: WantedAddon, cni: str = "flannel") -> Cluster:
    return dataclasses.replace(CLUSTER, addons=addons, network=Network(cni=cni))


def names(found: Cluster) -> list[str]:
    return [one.name for one in selection.applied(found)]


def test_a_cluster_has_its_pod_network_first() -> None:
    ping = WantedAddon(name="ping", version="1.1.0")
    assert names(cluster()) == ["flannel"]
    assert names(cluster(cni="none")) == []
    assert names(cluster(ping, ECHO)) == ["flannel", "ping", "echo"]
    assert names(cluster(ECHO, ping, cni="none")) == ["echo", "ping"]


def test_an_add_on_comes_after_those_that_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    needing = type(registry.load("ping"))
    facts = dataclasses.replace(needing.facts, needs=("echo",))
    monkeypatch.setattr(needing, "facts", facts)
    ping = WantedAddon(name="ping", version="1.1.0")
    assert names(cluster(ping, ECHO)) == ["flannel", "echo", "ping"]
    other = type(registry.load("echo"))
    monkeypatch.setattr(other, "facts", dataclasses.replace(other.facts, needs=("ping",)))
    with pytest.raises(PrerequisiteError, match="need each other") as caught:
        selection.applied(cluster(ping, ECHO))
    assert "ping" in (caught.value.why or "")


def test_its_artifacts_are_those_of_the_version_that_is_wanted() -> None:
    release = selection.release_of(cluster(ECHO))
    assert [one.name for one in release.sets] == ["containerd", "kubernetes", "flannel", "echo"]
    assert release.image("echo").ref == "registry.example.com/tools/echo:v1.0.0"
    assert [one.name for one in selection.release_of(cluster(cni="none")).sets] == [
        "containerd",
        "kubernetes",
    ]


def test_what_is_applied_is_plain_data() -> None:
    _, echo = selection.applied(cluster(ECHO))
    assert (echo.version, echo.namespace, echo.provides) == ("1.0.0", "echo", ())
    assert echo.variables == {"echo_text": "good morning", "echo_namespace": "echo"}
    assert echo.removal == {"echo_state": "absent"}
    plain = json.loads(json.dumps(dataclasses.asdict(echo)))
    assert dataclasses.asdict(AppliedAddon(**plain)) == {
        **dataclasses.asdict(echo),
        "provides": [],
        "owns": ["what was echoed"],
    }


def test_a_foreign_add_on_is_resolved_locked_and_bundled(
    tmp_path: Path,
) -> None:
    wanted = cluster(ECHO)
    store = Store(tmp_path / "cache")
    release = selection.release_of(wanted)
    lock = resolve.resolve(
        wanted, release, store, RecordingReporter(), load=plenty, architectures=("amd64",)
    )
    mine = lock.sets[-1]
    assert (mine.name, mine.version) == ("echo", "1.0.0")
    assert mine.variables == {"echo_image": "registry.example.com/tools/echo:v1.0.0"}
    assert [(a.kind, a.arch, a.node_roles) for a in mine.artifacts] == [
        (Kind.IMAGE, "amd64", ("worker",)),
        (Kind.CHART, "noarch", ()),
        (Kind.FILE, "noarch", ()),
    ]
    assert mine.artifacts[0] in lock.images("worker", "amd64")
    assert mine.artifacts[0] not in lock.images("control-plane", "amd64")
    roles = {ref.name: role for ref, role in contents.of_lock(store, lock)}
    assert roles["registry.example.com/tools/echo:v1.0.0"] == "node"
    assert roles["echo/echo.tgz"] == "host"
    components = contents.components([r for r, _ in contents.of_lock(store, lock)], release)
    assert "echo/echo.tgz" in {one.name for one in components}


def test_doors_that_lead_nowhere_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFoundError, match='there is no add-on "nowhere"'):
        registry.load("nowhere")
    points = "[ohmykube.addons]\nnothing = echo_addon:NoAddon\n"
    foreign_addon.install(tmp_path / "other", monkeypatch, points=points)
    with pytest.raises(PrerequisiteError, match='"nothing" is not an Addon') as caught:
        registry.load("nothing")
    assert caught.value.id == "OMK-H-310"


def test_a_version_that_it_has_not_is_told() -> None:
    echo = registry.load("echo")
    assert registry.version_of(echo, None) == "1.1.0"
    assert registry.version_of(echo, "1.0.0") == "1.0.0"
    with pytest.raises(NotFoundError, match="no version 2"):
        registry.version_of(echo, "2")
