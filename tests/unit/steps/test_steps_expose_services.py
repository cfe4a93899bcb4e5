"""Load balancers are found in the cluster and reached where the host has no route to them."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import pytest
import yaml

from ohmykube.errors import ProviderError
from ohmykube.kit.paths import Paths
from ohmykube.kube import balancers
from ohmykube.kube.balancers import BalancedPort
from ohmykube.model.cluster import Cluster, Node, Role
from ohmykube.model.exposure import (
    ApiAccess,
    AskedService,
    Exposed,
    ExposedPort,
    FixedPort,
    PublishedPort,
)
from ohmykube.model.machine import Machine, MachineState
from ohmykube.model.node_state import NodeState
from ohmykube.progress import Message, Status, StepEnded
from ohmykube.providers.base import ProviderContext
from ohmykube.state import layout
from ohmykube.steps.context import Context, Services
from ohmykube.steps.expose_services import expose_services
from ohmykube.testing.fake_provider import FakeProvider
from ohmykube.testing.reporter import RecordingReporter
from tests.fake_clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ohmykube.model.exposure import Exposure


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
    BalancedPort("names.web", "10.9.0.200", 53, "udp"),
    BalancedPort("site.web", "10.9.0.200", 80, "tcp"),
    BalancedPort("site.web", "10.9.0.200", 443, "tcp"),
)


def test_only_what_a_load_balancer_gave_an_address_is_found() -> None:
    assert balancers.ports(LISTED) == FOUND


class Exposing(FakeProvider):
    """A provider whose network the host has no route to."""

    def publish(self, cluster: str, wanted: Sequence[ExposedPort]) -> Mapping[ExposedPort, str]:
        """Give each service a port but the last one."""
        assert cluster == "dev"
        return {one: f"127.0.0.1:{one.port + 8000}" for one in wanted[:-1]}


@dataclass
class Outcome:
    """How the step ended, what was said, and what it returned."""

    ended: StepEnded
    messages: list[Message]
    exposed: Exposed


def exposed(
    kind: type[FakeProvider], home: Path, state: NodeState | None, *, asked: str = ""
) -> Outcome:
    """Do it with what a control plane said."""
    cluster = Cluster(
        name="dev",
        kubernetes_version="1.36.3",
        provider="fake",
        nodes=(Node(name="cp1", role=Role.CONTROL_PLANE),),
        ports=(FixedPort(host_port=8080, node_port=80),),
    )
    paths = Paths(state=home / "s", data=home / "d", cache=home / "c")
    reporter = RecordingReporter()
    provider = kind(ProviderContext(paths=paths, reporter=reporter, cluster=cluster))
    ctx = Context(
        services=Services(paths=paths, reporter=reporter, clock=FakeClock()),
        cluster=cluster,
        provider=provider,
        directory=home,
        run_directory=home,
    )
    if asked:
        (home / layout.ASKED_SERVICES).write_text(asked)
    machine = Machine(
        cluster="dev", node="cp1", state=MachineState.RUNNING, address="10.9.0.11", ssh=None
    )
    told = expose_services(ctx, FakeNodes(machine), state)  # type: ignore[arg-type]  # all that is used
    (ended,) = reporter.of(StepEnded)
    return Outcome(ended, list(reporter.of(Message)), told)


class FakeNodes:
    """Nodes whose control plane has an API server that makes accounts."""

    slowdown = 1

    def __init__(self, machine: Machine) -> None:
        self.machines = {"cp1": machine}
        self.asked: list[str] = []

    def shell(self, _node: str) -> FakeNodes:
        """Return itself."""
        return self

    def __call__(self, argv: Sequence[str], stdin: str = "", timeout: float = 30) -> str:
        """Answer kubectl."""
        del timeout
        words = " ".join(argv)
        if " apply " in words:
            APPLIED.append(stdin)
            return "serviceaccount/ohmykube-ports serverside-applied\n"
        if " get secret " in words:
            data = {"ca.crt": "Y2E=", "token": base64.b64encode(TOKENS[len(APPLIED) - 1]).decode()}
            return json.dumps({"data": data if TOKENS[len(APPLIED) - 1] else {}})
        return "ok"


APPLIED: list[str] = []
TOKENS = [b"first", b"second"]


@pytest.fixture(autouse=True)
def nothing_applied() -> None:
    APPLIED.clear()


class Broken(FakeProvider):
    """A provider that has lost its forwarder."""

    def publish(self, cluster: str, wanted: Sequence[ExposedPort]) -> Mapping[ExposedPort, str]:
        """Fail."""
        raise ProviderError("the forwarder is gone")


WEB = PublishedPort(name="a.default", target=ExposedPort("10.9.0.200", 80), place="127.0.0.1:80")
NOWHERE = PublishedPort(
    name="node", target=ExposedPort("", 80), refused_port=8080, reason="is taken"
)


class Following(Exposing):
    """A provider that follows the cluster's services by itself."""

    wanted: ClassVar[list[Exposure]] = []
    knows: ClassVar[set[str]] = {"first", "second"}

    def expose(self, cluster: str, exposure: Exposure) -> Exposed:
        """Say where two ports are, if the token is known."""
        assert cluster == "dev"
        self.wanted.append(exposure)
        assert exposure.access is not None
        if exposure.access.token not in self.knows:
            return Exposed(problem="401 Unauthorized", refused=True)
        return Exposed(ports=(WEB, NOWHERE))

    def exposed(self, cluster: str) -> Exposed:
        """Say nothing."""
        raise NotImplementedError


def test_services_are_published_and_told(tmp_path: Path) -> None:
    found = exposed(Exposing, tmp_path, NodeState(services=LISTED))
    assert (found.ended.status, found.ended.detail) == (Status.OK, "2 ports")
    assert [(one.name, one.target.port, one.place) for one in found.exposed.ports] == [
        ("names.web", 53, "127.0.0.1:8053"),
        ("site.web", 80, "127.0.0.1:8080"),
    ]
    assert found.messages == []


def test_a_provider_that_follows_services_gets_an_account_once(tmp_path: Path) -> None:
    """That account lists and watches services and pods alone; its token is for root alone."""
    Following.wanted.clear()
    for _ in range(2):
        found = exposed(Following, tmp_path, NodeState(services=LISTED))
        assert found.ended.detail == "1 port"
        assert found.exposed.ports == (WEB, NOWHERE)
        assert [m.text for m in found.messages] == [
            "node port 80 cannot be reached: port 8080 is taken"
        ]
    (manifest,) = APPLIED
    objects = {one["kind"]: one for one in yaml.safe_load_all(manifest)}
    assert objects["ClusterRole"]["rules"] == [
        {"apiGroups": [""], "resources": ["services", "pods"], "verbs": ["list", "watch"]}
    ]
    expected = ApiAccess(servers=("10.9.0.11:6443",), authority="ca", token="first")
    assert [one.access for one in Following.wanted] == [expected] * 2
    assert {one.fixed for one in Following.wanted} == {(FixedPort(host_port=8080, node_port=80),)}
    assert (tmp_path / layout.PORTS_ACCESS).stat().st_mode & 0o777 == 0o600


def test_an_account_that_the_cluster_does_not_know_any_more_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Following.wanted.clear()
    exposed(Following, tmp_path, NodeState())
    monkeypatch.setattr(Following, "knows", {"second"})
    found = exposed(Following, tmp_path, NodeState())
    assert found.exposed.ports == (WEB, NOWHERE)
    assert [
        (one.access.token, one.access.generation) for one in Following.wanted if one.access
    ] == [
        ("first", 0),
        ("first", 0),
        ("second", 1),
    ]
    exposed(Following, tmp_path, NodeState())
    assert Following.wanted[-1] == Following.wanted[-2]


def test_an_account_whose_rights_were_taken_is_asked_with_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when its token is the same."""
    Following.wanted.clear()
    monkeypatch.setattr(Following, "knows", set())
    monkeypatch.setitem(globals(), "TOKENS", [b"same", b"same"])
    exposed(Following, tmp_path, NodeState())
    first, second = Following.wanted
    assert first != second
    assert replace(first, access=second.access) == second


def test_a_file_that_is_damaged_is_as_none(tmp_path: Path) -> None:
    (tmp_path / layout.PORTS_ACCESS).write_text("{")
    assert exposed(Following, tmp_path, NodeState(), asked="{").exposed.ports
    assert Following.wanted[-1].asked == ()
    assert len(APPLIED) == 1


def test_a_token_that_does_not_come_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "TOKENS", [b""])
    (told,) = exposed(Following, tmp_path, NodeState()).messages
    assert told.level == "warning"
    assert "there is no token for kube-system/ohmykube-ports" in told.text


def test_services_that_somebody_asked_for_are_asked_for_again(tmp_path: Path) -> None:
    one = AskedService(namespace="default", service="db", port=5432, host_port=15432)
    exposed(Following, tmp_path, NodeState(), asked=json.dumps([asdict(one)]))
    assert Following.wanted[-1].asked == (one,)


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
    found = exposed(kind, tmp_path, state)
    assert (found.ended.status, found.ended.detail) == (Status.OK, "there are none")
    (told,) = found.messages
    assert told.level == "warning"
    assert told.text.endswith(f"cannot be reached from this host: {why}")


def test_where_there_is_a_route_nothing_is_done(tmp_path: Path) -> None:
    found = exposed(FakeProvider, tmp_path, NodeState(services=LISTED))
    assert (found.ended.status, found.ended.detail) == (Status.SKIPPED, "provider fake needs none")
    assert not found.messages
    assert found.exposed == Exposed()
