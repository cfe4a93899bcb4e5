"""``egress`` and ``hostAccess``: each text means one thing, or what is wrong with it is said."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ohmykube.config import load
from ohmykube.config.document import to_document
from ohmykube.errors import ConfigError
from ohmykube.model.cluster import Cluster, Egress, Network
from ohmykube.model.outside import Outside, opened_by


def cluster(**network: Any) -> Cluster:
    document = {"apiVersion": "ohmykube.dev/v1", "kind": "Cluster", "spec": {"network": network}}
    return load.from_document(document)


def the_problem(**network: Any) -> str:
    """Return the only problem of a cluster with such a network."""
    with pytest.raises(ConfigError) as caught:
        cluster(**network)
    (problem,) = caught.value.problems
    return problem


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("full", Egress.FULL),
        ("none", Egress.NONE),
        (["10.0.0.0/8"], ("10.0.0.0/8",)),
        (["192.0.2.7"], ("192.0.2.7/32",)),
        (["0.0.0.0/0"], ("0.0.0.0/0",)),
        (["Registry.Example.com."], ("registry.example.com",)),
        (["localdomain", "b.example", "localdomain"], ("localdomain", "b.example")),
    ],
)
def test_egress_is_a_word_or_a_list_and_survives_the_record(value: Any, expected: Any) -> None:
    found = cluster(egress=value)
    assert found.network.egress == expected
    assert load.from_document(to_document(found)).network == found.network


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, ()), ("none", ()), ([443], (443,)), ([80, 22, 80], (22, 80)), ([1, 65535], (1, 65535))],
)
def test_host_access_is_none_or_ports_and_survives_the_record(value: Any, expected: Any) -> None:
    found = cluster(hostAccess=value)
    assert found.network.host_access == expected
    assert load.from_document(to_document(found)).network == found.network


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("ful", 'did you mean "full"?'),
        ("10.0.0.0/8", 'must be "full", "none" or a list of networks and names'),
        (True, 'must be "full", "none" or a list'),
        (8, 'must be "full", "none" or a list'),
        ({"a": 1}, "got a mapping"),
        ([], "for nothing, write none"),
        (["a"] * 201, "1 to 200 entries, got 201"),
        (["full"], "write it instead of the list"),
        (["10.0.0.1/8"], "must be a network address: 10.0.0.0/8"),
        (["10.0.0"], "must be an IPv4 address"),
        (["10.0.0.0/33"], "must be a network such as"),
        (["fd00::/129"], "must be a network such as"),
        (["fd00::1/64"], "must be a network address: fd00::/64"),
        (["fe80::/64"], "must be a network that can be routed"),
        (["127.0.0.0/8"], "must be a network that can be routed"),
        (["224.0.0.0/4"], "must be a network that can be routed"),
        (["2001:db8::/32"], "podCIDR gives nodes IPv4 alone, got 2001:db8::/32"),
        (["2001:db8::1"], "podCIDR gives nodes IPv4 alone, got 2001:db8::1/128"),
        (["::/0"], "podCIDR gives nodes IPv4 alone"),
        (["a.example:443"], "without port or scheme"),
        (["https://a.example"], "without port or scheme"),
        (["*.a.example"], "a name stands for all names below it too"),
        (["a b"], "DNS names"),
        (["-a.example"], "DNS names"),
        (["a/nftset=/b"], "DNS names"),
        ([""], "DNS names"),
        ([10], "DNS names"),
        ([None], "DNS names"),
        ([["a"]], "DNS names"),
    ],
)
def test_what_is_wrong_with_egress_is_said(value: Any, said: str) -> None:
    problem = the_problem(egress=value)
    assert problem.startswith("spec.network.egress")
    assert said in problem


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("all", '"none" or a list of ports'),
        (80, '"none" or a list of ports'),
        ([], "for nothing, write none"),
        ([0], "ports from 1 to 65535"),
        ([65536], "ports from 1 to 65535"),
        ([-1], "ports from 1 to 65535"),
        ([True], "ports from 1 to 65535"),
        (["80"], "ports from 1 to 65535"),
        ([80.0], "ports from 1 to 65535"),
        ([None], "ports from 1 to 65535"),
    ],
)
def test_what_is_wrong_with_host_access_is_said(value: Any, said: str) -> None:
    problem = the_problem(hostAccess=value)
    assert problem.startswith("spec.network.hostAccess")
    assert said in problem


@pytest.mark.parametrize(
    ("network", "offline", "expected"),
    [
        (Network(), False, Outside(everything=True)),
        (Network(), True, Outside()),
        (Network(egress=Egress.FULL), True, Outside(everything=True)),
        (Network(egress=Egress.NONE), False, Outside()),
        (Network(host_access=(80,)), True, Outside(host_ports=(80,))),
        (
            Network(egress=("a.b", "10.0.0.0/8", "c"), host_access=(1, 2)),
            True,
            Outside(networks=("10.0.0.0/8",), names=("a.b", "c"), host_ports=(1, 2)),
        ),
    ],
)
def test_offline_closes_what_the_file_does_not_open(
    network: Network, offline: bool, expected: Outside
) -> None:
    own = ("10.244.0.0/16", "10.96.0.0/16")
    assert opened_by(network, offline=offline) == replace(expected, own=own)
    assert expected.nothing is (expected == Outside())


def test_networks_of_the_cluster_are_told_once_they_are_known() -> None:
    both = {"pod_cidr": "auto", "service_cidr": "10.97.0.0/16,fd00:97::/112"}
    assert opened_by(Network(**both), offline=False).own == ("10.97.0.0/16", "fd00:97::/112")
