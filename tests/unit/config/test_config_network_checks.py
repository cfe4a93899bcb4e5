"""Networks of a cluster file, in one IP family or in two: what goes together, and what does not."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest

from ohmykube.config import load
from ohmykube.config.document import to_document
from ohmykube.errors import ConfigError

if TYPE_CHECKING:
    from ohmykube.model.cluster import Network

PODS = {4: "10.244.0.0/16", 6: "fd00:10:244::/56"}
SERVICES = {4: "10.96.0.0/16", 6: "fd00:10:96::/112"}
ORDERS = [(4,), (6,), (4, 6), (6, 4)]


def network(spec: dict[str, Any] | None = None, **fields: Any) -> Network:
    document = {
        "apiVersion": "ohmykube.dev/v1",
        "kind": "Cluster",
        "spec": {"network": fields, **(spec or {})},
    }
    cluster = load.from_document(document)
    assert load.from_document(to_document(cluster)) == cluster, "the record says the same"
    return cluster.network


def problems(spec: dict[str, Any] | None = None, **fields: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        network(spec, **fields)
    return list(caught.value.problems)


def hosts(*node_ips: str | list[str] | None) -> dict[str, Any]:
    """Return the part of a description with hosts that have these addresses in the cluster."""
    entries = [
        {"address": f"192.0.2.{number}", **({} if ip is None else {"nodeIP": ip})}
        for number, ip in enumerate(node_ips, 1)
    ]
    nodes = {"controlPlane": {"hosts": entries}, "workers": {"count": 0}}
    return {"provider": {"name": "ssh"}, "nodes": nodes}


@pytest.mark.parametrize("order", ORDERS)
def test_a_network_of_each_family_is_a_list_or_text_with_commas(order: tuple[int, ...]) -> None:
    pods, services = ([table[one] for one in order] for table in (PODS, SERVICES))
    as_list = network(podCIDR=pods, serviceCIDR=services)
    as_text = network(podCIDR=", ".join(pods), serviceCIDR=",".join(services))
    assert as_list == as_text
    assert as_list.families == order
    assert as_list.pod_cidr == ",".join(pods)


@pytest.mark.parametrize(("pods", "services"), list(itertools.permutations(ORDERS, 2)))
def test_services_have_the_families_of_pods_in_their_order(
    pods: tuple[int, ...], services: tuple[int, ...]
) -> None:
    (said,) = problems(
        podCIDR=[PODS[one] for one in pods], serviceCIDR=[SERVICES[one] for one in services]
    )
    assert said.startswith("spec.network.serviceCIDR: must have the families of podCIDR")


@pytest.mark.parametrize(
    "fields",
    [
        {"podCIDR": "auto", "serviceCIDR": [SERVICES[4], SERVICES[6]]},
        {"podCIDR": "auto", "serviceCIDR": SERVICES[6]},
        {"podCIDR": [PODS[6], PODS[4]], "serviceCIDR": "auto"},
    ],
)
def test_auto_is_of_ipv4_and_says_so(fields: dict[str, Any]) -> None:
    (said,) = problems(**fields)
    assert said.endswith("auto is a network of IPv4")


@pytest.mark.parametrize("field", ["podCIDR", "serviceCIDR"])
@pytest.mark.parametrize(
    ("value", "said"),
    [
        (["10.1.0.0/16", "10.2.0.0/16"], "one of each of IPv4 and IPv6, got IPv4, IPv4"),
        ("fd00:1::/112,fd00:2::/112", "one of each of IPv4 and IPv6, got IPv6, IPv6"),
        (["10.1.0.0/16", "fd00:1::/112", "fd00:2::/112"], "got IPv4, IPv6, IPv6"),
        (["10.1.0.0/16", "auto"], "must be a network such as"),
        (["10.1.0.0/16", ""], "must be a network such as"),
        ("10.1.0.0/16,", "must be a network such as"),
        ("fd00:1::1/112", "must be a network address: fd00:1::/112"),
        ("fd00:1::", "must have a prefix length such as fd00:1::/56"),
        ("fe80::/64", "must be a network that can be routed"),
        ("ff00::/56", "must be a network that can be routed"),
        ([10], "must be"),
        ([], "must be"),
        ({"a": 1}, "must be"),
    ],
)
def test_what_is_no_network_of_one_or_of_each_family_is_refused(
    field: str, value: Any, said: str
) -> None:
    found = [one for one in problems(**{field: value}) if one.startswith(f"spec.network.{field}")]
    assert len(found) == 1
    assert said in found[0]


@pytest.mark.parametrize(
    ("field", "family", "prefixes"),
    [
        ("podCIDR", 4, range(8, 25)),
        ("podCIDR", 6, range(48, 65)),
        ("serviceCIDR", 4, range(12, 29)),
        ("serviceCIDR", 6, range(108, 125)),
    ],
)
def test_sizes_are_what_kubernetes_takes(field: str, family: int, prefixes: range) -> None:
    """Pods: at most 2^16 nodes with a /24 or a /64 each. Services: at most 2^20, and the tenth."""
    base, longest = {4: ("172.16.0.0", 32), 6: ("fd12:3456:789a::", 128)}[family]
    rest = {"podCIDR": ("serviceCIDR", SERVICES), "serviceCIDR": ("podCIDR", PODS)}[field]
    nodes = {"nodes": {"controlPlane": {"count": 1}, "workers": {"count": 0}}}
    # From the shortest of which the base is the first address.
    for prefix in range({4: 12, 6: 48}[family], longest + 1):
        fields = {field: f"{base}/{prefix}", rest[0]: rest[1][family]}
        if prefix in prefixes:
            network(nodes, **fields)
        else:
            (said,) = problems(nodes, **fields)
            assert said.startswith(f"spec.network.{field}: must have a prefix length from")


@pytest.mark.parametrize(
    ("pods", "nodes", "room"),
    [("10.9.0.0/24", 2, 1), ("fd00:9::/64", 2, 1), ("fd00:9::/62", 5, 4), ("10.9.0.0/22", 5, 4)],
)
def test_each_node_has_its_part_of_the_pod_network(pods: str, nodes: int, room: int) -> None:
    services = SERVICES[6 if ":" in pods else 4]
    counted = {"nodes": {"workers": {"count": nodes - 1}}}
    (said,) = problems(counted, podCIDR=pods, serviceCIDR=services)
    assert f"for each of {nodes} nodes, got {pods} ({room})" in said


@pytest.mark.parametrize("order", [(4, 6), (6, 4)])
@pytest.mark.parametrize("family", [4, 6])
def test_networks_of_the_same_family_do_not_overlap(order: tuple[int, ...], family: int) -> None:
    """Each pair is compared, wherever the two stand."""
    inside = {4: "10.244.7.0/24", 6: "fd00:10:244:7::/112"}[family]
    services = {**SERVICES, family: inside}
    (said,) = problems(
        podCIDR=[PODS[one] for one in order], serviceCIDR=[services[one] for one in order]
    )
    assert said == (
        f"spec.network.serviceCIDR: must not overlap podCIDR {PODS[family]}, got {inside}"
    )


@pytest.mark.parametrize("name", ["nspawn", "auto"])
@pytest.mark.parametrize("taken", ["10.88.0.0/16", "fd00::/48"])
def test_networks_of_a_providers_machines_are_kept_clear_of(name: str, taken: str) -> None:
    services = SERVICES[6 if ":" in taken else 4]
    found = problems({"provider": {"name": name}}, podCIDR=taken, serviceCIDR=services)
    assert found
    assert all("the way out of nspawn's nodes" in one for one in found)


@pytest.mark.parametrize("order", ORDERS)
def test_machines_have_the_families_of_pods_whichever_network_they_get(
    order: tuple[int, ...],
) -> None:
    fields = {
        "podCIDR": [PODS[one] for one in order],
        "serviceCIDR": [SERVICES[one] for one in order],
    }
    machines = {4: "10.77.0.0/24", 6: "fd00:77::/64"}
    assert network(machineCIDR="auto", **fields) == network(**fields)
    wanted = [machines[one] for one in order]
    assert network(machineCIDR=wanted, **fields).machine_cidr == ",".join(wanted)
    for other in ORDERS:
        if other != order:
            (said,) = problems(machineCIDR=[machines[one] for one in other], **fields)
            assert said.startswith("spec.network.machineCIDR: must have the families of podCIDR")


@pytest.mark.parametrize(
    ("machines", "said"),
    [
        ("10.244.7.0/24", "must not overlap podCIDR 10.244.0.0/16, got 10.244.7.0/24"),
        ("10.96.0.0/16", "must not overlap serviceCIDR 10.96.0.0/16, got 10.96.0.0/16"),
        ("10.88.0.0/16", "must not overlap 10.88.1.0/24, the way out of nspawn's nodes"),
        ("10.9.0.0/25", "must have a prefix length from 16 to 24"),
        ("10.8.0.0/15", "must have a prefix length from 16 to 24"),
    ],
)
def test_a_network_of_machines_is_no_other_one_and_has_room(machines: str, said: str) -> None:
    (problem,) = problems({"provider": {"name": "nspawn"}}, machineCIDR=machines)
    assert problem.startswith(f"spec.network.machineCIDR: {said}")


@pytest.mark.parametrize("order", ORDERS)
def test_hosts_of_a_cluster_with_ipv6_say_their_addresses(order: tuple[int, ...]) -> None:
    """Of which families they are, and which of several is meant, nothing else says."""
    fields = {
        "podCIDR": [PODS[one] for one in order],
        "serviceCIDR": [SERVICES[one] for one in order],
    }
    own = {4: "192.0.2.77", 6: "2001:db8::77"}
    right = [own[one] for one in order]
    network(hosts(right), **fields)
    network(hosts(",".join(right)), **fields)
    if order == (4,):
        network(hosts(None), **fields)
    else:
        (said,) = problems(hosts(None), **fields)
        assert "hosts[0]: must have nodeIP with one address of each of" in said
    for other in ORDERS:
        if other != order:
            (said,) = problems(hosts([own[one] for one in other]), **fields)
            assert "hosts[0].nodeIP: must have the families of podCIDR in its order" in said


@pytest.mark.parametrize("bad", ["::1", "127.0.0.1", "fe80::1", "ff02::1", "::", "0.0.0.0"])
def test_an_address_that_other_nodes_do_not_reach_is_none(bad: str) -> None:
    (said,) = problems(hosts(bad))
    assert "must be an address that other nodes reach" in said


@pytest.mark.parametrize(
    ("endpoint", "inside"),
    [("[fd00:10:244::7]:6443", "podCIDR"), ("[fd00:10:96::7]:6443", "serviceCIDR")],
)
def test_an_endpoint_of_ipv6_is_no_address_of_the_cluster(endpoint: str, inside: str) -> None:
    fields = {"podCIDR": PODS[6], "serviceCIDR": SERVICES[6]}
    assert network(apiServerEndpoint="[2001:db8::1]:6443", **fields).api_server_endpoint
    (said,) = problems(apiServerEndpoint=endpoint, **fields)
    assert f"must not be inside {inside}" in said


@pytest.mark.parametrize("endpoint", ["2001:db8::1:6443", "[2001:db8::1]", "[x]:1", "[]:1", "a]:1"])
def test_an_endpoint_of_ipv6_has_brackets_and_a_port(endpoint: str) -> None:
    (said,) = problems(apiServerEndpoint=endpoint)
    assert 'must be "host:port"' in said


@pytest.mark.parametrize(("order", "good"), [((4,), False), ((6,), True), ((4, 6), True)])
def test_a_network_outside_is_of_a_family_that_nodes_have(
    order: tuple[int, ...], good: bool
) -> None:
    fields = {
        "podCIDR": [PODS[one] for one in order],
        "serviceCIDR": [SERVICES[one] for one in order],
        "egress": ["2001:db8::/32", "a.example"],
    }
    if good:
        assert network(**fields).egress == ("2001:db8::/32", "a.example")
    else:
        (said,) = problems(**fields)
        assert said.startswith("spec.network.egress: has a network of IPv6")


@pytest.mark.parametrize(
    ("order", "backend", "least"),
    [
        ((4,), "vxlan", 1280),
        ((4,), "host-gw", 1280),
        ((6,), "vxlan", 1350),
        ((4, 6), "vxlan", 1350),
        ((6, 4), "host-gw", 1280),
    ],
)
def test_packets_of_pods_are_as_large_as_ipv6_needs(
    order: tuple[int, ...], backend: str, least: int
) -> None:
    fields: dict[str, Any] = {
        "podCIDR": [PODS[one] for one in order],
        "serviceCIDR": [SERVICES[one] for one in order],
        "flannel": {"backend": backend},
    }
    assert network(**fields).mtu is None
    for mtu in (least, 65520):
        assert network(mtu=mtu, **fields).mtu == mtu
    for bad in (least - 1, 65521, 0, -1, True, "1400"):
        (said,) = problems(mtu=bad, **fields)
        assert said.startswith("spec.network.mtu: must be"), bad
