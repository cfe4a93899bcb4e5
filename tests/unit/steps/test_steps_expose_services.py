"""Load balancers are found in the cluster and reached where the host has no route to them."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from ohmykube.kit.paths import Paths
from ohmykube.kube import balancers
from ohmykube.kube.api import ClusterApi
from ohmykube.kube.balancers import BalancedPort
from ohmykube.model.cluster import Cluster, Node, Role
from ohmykube.model.machine import MachineSpec
from ohmykube.progress import Message, Status, StepEnded
from ohmykube.providers.base import ExposedPort, ProviderContext
from ohmykube.steps.cluster_api import cluster_api
from ohmykube.steps.context import Context, Services
from ohmykube.steps.expose_services import expose_services
from ohmykube.steps.nodes import Nodes
from ohmykube.testing.fake_provider import FakeProvider
from ohmykube.testing.reporter import RecordingReporter

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pytest


def service(name: str, *ports: dict[str, object], ip: str = "10.9.0.200", **spec: object) -> object:
    """Return a Service as kubectl prints it."""
    return {
        "metadata": {"namespace": "web", "name": name},
        "spec": {"type": "LoadBalancer", "ports": list(ports), **spec},
        "status": {"loadBalancer": {"ingress": [{"ip": ip}]} if ip else {}},
    }


LISTED = json.dumps(
    {
        "items": [
            service("site", {"port": 443}, {"port": 80, "protocol": "TCP"}),
            service("names", {"port": 53, "protocol": "UDP"}, {"port": 9, "protocol": "SCTP"}),
            service("inner", {"port": 80}, type="ClusterIP"),
            service("waiting", {"port": 80}, ip=""),
            service("six", {"port": 80}, ip="fd00::1"),
        ]
    }
)
FOUND = (
    BalancedPort("web/names", "10.9.0.200", 53, "udp"),
    BalancedPort("web/site", "10.9.0.200", 80, "tcp"),
    BalancedPort("web/site", "10.9.0.200", 443, "tcp"),
)


def test_only_what_a_load_balancer_gave_an_address_is_found() -> None:
    asked: list[Sequence[str]] = []

    def shell(argv: Sequence[str], stdin: str = "", timeout: float = 30) -> str:
        asked.append([*argv, stdin, str(timeout)])
        return LISTED

    assert balancers.balanced(ClusterApi("dev", {"cp1": shell})) == FOUND
    assert "--all-namespaces" in asked[0]


class Exposing(FakeProvider):
    """A provider whose network the host has no route to."""

    def publish(self, cluster: str, wanted: Sequence[ExposedPort]) -> Mapping[ExposedPort, str]:
        """Give each service a port but the last one."""
        assert cluster == "dev"
        return {one: f"127.0.0.1:{one.port + 8000}" for one in wanted[:-1]}


def exposed(kind: type[FakeProvider], home: Path) -> tuple[StepEnded, list[Message]]:
    """Do it for one running control plane; return how it ended, and what was said."""
    cluster = Cluster(
        name="dev",
        kubernetes_version="1.36.3",
        provider="fake",
        nodes=(Node(name="cp1", role=Role.CONTROL_PLANE),),
    )
    paths = Paths(state=home / "s", data=home / "d", cache=home / "c")
    reporter = RecordingReporter()
    provider = kind(ProviderContext(paths=paths, reporter=reporter, cluster=cluster))
    made = provider.create(MachineSpec(cluster="dev", node="cp1"))
    config = home / "ssh_config"
    config.touch()
    ctx = Context(
        services=Services(paths=paths, reporter=reporter),
        cluster=cluster,
        provider=provider,
        directory=home,
        run_directory=home,
    )
    expose_services(ctx, cluster_api(cluster, Nodes(machines={"cp1": made}, ssh_config=config)))
    (ended,) = reporter.of(StepEnded)
    return ended, list(reporter.of(Message))


def ssh(home: Path, code: str, patch: pytest.MonkeyPatch) -> None:
    """Put an ssh first on PATH."""
    program = home / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{code}\n")
    program.chmod(0o755)
    patch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")


def test_services_are_published_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "listed").write_text(LISTED)
    ssh(tmp_path, f"cat {tmp_path / 'listed'}", monkeypatch)
    ended, messages = exposed(Exposing, tmp_path)
    assert (ended.status, ended.detail) == (Status.OK, "2 ports")
    assert [event.text for event in messages] == [
        "service web/names port 53/udp is at 127.0.0.1:8053",
        "service web/site port 80/tcp is at 127.0.0.1:8080",
    ]


def test_a_cluster_is_up_without_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ssh(tmp_path, "echo refused >&2; exit 1", monkeypatch)
    ended, (told,) = exposed(Exposing, tmp_path)
    assert (ended.status, ended.detail) == (Status.OK, "")
    assert told.level == "warning"


def test_where_there_is_a_route_nothing_is_done(tmp_path: Path) -> None:
    ended, messages = exposed(FakeProvider, tmp_path)
    assert (ended.status, ended.detail) == (Status.SKIPPED, "provider fake needs none")
    assert not messages
