"""The way out of a cluster's network on a simulated host: what is started, when, and with what."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from simulated_host import Simulation

from ohmykube.errors import PrerequisiteError, ProviderError
from ohmykube.kit.paths import Paths
from ohmykube.model.machine import MachineSpec
from ohmykube.model.outside import HOST_NAME, Outside
from ohmykube.progress import NullReporter
from ohmykube.providers.base import CheckStatus, OpensOutside, ProviderContext
from ohmykube.providers.nspawn import layout, preflight, uplink, uplink_rules
from ohmykube.providers.nspawn.provider import NspawnProvider
from ohmykube.providers.nspawn.subnet import Subnet
from ohmykube.providers.nspawn.uplink_rules import Resolving

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.linux

ALL = Outside(everything=True)
FIRST, SECOND = uplink.CARRIERS
BOTH = ["dnsmasq", FIRST]
IPV4_ONLY, IPV6_ONLY = Subnet.of(("10.88.0.0/24",)), Subnet.of(("fd00:7::/64",))
BOTH_FAMILIES = Subnet.of(("10.88.0.0/24", "fd00:7::/64"))
MANY = tuple(f"d{number}" for number in range(40))


@pytest.fixture
def simulation(tmp_path: Path) -> Simulation:
    return Simulation(root=tmp_path / "host", version=2)


@pytest.fixture
def provider(simulation: Simulation, tmp_path: Path) -> NspawnProvider:
    paths = Paths(state=tmp_path / "s", data=tmp_path / "d", cache=tmp_path / "c")
    context = ProviderContext(paths=paths, reporter=NullReporter())
    made = NspawnProvider(context, simulation.host())
    made.create(MachineSpec(cluster="dev", node="cp1"))
    return made


def launches(simulation: Simulation, program: str) -> int:
    return sum(program in argv and "--help" not in argv for argv in simulation.ran)


def rules_of(outside: Outside, dns_over_tcp: str = "") -> list[str]:
    text = uplink_rules.ruleset(outside, dns_over_tcp)
    return [line.strip() for line in text.splitlines()]


class TestLife:
    """The programs run exactly while something is open and the cluster runs."""

    def test_a_cluster_of_which_nothing_was_said_has_none(
        self, simulation: Simulation, provider: NspawnProvider
    ) -> None:
        assert isinstance(provider, OpensOutside)
        provider.start("dev", "cp1")
        assert simulation.helpers() == []

    @pytest.mark.parametrize(
        "outside",
        [
            ALL,
            Outside(networks=("192.0.2.0/24",)),
            Outside(names=("example.com",)),
            Outside(host_ports=(53,)),
        ],
    )
    def test_they_come_once_go_with_a_stop_and_are_back_after_a_start(
        self, simulation: Simulation, provider: NspawnProvider, outside: Outside
    ) -> None:
        provider.open_outside("dev", outside)
        provider.open_outside("dev", outside)
        assert simulation.helpers() == BOTH
        assert launches(simulation, FIRST) == 1
        provider.stop("dev", "cp1")
        assert simulation.helpers() == []
        provider.start("dev", "cp1")
        assert simulation.helpers() == BOTH

    def test_they_are_back_after_the_host_was_booted(
        self, simulation: Simulation, provider: NspawnProvider
    ) -> None:
        provider.open_outside("dev", ALL)
        simulation.reboot()
        assert simulation.helpers() == []
        provider.start("dev", "cp1")
        assert simulation.helpers() == BOTH

    @pytest.mark.parametrize("killed", BOTH)
    @pytest.mark.parametrize("again", ["open", "start"])
    def test_whichever_was_killed_the_next_command_brings_both_back(
        self, simulation: Simulation, provider: NspawnProvider, killed: str, again: str
    ) -> None:
        provider.open_outside("dev", ALL)
        (pid,) = [
            int(path.parent.name)
            for path in simulation.proc.glob("[0-9]*/status")
            if f"Helper:\t{killed}" in path.read_text()
        ]
        simulation.kill(pid, 9)
        assert killed not in simulation.helpers()
        if again == "open":
            provider.open_outside("dev", ALL)
        else:
            provider.start("dev", "cp1")
        assert simulation.helpers() == BOTH

    def test_nothing_open_is_no_program(
        self, simulation: Simulation, provider: NspawnProvider
    ) -> None:
        provider.open_outside("dev", ALL)
        provider.open_outside("dev", Outside())
        assert simulation.helpers() == []
        provider.start("dev", "cp1")
        assert simulation.helpers() == []

    def test_what_is_open_changes_in_place(
        self, simulation: Simulation, provider: NspawnProvider
    ) -> None:
        provider.open_outside("dev", ALL)
        provider.open_outside("dev", Outside(networks=("192.0.2.0/24",)))
        assert simulation.helpers() == BOTH
        assert launches(simulation, FIRST) == 2

    def test_another_resolver_of_the_host_is_taken_over(
        self, simulation: Simulation, provider: NspawnProvider
    ) -> None:
        provider.open_outside("dev", ALL)
        (simulation.root / "etc/resolv.conf").write_text("nameserver 192.0.2.54\n")
        provider.open_outside("dev", ALL)
        assert launches(simulation, FIRST) == 2

    @pytest.mark.parametrize("text", ["", "{", "[]", '{"outside": 1}', '{"outside": {}}'])
    def test_a_file_that_cannot_be_read_is_written_again(
        self, simulation: Simulation, provider: NspawnProvider, tmp_path: Path, text: str
    ) -> None:
        provider.open_outside("dev", ALL)
        path = tmp_path / "d/nspawn/dev/outside.json"
        path.write_text(text)
        provider.start("dev", "cp1")
        provider.open_outside("dev", ALL)
        assert json.loads(path.read_text())["outside"]["everything"] is True
        assert simulation.helpers() == BOTH

    def test_all_of_it_goes_with_the_cluster(
        self, simulation: Simulation, provider: NspawnProvider, tmp_path: Path
    ) -> None:
        provider.open_outside("dev", ALL)
        provider.delete("dev", "cp1")
        assert simulation.traces() == []
        assert list((tmp_path / "d").rglob("*")) == []

    def test_a_cluster_that_is_not_there_cannot_be_opened(self, provider: NspawnProvider) -> None:
        with pytest.raises(ProviderError) as caught:
            provider.open_outside("other", ALL)
        assert caught.value.id == "OMK-P-115"


class TestOrder:
    def test_the_rules_are_there_before_the_way_out(
        self, simulation: Simulation, provider: NspawnProvider
    ) -> None:
        provider.open_outside("dev", ALL)
        order = [
            name
            for argv in simulation.ran
            for name in ("nft", FIRST)
            if name in argv and "--help" not in argv
        ]
        assert order == ["nft", FIRST]

    @pytest.mark.parametrize("program", BOTH)
    def test_a_program_that_ends_at_once_is_told_and_leaves_nothing_open(
        self, simulation: Simulation, provider: NspawnProvider, program: str
    ) -> None:
        simulation.failing[program] = ""
        with pytest.raises(ProviderError) as caught:
            provider.open_outside("dev", ALL)
        assert caught.value.id == "OMK-P-451"
        assert simulation.helpers() == []
        del simulation.failing[program]
        provider.open_outside("dev", ALL)
        assert simulation.helpers() == BOTH

    @pytest.mark.parametrize("at", ["nsenter", "ip -n omk-dev link show dev out0"])
    def test_a_start_that_broke_off_is_done_again_as_a_whole(
        self, simulation: Simulation, provider: NspawnProvider, at: str
    ) -> None:
        simulation.failing[at] = "broken off"
        with pytest.raises(ProviderError):
            provider.open_outside("dev", ALL)
        begun = launches(simulation, FIRST)
        del simulation.failing[at]
        provider.start("dev", "cp1")
        assert launches(simulation, FIRST) == begun + 1
        assert simulation.helpers() == BOTH
        provider.open_outside("dev", ALL)
        assert launches(simulation, FIRST) == begun + 1


class TestPrograms:
    @pytest.mark.parametrize(("missing", "started"), [((), FIRST), ((FIRST,), SECOND)], ids=str)
    def test_one_comes_before_the_other(
        self,
        simulation: Simulation,
        provider: NspawnProvider,
        missing: tuple[str, ...],
        started: str,
    ) -> None:
        simulation.failing.update({f"which {name}": "" for name in missing})
        provider.open_outside("dev", ALL)
        assert simulation.helpers() == ["dnsmasq", started]

    @pytest.mark.parametrize(
        ("missing", "named"),
        [
            (("dnsmasq",), "dnsmasq"),
            (("nft",), "nft"),
            ((FIRST, SECOND), FIRST),
            (("nft", FIRST, SECOND), f"nft, {FIRST}"),
        ],
    )
    def test_what_is_missing_is_named_unless_nothing_is_to_be_open(
        self,
        simulation: Simulation,
        provider: NspawnProvider,
        missing: tuple[str, ...],
        named: str,
    ) -> None:
        simulation.failing.update({f"which {name}": "" for name in missing})
        with pytest.raises(PrerequisiteError) as caught:
            provider.open_outside("dev", ALL)
        assert caught.value.id == "OMK-P-450"
        assert caught.value.message.endswith(f": {named} missing")
        provider.open_outside("dev", Outside())

    @pytest.mark.parametrize(
        ("missing", "failed"),
        [
            ((), set()),
            ((FIRST,), set()),
            ((FIRST, SECOND), {uplink.CARRIERS[FIRST]}),
            (("dnsmasq",), {"dnsmasq-base"}),
            (("nft",), {"nftables"}),
        ],
    )
    @pytest.mark.parametrize("outside", [True, False])
    def test_the_doctor_knows_their_packages_and_asks_for_none_where_nothing_is_open(
        self,
        simulation: Simulation,
        tmp_path: Path,
        missing: tuple[str, ...],
        failed: set[str],
        outside: bool,
    ) -> None:
        simulation.failing.update({f"which {name}": "" for name in missing})
        paths = Paths(state=tmp_path, data=tmp_path, cache=tmp_path)
        checks = preflight.check(simulation.host(), paths, outside=outside)
        mine = [c for c in checks if c.status is CheckStatus.FAIL and c.for_network]
        packages = {name for check in mine for name in check.packages}
        assert packages == (failed if outside else set())

    def test_a_host_without_tun_is_told_of(self, simulation: Simulation, tmp_path: Path) -> None:
        (simulation.root / "dev/net/tun").unlink()
        paths = Paths(state=tmp_path, data=tmp_path, cache=tmp_path)
        (found,) = [c for c in preflight.check(simulation.host(), paths) if c.id == "tun"]
        assert (found.status, found.fix) == (CheckStatus.FAIL, "modprobe tun")

    @pytest.mark.parametrize(
        ("allowed", "possible"),
        [("0 2147483647", True), ("0 0", True), ("1 0", False), ("1000 2000", False)],
    )
    def test_whether_nodes_can_ping_is_the_hosts_setting(
        self, simulation: Simulation, tmp_path: Path, allowed: str, possible: bool
    ) -> None:
        (simulation.proc / "sys/net/ipv4/ping_group_range").write_text(allowed)
        paths = Paths(state=tmp_path, data=tmp_path, cache=tmp_path)
        (found,) = [c for c in preflight.check(simulation.host(), paths) if c.id == "ping"]
        assert (found.evidence == "possible") is possible
        assert found.status is (CheckStatus.OK if possible else CheckStatus.NOTE)


class TestNames:
    """Nodes and pods resolve what the host resolves, and the host's own name."""

    @pytest.mark.parametrize(
        ("text", "server", "search"),
        [
            ("", "", ()),
            ("# nameserver 192.0.2.1\n", "", ()),
            ("nameserver 192.0.2.1\nnameserver 192.0.2.2\n", "192.0.2.1", ()),
            ("nameserver 127.0.0.53\noptions edns0\nsearch a.b c.\n", "127.0.0.53", ("a.b", "c")),
            ("nameserver 2001:db8::1\nnameserver 192.0.2.2\n", "192.0.2.2", ()),
            ("nameserver fe80::1%eth0\n", "", ()),
            ("search .\n", "", ()),
            ("search a\ndomain b.c\n", "", ("b.c",)),
            ("search $(id) a;b good.example\n", "", ("good.example",)),
            ("search\n", "", ()),
            ("nameserver\n", "", ()),
            (f"search {' '.join(MANY)}", "", MANY[:32]),
        ],
    )
    def test_the_hosts_resolv_conf_is_read(
        self, text: str, server: str, search: tuple[str, ...]
    ) -> None:
        assert uplink_rules.resolving(text) == Resolving(server=server, search=search)

    def test_nodes_have_the_hosts_search_domains_while_names_are_of_use(
        self, provider: NspawnProvider, tmp_path: Path
    ) -> None:
        path = tmp_path / "d/nspawn/dev/nodes/cp1/root/etc/resolv.conf"
        closed = "nameserver 10.88.0.1\n"
        assert path.read_text() == closed
        provider.open_outside("dev", ALL)
        assert path.read_text() == f"search corp.example\n{closed}"
        provider.stop("dev", "cp1")
        provider.start("dev", "cp1")
        assert path.read_text() == f"search corp.example\n{closed}"
        provider.open_outside("dev", Outside(host_ports=(1,)))
        assert path.read_text() == closed

    @pytest.mark.parametrize(
        ("outside", "asks_host", "asked"),
        [
            (ALL, True, True),
            (ALL, False, False),
            (Outside(names=("a.b",)), True, True),
            (Outside(networks=("192.0.2.0/24",)), True, True),
            (Outside(host_ports=(1,)), True, False),
        ],
    )
    def test_the_host_is_asked_where_it_can_be_and_its_own_name_is_known_always(
        self, outside: Outside, asks_host: bool, asked: bool
    ) -> None:
        for subnet, listens, own in (
            (IPV4_ONLY, ["10.88.0.1"], "10.88.1.2"),
            (IPV6_ONLY, ["fd00:7::1"], "fd00::2"),
            (BOTH_FAMILIES, ["10.88.0.1", "fd00:7::1"], "10.88.1.2,fd00::2"),
        ):
            argv = uplink_rules.resolver_argv(
                "dnsmasq", outside, subnet, subnet.families, asks_host=asks_host
            )
            assert (f"--server={layout.RESOLVER_ADDRESS}" in argv) is asked
            assert f"--host-record={HOST_NAME},{own}" in argv
            told = [a.partition("=")[2] for a in argv if a.startswith("--listen-address=")]
            assert told == listens

    def test_addresses_of_open_names_are_let_through_unless_all_are(self) -> None:
        some = uplink_rules.resolver_argv(
            "d", Outside(names=("a.b", "c")), IPV4_ONLY, (4,), asks_host=True
        )
        assert [a for a in some if a.startswith("--nftset")] == [
            "--nftset=/a.b/4#inet#ohmykube#names,6#inet#ohmykube#names6",
            "--nftset=/c/4#inet#ohmykube#names,6#inet#ohmykube#names6",
        ]
        every = uplink_rules.resolver_argv(
            "d", Outside(everything=True, names=("a.b",)), IPV4_ONLY, (4,), asks_host=True
        )
        assert not any(a.startswith("--nftset") for a in every)

    @pytest.mark.parametrize(
        ("resolvers", "pasta", "led_to"),
        [
            (("192.0.2.53", ""), "old", "192.0.2.53"),
            (("127.0.0.1", ""), "old", layout.HOST_ADDRESS),
            (("127.0.0.53", "192.0.2.9"), "old", "192.0.2.9"),
            (("127.0.0.53", "127.0.0.2"), "old", ""),
            (("127.0.0.53", ""), "old", ""),
            (("192.0.2.53", ""), "--dns-host ADDR", ""),
            (("127.0.0.53", "192.0.2.9"), "--dns-host ADDR", ""),
        ],
    )
    def test_dns_over_tcp_goes_where_pasta_does_not_bring_it(
        self,
        simulation: Simulation,
        provider: NspawnProvider,
        resolvers: tuple[str, str],
        pasta: str,
        led_to: str,
    ) -> None:
        resolver, upstream = resolvers
        simulation.failing["which slirp4netns"] = ""
        simulation.pasta_help = pasta
        (simulation.root / "etc/resolv.conf").write_text(f"nameserver {resolver}\n")
        stub = simulation.run_dir.parent / "systemd/resolve/resolv.conf"
        stub.parent.mkdir(parents=True)
        stub.write_text(f"nameserver {upstream}\n")
        provider.open_outside("dev", ALL)
        (rules,) = [text for text in simulation.inputs if "table inet" in text]
        assert rules == uplink_rules.ruleset(ALL, led_to) + "\n"


class TestRules:
    """Each packet that leaves is judged by where it goes."""

    @pytest.mark.parametrize(
        ("outside", "accepted"),
        [
            (Outside(), []),
            (ALL, ["accept"]),
            (Outside(networks=("192.0.2.0/24", "203.0.113.7/32")),
             ["ip daddr { 192.0.2.0/24, 203.0.113.7/32 } accept"]),
            (Outside(networks=("192.0.2.0/24", "2001:db8::/32")),
             ["ip daddr { 192.0.2.0/24 } accept", "ip6 daddr { 2001:db8::/32 } accept"]),
            (Outside(names=("a.b",)), ["ip daddr @names accept", "ip6 daddr @names6 accept"]),
            (Outside(host_ports=(80, 443)), [
                "ip daddr 10.88.1.2 th dport { 80, 443 } accept",
                "ip6 daddr fd00::2 th dport { 80, 443 } accept",
            ]),
        ],
    )  # fmt: skip
    def test_what_is_not_open_is_refused(self, outside: Outside, accepted: list[str]) -> None:
        lines = rules_of(outside)
        start = lines.index('oifname != "out0" accept')
        end = lines.index("drop")
        found = [line for line in lines[start + 1 : end] if line.endswith("accept")]
        assert found == accepted
        refused = [line for line in lines[start:end] if "reject" in line]
        assert refused[0].startswith("ip daddr 10.88.1.0/24 ")
        assert refused[1].startswith("ip6 daddr fd00::/64 ")

    @pytest.mark.parametrize("outside", [ALL, Outside(networks=("10.0.0.0/8",))])
    def test_no_list_opens_the_host_itself(self, outside: Outside) -> None:
        lines = rules_of(outside)
        closed = lines.index("ip daddr 10.88.1.0/24 reject with icmp admin-prohibited")
        opened = [n for n, line in enumerate(lines) if line.endswith("accept")]
        assert max(opened) > closed
        assert [lines[n] for n in opened if n < closed] == ['oifname != "out0" accept']

    @pytest.mark.parametrize(
        "outside", [ALL, Outside(networks=("10.0.0.0/8", "fd00::/8")), Outside(host_ports=(1,))]
    )
    def test_the_clusters_own_networks_stay_inside(self, outside: Outside) -> None:
        lines = rules_of(replace(outside, own=("10.96.0.0/16", "fd00:96::/112")))
        start = lines.index('oifname != "out0" accept')
        assert lines[start + 1 : start + 3] == [
            "ip daddr 10.96.0.0/16 reject with icmpx port-unreachable",
            "ip6 daddr fd00:96::/112 reject with icmpx port-unreachable",
        ]

    def test_dns_over_tcp_is_led_where_it_is_said(self) -> None:
        assert "ip daddr 10.88.1.3 tcp dport 53 dnat ip to 192.0.2.1" in rules_of(ALL, "192.0.2.1")
        assert not any("dnat" in line for line in rules_of(ALL))


@pytest.mark.parametrize(
    ("outside", "text"),
    [
        (Outside(), "nothing outside of the cluster"),
        (ALL, "all that this host reaches"),
        (Outside(networks=("10.0.0.0/8",), names=("a.b",)), "10.0.0.0/8, a.b"),
        (Outside(host_ports=(1,)), "port 1 of this host"),
        (
            Outside(everything=True, networks=("10.0.0.0/8",), host_ports=(1, 2)),
            "all that this host reaches, ports 1, 2 of this host",
        ),
    ],
)
def test_people_are_told_what_is_open(outside: Outside, text: str) -> None:
    assert str(outside) == text


def test_carriers_name_no_interface_of_the_host_and_mount_nothing_there(tmp_path: Path) -> None:
    built = [uplink_rules.pasta_argv("carrier", tmp_path / "omk-dev")]
    for families in [(4,), (6,), (4, 6), (6, 4)]:
        built.append(uplink_rules.slirp_argv("carrier", tmp_path / "omk-dev", families))
        # DNS goes out by IPv4, whatever nodes have; IPv6 is there for those that have it.
        assert ("--enable-ipv6" in built[-1]) is (6 in families)
    for argv in built:
        assert "carrier" in argv
        assert str(tmp_path / "omk-dev") in argv
        assert layout.UPLINK in argv
        assert argv[:3] == ["unshare", "--mount", "--propagation=private"]
