"""Networks of clusters' machines: which each gets, what is recorded, and who has which address."""

from __future__ import annotations

import ipaddress
import itertools
import json
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from simulated_host import Simulation

from ohmykube.errors import IntegrityError, ProviderError
from ohmykube.kit.paths import Paths
from ohmykube.model.cluster import Cluster, Network, Node, Role
from ohmykube.model.exposure import ExposedPort
from ohmykube.model.machine import MachineSpec
from ohmykube.model.networks import overlap, parsed
from ohmykube.model.outside import Outside
from ohmykube.providers.base import ProviderContext
from ohmykube.providers.nspawn import records, subnet_choice
from ohmykube.providers.nspawn.provider import NspawnProvider
from ohmykube.providers.nspawn.subnet import Subnet
from ohmykube.testing.reporter import RecordingReporter

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.linux

PODS = {4: "10.244.0.0/16", 6: "fd00:10:244::/56"}
SERVICES = {4: "10.96.0.0/16", 6: "fd00:10:96::/112"}
ORDERS = [(4,), (6,), (4, 6), (6, 4)]


@pytest.fixture
def simulation(tmp_path: Path) -> Simulation:
    return Simulation(root=tmp_path / "host", version=2)


def described(order: tuple[int, ...] = (4,), **fields: str) -> Network:
    """Return networks with these IP families."""
    found = {
        "pod_cidr": ",".join(PODS[one] for one in order),
        "service_cidr": ",".join(SERVICES[one] for one in order),
    }
    return Network(**{**found, **fields})


def made(
    simulation: Simulation, home: Path, name: str, network: Network, *nodes: str
) -> NspawnProvider:
    """Make a cluster's machines; return their provider."""
    names = nodes or ("cp1",)
    cluster = Cluster(
        name=name,
        kubernetes_version="1.36.3",
        provider="nspawn",
        nodes=tuple(Node(name=node, role=Role.WORKER) for node in names),
        network=network,
    )
    paths = Paths(state=home / "s", data=home / "d", cache=home / "c")
    context = ProviderContext(paths=paths, reporter=RecordingReporter(), cluster=cluster)
    provider = NspawnProvider(context, simulation.host())
    for node in names:
        provider.create(MachineSpec(cluster=name, node=node))
    return provider


def recorded(home: Path, name: str) -> list[str]:
    content = json.loads((home / "d/nspawn" / name / "cluster.json").read_text())
    return list(content["networks"])


@pytest.mark.parametrize("order", ORDERS)
def test_clusters_share_no_network_and_have_their_own_for_life(
    simulation: Simulation, tmp_path: Path, order: tuple[int, ...]
) -> None:
    names = [f"c{number}" for number in range(6)]
    for name in names:
        made(simulation, tmp_path, name, described(order))
    found = {name: [parsed(text)[0] for text in recorded(tmp_path, name)] for name in names}
    for one, other in itertools.combinations(names, 2):
        assert not any(overlap(a, b) for a in found[one] for b in found[other])
    assert all(tuple(n.version for n in networks) == order for networks in found.values())
    for one in (text for name in names for text in recorded(tmp_path, name)):
        assert one == str(ipaddress.ip_network(one))
    provider = made(simulation, tmp_path, "c0", described(order), "cp1", "w1")
    provider.delete("c0", "cp1")
    assert recorded(tmp_path, "c0") == [str(one) for one in found["c0"]]
    provider.delete("c0", "w1")
    made(simulation, tmp_path, "again", described(order))
    assert recorded(tmp_path, "again") == [str(one) for one in found["c0"]], "it is free again"


def test_clusters_that_are_made_at_once_share_none(simulation: Simulation, tmp_path: Path) -> None:
    threads = [
        threading.Thread(target=made, args=(simulation, tmp_path, f"c{n}", described((4, 6))))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    every = [text for n in range(8) for text in recorded(tmp_path, f"c{n}")]
    assert len(set(every)) == len(every) == 16


@pytest.mark.parametrize(
    ("taken", "fields", "expected"),
    [
        ([], {}, "10.88.0.0/24"),
        ([("10.88.0.0", 24)], {}, "10.88.2.0/24"),  # the second is for ways out
        ([("10.88.0.0", 21)], {}, "10.88.8.0/24"),
        # Where this host reaches all of them, one that it would hide is better than none.
        ([("10.0.0.0", 8)], {}, "10.88.0.0/24"),
        ([], {"pod_cidr": "10.88.0.0/24"}, "10.88.2.0/24"),
        ([], {"service_cidr": "10.88.0.0/20"}, "10.88.16.0/24"),
        ([("10.88.0.0", 24)], {"machine_cidr": "10.88.0.0/24"}, "10.88.0.0/24"),
        ([], {"machine_cidr": "172.20.0.0/22"}, "172.20.0.0/22"),
    ],
)
def test_routes_of_this_host_and_networks_of_the_cluster_are_kept_clear_of(
    simulation: Simulation,
    tmp_path: Path,
    taken: list[tuple[str, int]],
    fields: dict[str, str],
    expected: str,
) -> None:
    lines = ["Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT"]
    for text, prefix in taken:
        network = ipaddress.IPv4Network(f"{text}/{prefix}")
        target, mask = (
            int.from_bytes(one.packed, "little") for one in (network[0], network.netmask)
        )
        lines.append(f"wg0 {target:08X} 00000000 0001 0 0 0 {mask:08X} 0 0 0")
    (simulation.proc / "thread-self/net").mkdir(parents=True)
    (simulation.proc / "thread-self/net/route").write_text("\n".join(lines) + "\n")
    made(simulation, tmp_path, "dev", described(**fields))
    assert recorded(tmp_path, "dev") == [expected]


def test_when_all_are_taken_it_is_said_and_nothing_is_made(
    simulation: Simulation, tmp_path: Path
) -> None:
    network = described(pod_cidr="10.64.0.0/10")
    with pytest.raises(ProviderError, match="no IPv4 network is left") as caught:
        subnet_choice.chosen(simulation.host(), "dev", network, [])
    assert "machineCIDR" in str(caught.value.hint)


@pytest.mark.parametrize("order", ORDERS)
def test_a_node_has_an_address_of_each_family_with_the_same_number(
    simulation: Simulation, tmp_path: Path, order: tuple[int, ...]
) -> None:
    provider = made(simulation, tmp_path, "dev", described(order), "cp1", "w1", "w2")
    networks = [parsed(text)[0] for text in recorded(tmp_path, "dev")]
    for number, machine in enumerate(provider.list("dev"), 11):
        assert machine.addresses == tuple(str(network[number]) for network in networks)
        assert machine.ssh is not None
        assert machine.ssh.address == machine.address
    known = (tmp_path / "d/nspawn/dev/known_hosts").read_text().splitlines()
    assert [line.split()[0] for line in known] == [m.address for m in provider.list("dev")]
    root = tmp_path / "d/nspawn/dev/nodes/w1/root/etc"
    assert (root / "resolv.conf").read_text() == f"nameserver {networks[0][1]}\n"
    assert f"{networks[0][12]} w1\n" in (root / "hosts").read_text()
    made_once = {m.node: m.addresses for m in provider.list("dev")}
    provider.stop("dev", "w1")
    provider.start("dev", "w1")
    assert {m.node: m.addresses for m in provider.list("dev")} == made_once


@pytest.mark.parametrize("order", ORDERS)
def test_this_host_reaches_services_of_each_family_through_the_nodes(
    simulation: Simulation, tmp_path: Path, order: tuple[int, ...]
) -> None:
    """And what is near, the nodes themselves and the way out, straight."""
    provider = made(simulation, tmp_path, "dev", described(order), "cp1", "w1")
    provider.publish("dev", [ExposedPort("192.0.2.7", 80)])
    told = json.loads((tmp_path / "d/nspawn/dev/ports.json").read_text())
    machines = provider.list("dev")
    every = [machine.addresses for machine in machines]
    assert told["nodes"] == [one[place] for place in range(len(order)) for one in every]
    for place, family in enumerate(order):
        ran = [argv for argv in simulation.ran if argv[:2] == ("ip", f"-{family}")]
        (route,) = {argv[4:] for argv in ran if "route" in argv}
        hops = [word for one in every for word in ("nexthop", "via", one[place])]
        assert route == ("route", "replace", "default", "table", "96", *hops)
        near = [argv[argv.index("to") + 1] for argv in ran if "to" in argv]
        out = {4: "10.88.1.0/24", 6: "fd00::/64"}[family]
        assert near == [recorded(tmp_path, "dev")[place], out]
    assert (
        not [a for a in simulation.ran if a[:2] == ("ip", f"-{10 - sum(order)}")] or len(order) > 1
    )


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("carrier", ["slirp4netns", "pasta"])
def test_ipv6_leads_out_where_nodes_have_it_and_the_carrier_brings_it(
    simulation: Simulation, tmp_path: Path, order: tuple[int, ...], carrier: str
) -> None:
    if carrier == "pasta":
        simulation.failing["which slirp4netns"] = ""
    provider = made(simulation, tmp_path, "dev", described(order))
    provider.open_outside("dev", Outside(everything=True))
    brings = 6 in order and carrier == "slirp4netns"
    assert any("--enable-ipv6" in argv for argv in simulation.ran) is brings
    (started,) = [" ".join(argv) for argv in simulation.ran if "txqueuelen" in " ".join(argv)]
    assert ("address replace fd00::100/64 dev out0 nodad" in started) is brings
    assert ("route replace default via fd00::2 dev out0" in started) is brings
    (resolver,) = [argv for argv in simulation.ran if "dnsmasq" in argv and "--no-hosts" in argv]
    (host,) = [word for word in resolver if word.startswith("--host-record=")]
    assert ("fd00::2" in host) is brings


NONE, ANY = "0" * 32, "::/0"


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    ("routes", "ways"),
    [
        ([], ["fd00::/64"]),
        (["fd00:7::/48"], ["fd00:7::/48", "fd00::/64"]),
        (["fd00:7::/48", ANY], []),
        ([ANY], []),
    ],
)
def test_what_of_ipv6_this_host_has_no_way_to_is_refused_at_once(
    simulation: Simulation,
    tmp_path: Path,
    order: tuple[int, ...],
    routes: list[str],
    ways: list[str],
) -> None:
    """As known when it is opened, or opened again; nodes without IPv6 are not concerned."""

    def write(*networks: str) -> None:
        rows = [ipaddress.IPv6Network(text) for text in networks]
        (simulation.proc / "thread-self/net/ipv6_route").write_text(
            "".join(
                f"{row[0].packed.hex()} {row.prefixlen:02x} {NONE} 00 {NONE} 0 1 0 00000003 wg0\n"
                for row in rows
            )
        )

    (simulation.proc / "thread-self/net").mkdir(parents=True)
    write(*routes)
    provider = made(simulation, tmp_path, "dev", described(order))
    provider.open_outside("dev", Outside(everything=True))
    (rules,) = [text for text in simulation.inputs if "table inet" in text]
    told = [line.strip() for line in rules.splitlines() if "no-route" in line]
    expected = [f"ip6 daddr != {{ {', '.join(ways)} }} reject with icmpv6 no-route"]
    assert told == (expected if ways and 6 in order else [])
    started = len(simulation.ran)
    provider.open_outside("dev", Outside(everything=True))
    assert not any("--enable-sandbox" in argv for argv in simulation.ran[started:])
    write(*routes, "fd00:99::/48")
    provider.open_outside("dev", Outside(everything=True))
    again = [text for text in simulation.inputs if "table inet" in text][1:]
    assert bool(again) is bool(ways and 6 in order)
    assert all("fd00:99::/48" in text for text in again)


@pytest.mark.parametrize("order", [(6,), (4, 6)])
def test_the_api_of_a_cluster_with_ipv6_is_on_the_loopback(
    simulation: Simulation, tmp_path: Path, order: tuple[int, ...]
) -> None:
    provider = made(simulation, tmp_path, "dev", described(order))
    (machine,) = provider.list("dev")
    host, port = provider.api_endpoint("dev", machine.address, 6443)
    assert host == "127.0.0.1"
    told = json.loads((tmp_path / "d/nspawn/dev/ports.json").read_text())["forwards"]
    assert [one["target"]["address"] for one in told] == [machine.address]
    assert [(one["host_port"], one["target"]["port"]) for one in told] == [(port, 6443)]
    provider.stop("dev", "cp1")
    provider.start("dev", "cp1")
    assert provider.api_endpoint("dev", machine.address, 6443) == (host, port)


def test_a_cluster_of_before_keeps_its_network(simulation: Simulation, tmp_path: Path) -> None:
    """Its record says nothing of networks; another cluster does not get the same."""
    made(simulation, tmp_path, "dev", described())
    marker = tmp_path / "d/nspawn/dev/cluster.json"
    content = json.loads(marker.read_text())
    assert content["schema"] == 1, "older versions know it"
    del content["networks"]
    marker.write_text(json.dumps(content))
    provider = made(simulation, tmp_path, "dev", described(), "cp1", "w1")
    assert [m.address for m in provider.list("dev")] == ["10.88.0.11", "10.88.0.12"]
    made(simulation, tmp_path, "other", described())
    assert recorded(tmp_path, "other") == ["10.88.2.0/24"]


@pytest.mark.parametrize("networks", [("10.88.2.0/24",), ("10.88.0.0/24", "fd00:10:88::/64")])
def test_what_older_versions_would_start_without_its_network_they_leave_alone(
    tmp_path: Path, networks: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    schema = records.schema_of("", (), networks)
    record = records.ClusterRecord(cluster="dev", id="1", networks=networks, schema=schema)
    path = tmp_path / "cluster.json"
    records.write(path, record)
    assert records.read(path, records.ClusterRecord) == record
    monkeypatch.setattr(records, "SCHEMA", records.MOUNTS)
    with pytest.raises(IntegrityError, match="newer"):
        records.read(path, records.ClusterRecord)


@pytest.mark.parametrize("mtu", [None, 1280, 1400, 9000])
def test_links_of_a_cluster_have_the_mtu_that_it_was_given(
    simulation: Simulation, tmp_path: Path, mtu: int | None
) -> None:
    """Also those of nodes that come later, and after a start."""
    network = replace(described((4, 6)), mtu=mtu)
    provider = made(simulation, tmp_path, "dev", network, "cp1")
    made(simulation, tmp_path, "dev", described((4, 6)), "cp1", "w1")
    provider.stop("dev", "cp1")
    provider.start("dev", "cp1")
    words = " ".join(
        [*simulation.inputs, *(" ".join(argv) for argv in simulation.ran if "mtu" in argv)]
    ).split()
    sizes = {words[n + 1] for n, word in enumerate(words) if word == "mtu"}
    assert sizes == {str(mtu or 65520)}


def test_a_small_network_has_as_many_nodes_as_it_has_room_for() -> None:
    whole = Subnet.of(("10.77.0.0/16", "fd00:77::/120"))
    assert (whole.numbers[0], whole.numbers[-1]) == (11, 254)
    assert whole.of_number(254) == ("10.77.0.254", "fd00:77::fe")
    addresses = {f"n{number}": whole.of_number(number)[0] for number in whole.numbers}
    assert whole.free_number("more", (), addresses) == 0
    del addresses["n17"]
    assert whole.free_number("more", (), addresses) == 17


def test_who_builds_templates_takes_no_network_away(simulation: Simulation) -> None:
    host = simulation.host()
    own = replace(described((4, 6)), machine_cidr="auto")
    assert subnet_choice.chosen(host, "_build", None, []) == (records.NETWORK,)
    assert subnet_choice.chosen(host, "dev", own, [])[0] == records.NETWORK
