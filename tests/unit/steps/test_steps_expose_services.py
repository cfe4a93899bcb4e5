"""Load balancers are found in the cluster and reached where the host has no route to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ohmykube.errors import ProviderError
from ohmykube.kit.paths import Paths
from ohmykube.kube import balancers
from ohmykube.kube.balancers import BalancedPort
from ohmykube.model.cluster import Cluster, Node, Role
from ohmykube.model.node_state import NodeState
from ohmykube.progress import Message, Status, StepEnded
from ohmykube.providers.base import ExposedPort, ProviderContext
from ohmykube.steps.context import Context, Services
from ohmykube.steps.expose_services import expose_services
from ohmykube.testing.fake_provider import FakeProvider
from ohmykube.testing.reporter import RecordingReporter

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


def service(
    name: str, *ports: dict[str, object], ip: str = "10.9.0.200", **spec: object
) -> dict[str, object]:
    """Return a Service as the API has it."""
    return {
        "metadata": {"namespace": "web", "name": name},
        "spec": {"type": "LoadBalancer", "ports": list(ports), **spec},
        "status": {"loadBalancer": {"ingress": [{"ip": ip}]} if ip else {}},
    }


LISTED = (
    service("site", {"port": 443}, {"port": 80, "protocol": "TCP"}),
    service("names", {"port": 53, "protocol": "UDP"}, {"port": 9, "protocol": "SCTP"}),
    service("inner", {"port": 80}, type="ClusterIP"),
    service("waiting", {"port": 80}, ip=""),
    service("six", {"port": 80}, ip="fd00::1"),
)
FOUND = (
    BalancedPort("web/names", "10.9.0.200", 53, "udp"),
    BalancedPort("web/site", "10.9.0.200", 80, "tcp"),
    BalancedPort("web/site", "10.9.0.200", 443, "tcp"),
)


def test_only_what_a_load_balancer_gave_an_address_is_found() -> None:
    assert balancers.ports(LISTED) == FOUND


class Exposing(FakeProvider):
    """A provider whose network the host has no route to."""

    def publish(self, cluster: str, wanted: Sequence[ExposedPort]) -> Mapping[ExposedPort, str]:
        """Give each service a port but the last one."""
        assert cluster == "dev"
        return {one: f"127.0.0.1:{one.port + 8000}" for one in wanted[:-1]}


def exposed(
    kind: type[FakeProvider], home: Path, state: NodeState | None
) -> tuple[StepEnded, list[Message]]:
    """Do it with what a control plane said; return how it ended, and what was said."""
    cluster = Cluster(
        name="dev",
        kubernetes_version="1.36.3",
        provider="fake",
        nodes=(Node(name="cp1", role=Role.CONTROL_PLANE),),
    )
    paths = Paths(state=home / "s", data=home / "d", cache=home / "c")
    reporter = RecordingReporter()
    provider = kind(ProviderContext(paths=paths, reporter=reporter, cluster=cluster))
    ctx = Context(
        services=Services(paths=paths, reporter=reporter),
        cluster=cluster,
        provider=provider,
        directory=home,
        run_directory=home,
    )
    expose_services(ctx, state)
    (ended,) = reporter.of(StepEnded)
    return ended, list(reporter.of(Message))


class Broken(FakeProvider):
    """A provider that has lost its forwarder."""

    def publish(self, cluster: str, wanted: Sequence[ExposedPort]) -> Mapping[ExposedPort, str]:
        """Fail."""
        raise ProviderError("the forwarder is gone")


def test_services_are_published_and_told(tmp_path: Path) -> None:
    ended, messages = exposed(Exposing, tmp_path, NodeState(services=LISTED))
    assert (ended.status, ended.detail) == (Status.OK, "2 ports")
    assert [event.text for event in messages] == [
        "service web/names port 53/udp is at 127.0.0.1:8053",
        "service web/site port 80/tcp is at 127.0.0.1:8080",
    ]


@pytest.mark.parametrize(
    ("kind", "state", "why"),
    [
        (Exposing, None, "the API server did not answer"),
        (Broken, NodeState(services=LISTED), "the forwarder is gone"),
    ],
)
def test_a_cluster_is_up_without_them(
    tmp_path: Path, kind: type[FakeProvider], state: NodeState | None, why: str
) -> None:
    ended, (told,) = exposed(kind, tmp_path, state)
    assert (ended.status, ended.detail) == (Status.OK, "")
    assert told.level == "warning"
    assert told.text.endswith(f"cannot be reached from this host: {why}")


def test_where_there_is_a_route_nothing_is_done(tmp_path: Path) -> None:
    ended, messages = exposed(FakeProvider, tmp_path, NodeState(services=LISTED))
    assert (ended.status, ended.detail) == (Status.SKIPPED, "provider fake needs none")
    assert not messages
