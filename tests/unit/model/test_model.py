from __future__ import annotations

import ast
import dataclasses
import sys
import typing
from pathlib import Path

import pytest

from ohmykube.model import artifact, cluster, machine
from ohmykube.model.artifact import Kind, LockedArtifact, PackageRole
from ohmykube.model.cluster import Cluster, Node, Role, Taint
from tests import artifact_locks

MODULES = (artifact, cluster, machine)
CLASSES = [
    found
    for module in MODULES
    for found in vars(module).values()
    if dataclasses.is_dataclass(found) and isinstance(found, type)
]


def locked(kind: Kind, name: str, size: int = 1, **extra: typing.Any) -> LockedArtifact:
    digest = "sha256:" + "0" * 64
    return LockedArtifact(
        kind=kind,
        name=name,
        version="1",
        arch="amd64",
        digest=digest,
        size=size,
        source="build",
        **extra,
    )


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_the_model_is_frozen_slotted_named_and_typed(cls: type) -> None:
    parameters = cls.__dataclass_params__  # type: ignore[attr-defined]
    assert parameters.frozen
    assert "__slots__" in vars(cls)
    assert all(field.kw_only for field in dataclasses.fields(cls))
    assert typing.get_type_hints(cls), "hints resolve at run time"


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_the_model_does_no_io(module: typing.Any) -> None:
    allowed = {"__future__", "collections", "dataclasses", "enum", "pathlib", "typing", "re"}
    tree = ast.parse(Path(module.__file__).read_text())
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in names:
            assert name.split(".")[0] in allowed or name.startswith("ohmykube.model")
            assert name.split(".")[0] in sys.stdlib_module_names | {"ohmykube"}


def test_nodes_by_role_keep_their_order() -> None:
    nodes = (
        Node(name="w1", role=Role.WORKER),
        Node(name="c1", role=Role.CONTROL_PLANE),
        Node(name="w2", role=Role.WORKER),
        Node(name="c2", role=Role.CONTROL_PLANE),
    )
    desired = Cluster(name="dev", kubernetes_version="1.36.3", provider="auto", nodes=nodes)
    assert [node.name for node in desired.control_planes] == ["c1", "c2"]
    assert [node.name for node in desired.workers] == ["w1", "w2"]


def test_the_networks_do_not_overlap_by_default() -> None:
    import ipaddress

    network = cluster.Network()
    pods = ipaddress.ip_network(network.pod_cidr)
    assert not pods.overlaps(ipaddress.ip_network(network.service_cidr))


def test_taints_read_as_kubectl_writes_them() -> None:
    assert str(Taint(key="k", effect="NoSchedule")) == "k:NoSchedule"
    assert str(Taint(key="k", value="v", effect="NoExecute")) == "k=v:NoExecute"


def test_the_lock_finds_packages_and_images() -> None:
    containerd = locked(Kind.PACKAGE, "containerd")
    small = locked(Kind.IMAGE, "b/small:1", 10)
    same = locked(Kind.IMAGE, "a/same:1", 10)
    big = locked(Kind.IMAGE, "c/big:1", 99, node_roles=("control-plane",))
    lock = artifact_locks.of(
        version="1.36.3",
        arch="amd64",
        artifacts=(small, containerd, same, big, locked(Kind.BINARY, "kubeadm")),
    )
    assert lock.package(PackageRole.CONTAINERD, "amd64") is containerd
    with pytest.raises(KeyError):
        lock.package(PackageRole.KUBEADM, "amd64")
    assert lock.images("control-plane", "amd64") == (big, same, small)
    assert lock.images("worker", "amd64") == (same, small)
