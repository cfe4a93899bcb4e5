"""What services and pods offer to a host, by their types."""

from __future__ import annotations

from typing import Any

import pytest

from ohmykube.kube import service_ports
from ohmykube.model.exposure import ANY_NODE, AskedService, ExposedPort, FixedPort
from tests.fake_api import pod, service

WEB = {"port": 80, "nodePort": 30080}
DNS = {"port": 53, "nodePort": 30053, "protocol": "UDP"}


def told(requests: tuple[service_ports.Request, ...]) -> list[tuple[str, str, int, str, int]]:
    """Return name, address, port, protocol and wished port of each."""
    return [(r.name, *_target(r.target), r.place_port) for r in requests]


def _target(target: ExposedPort) -> tuple[str, int, str]:
    return target.address, target.port, target.protocol


@pytest.mark.parametrize(
    ("offers", "expected"),
    [
        (service("a", WEB, ip="10.88.0.200"), [("a.default", "10.88.0.200", 80, "tcp", 80)]),
        (service("a", WEB), [("a.default", ANY_NODE, 30080, "tcp", 80)]),
        (service("a", WEB, ip="fd00::1"), [("a.default", "fd00::1", 80, "tcp", 80)]),
        (service("a", {"port": 80}), []),  # no port of the nodes is allocated
        (service("a", WEB, kind="NodePort"), [("a.default", ANY_NODE, 30080, "tcp", 30080)]),
        (service("a", DNS, ip="192.0.2.7"), [("a.default", "192.0.2.7", 53, "udp", 53)]),
        (service("a", {"port": 9, "nodePort": 30009, "protocol": "SCTP"}, kind="NodePort"), []),
        (service("a", WEB, kind="ClusterIP"), []),
        (service("a", kind="ExternalName"), []),
        (
            service("a", WEB, DNS, ip="192.0.2.7"),
            [("a.default", "192.0.2.7", 80, "tcp", 80), ("a.default", "192.0.2.7", 53, "udp", 53)],
        ),
    ],
)
def test_a_service_is_reached_by_its_type(
    offers: dict[str, Any], expected: list[tuple[str, str, int, str, int]]
) -> None:
    """And what is kept of it is enough for that."""
    assert told(service_ports.of_service(offers)) == expected
    assert told(service_ports.of_service(service_ports.reduced(offers))) == expected


def test_an_address_that_comes_later_changes_no_place() -> None:
    """A load balancer that answers late does not move the service on this host."""
    (before,) = service_ports.of_service(service("a", WEB))
    (after,) = service_ports.of_service(service("a", WEB, ip="10.88.0.200"))
    assert before.key == after.key
    assert before.target != after.target


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (pod("a", {"hostPort": 80}), [("a.default", ANY_NODE, 80, "tcp", 80)]),
        (
            pod("a", {"hostPort": 53, "protocol": "UDP"}),
            [("a.default", ANY_NODE, 53, "udp", 53)],
        ),
        (pod("a", {"containerPort": 80}), []),
        (pod("a", {"hostPort": 9, "protocol": "SCTP"}), []),
        (pod("a", {"hostPort": 80}, hostNetwork=True), []),
        (pod("a", {"hostPort": 80}, namespace="kube-system"), []),
    ],
)
def test_a_pod_is_reached_by_its_host_ports(
    found: dict[str, Any], expected: list[tuple[str, str, int, str, int]]
) -> None:
    assert told(service_ports.of_pod(found)) == expected


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        ({"kind": "DaemonSet", "name": "ingress"}, "ingress.default"),
        ({"kind": "ReplicaSet", "name": "web-front-5d8f"}, "web-front.default"),
        ({"kind": "StatefulSet", "name": "db"}, "db.default"),
    ],
)
def test_pods_have_the_name_of_what_made_them(owner: dict[str, str], name: str) -> None:
    """All pods of a set are one thing, on whichever node they run."""
    found = [
        service_ports.of_pod(pod(f"p{n}", {"hostPort": 80}, metadata={"ownerReferences": [owner]}))
        for n in range(2)
    ]
    assert found[0] == found[1]
    assert [one.name for one in found[0]] == [name]


@pytest.mark.parametrize("address", ["10.96.0.7", "fd00:10:96::7"])
@pytest.mark.parametrize("kind", ["ClusterIP", "NodePort", "LoadBalancer"])
def test_an_asked_service_of_any_type_is_reached_at_its_own_address(
    kind: str, address: str
) -> None:
    services = [service("a", WEB, kind=kind, clusterIP=address), service("b", WEB)]
    asked = AskedService(namespace="default", service="a", port=80, host_port=8080)
    request = service_ports.of_asked(asked, services)
    assert request is not None
    assert request.target == ExposedPort(address, 80)
    assert (request.place_port, request.fixed) == (8080, True)
    free = service_ports.of_asked(AskedService(namespace="default", service="a", port=80), services)
    assert free is not None
    assert (free.place_port, free.fixed) == (80, False)


@pytest.mark.parametrize("address", ["None", ""])
def test_what_has_no_address_or_is_not_there_is_not_reached(address: str) -> None:
    services = [service("a", WEB, clusterIP=address)]
    for name in ("a", "gone"):
        asked = AskedService(namespace="default", service=name, port=80)
        assert service_ports.of_asked(asked, services) is None


def test_of_several_addresses_of_a_load_balancer_one_of_ipv4_is_taken() -> None:
    """This host reaches both through the nodes, and IPv4 also where the cluster has no IPv6."""
    offers = service("a", WEB, ip="fd00::1")
    offers["status"]["loadBalancer"]["ingress"].append({"ip": "192.0.2.7"})
    assert told(service_ports.of_service(offers)) == [("a.default", "192.0.2.7", 80, "tcp", 80)]


def test_fixed_and_listed_ports_are_what_they_say() -> None:
    fixed = service_ports.of_fixed(FixedPort(host_address="0.0.0.0", host_port=1, node_port=2))
    assert (fixed.place_address, fixed.place_port, fixed.fixed) == ("0.0.0.0", 1, True)
    assert fixed.target == ExposedPort(ANY_NODE, 2)
    listed = service_ports.of_listed(ExposedPort("10.88.0.11", 22))
    assert (listed.place_port, listed.fixed) == (22, False)
