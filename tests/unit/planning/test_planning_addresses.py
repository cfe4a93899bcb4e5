"""Networks that a cluster takes, and those that it hides from itself."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network, ip_network
from itertools import combinations

import pytest

from ohmykube.config import load
from ohmykube.config.overrides import Overrides
from ohmykube.errors import ConfigError
from ohmykube.model.cluster import Cluster, Egress
from ohmykube.planning import addresses


def cluster(pods: str = "auto", services: str = "auto", egress: Egress | None = None) -> Cluster:
    made = load.from_overrides(Overrides(name="dev", provider="nspawn"))
    network = replace(made.network, pod_cidr=pods, service_cidr=services, egress=egress)
    return replace(made, network=network)


def networks(*texts: str) -> list[IPv4Network]:
    return [IPv4Network(text) for text in texts]


@pytest.mark.parametrize(
    ("taken", "pods", "services"),
    [
        ([], "10.244.0.0/16", "10.96.0.0/16"),
        (["10.244.7.0/24"], "10.245.0.0/16", "10.96.0.0/16"),
        (["10.240.0.0/12"], "10.128.0.0/16", "10.96.0.0/16"),
        (["10.96.0.0/12"], "10.244.0.0/16", "10.112.0.0/16"),
        (["10.244.0.0/16", "10.96.0.0/16"], "10.245.0.0/16", "10.97.0.0/16"),
        (["192.168.0.0/16"], "10.244.0.0/16", "10.96.0.0/16"),
    ],
)
def test_auto_is_the_first_that_is_free(taken: list[str], pods: str, services: str) -> None:
    found = addresses.settled(cluster(), None, lambda: networks(*taken)).network
    assert (found.pod_cidr, found.service_cidr) == (pods, services)


@pytest.mark.parametrize("fixed", ["10.244.0.0/16", "10.96.0.0/14", "10.0.0.0/9", "10.128.0.0/9"])
def test_one_that_is_named_is_kept_and_avoided(fixed: str) -> None:
    for wanted in (cluster(pods=fixed), cluster(services=fixed)):
        found = addresses.settled(wanted, None, list)
        assert fixed in (found.network.pod_cidr, found.network.service_cidr)
        pods, services = addresses.networks(found.network)
        assert not pods.overlaps(services)


def test_clusters_after_one_another_share_nothing() -> None:
    made: list[IPv4Network] = []
    for _ in range(8):
        found = addresses.settled(cluster(), None, made.copy)
        made += addresses.networks(found.network)
    assert not any(one.overlaps(other) for one, other in combinations(made, 2))


def test_what_was_chosen_stays_whatever_is_taken_later() -> None:
    first = addresses.settled(cluster(), None, lambda: networks("10.244.0.0/16"))
    again = addresses.settled(cluster(), first, lambda: networks("10.0.0.0/8"))
    assert again == first


def test_without_a_free_one_the_field_is_named() -> None:
    taken = networks("10.0.0.0/8", "172.16.0.0/12")
    with pytest.raises(ConfigError, match="podCIDR"):
        addresses.settled(cluster(), None, lambda: taken)
    with pytest.raises(ConfigError, match="serviceCIDR"):
        addresses.settled(cluster(pods="192.168.0.0/16"), None, lambda: taken)


@pytest.mark.parametrize(
    ("route", "named"),
    [
        ("10.244.3.0/24", "spec.network.podCIDR 10.244.0.0/16"),
        ("10.0.0.0/8", "spec.network.podCIDR 10.244.0.0/16"),
        ("10.96.255.255/32", "spec.network.serviceCIDR 10.96.0.0/16"),
        ("10.88.0.0/16", "the way out of nspawn's nodes, 10.88.1.0/24"),
    ],
)
def test_what_the_host_reaches_and_the_cluster_hides_is_told(route: str, named: str) -> None:
    wanted = addresses.settled(cluster(), None, list)
    told = list(addresses.hidden(wanted, "nspawn", [(IPv4Network(route), "wg0")]))
    assert told[0].startswith(f"{named} overlaps {route}, which this host reaches by wg0")


@pytest.mark.parametrize(
    ("route", "named"),
    [
        ("fd00:10:244:3::/64", ["spec.network.podCIDR fd00:10:244::/56"]),
        ("fd00:10:96::7/128", ["spec.network.serviceCIDR fd00:10:96::/112"]),
        ("fd00:77::/48", ["spec.network.machineCIDR fd00:77::/64"]),
        ("fd00::/64", ["the way out of nspawn's nodes, fd00::/64"]),
        ("fd00:10::/32", ["spec.network.podCIDR fd00:10:244::/56",
                          "spec.network.serviceCIDR fd00:10:96::/112"]),
        ("2001:db8::/32", []),
    ],
)  # fmt: skip
def test_what_the_host_reaches_by_ipv6_is_compared_where_a_cluster_has_it(
    route: str, named: list[str]
) -> None:
    wanted = cluster("10.244.0.0/16,fd00:10:244::/56", "10.96.0.0/16,fd00:10:96::/112")
    network = replace(wanted.network, machine_cidr="10.77.0.0/24,fd00:77::/64")
    routes = [(ip_network(route), "wg0")]
    told = list(addresses.hidden(replace(wanted, network=network), "nspawn", routes))
    assert [one.partition(" overlaps ")[0] for one in told] == named
    assert not any("auto" in one for one in told), "auto is of IPv4"
    assert list(addresses.hidden(addresses.settled(cluster(), None, list), "nspawn", routes)) == []


def test_two_families_are_kept_clear_of_and_told_to_others() -> None:
    both = cluster("10.244.0.0/16,fd00:10:244::/56", "10.96.0.0/16,fd00:10:96::/112")
    assert addresses.settled(both, None, list) == both
    taken = addresses.networks(replace(both.network, machine_cidr="10.77.0.0/24,fd00:77::/64"))
    assert len(taken) == 6
    found = addresses.settled(cluster(), None, lambda: taken).network
    assert (found.pod_cidr, found.service_cidr) == ("10.245.0.0/16", "10.97.0.0/16")


@pytest.mark.parametrize("egress", [Egress.FULL, Egress.NONE])
def test_nothing_is_told_of_what_is_closed_or_elsewhere(egress: Egress) -> None:
    wanted = addresses.settled(cluster(egress=egress), None, list)
    route = "192.168.1.0/24" if egress is Egress.FULL else "10.244.0.0/16"
    assert list(addresses.hidden(wanted, "nspawn", [(IPv4Network(route), "eth0")])) == []
