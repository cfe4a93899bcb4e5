"""What a system container reaches outside of its cluster, in an internet that the test made."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
from dataclasses import dataclass, replace
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from outside import new_cluster_name, traces

from ohmykube.kit.paths import Paths
from ohmykube.model.cluster import Cluster, Network
from ohmykube.model.exposure import ExposedPort
from ohmykube.model.machine import MachineSpec
from ohmykube.model.outside import HOST_NAME, Outside
from ohmykube.progress import NullReporter
from ohmykube.providers.base import ProviderContext
from ohmykube.providers.nspawn import layout
from ohmykube.providers.nspawn.host_system import HostSystem, SystemCommands
from ohmykube.providers.nspawn.provider import NspawnProvider
from ohmykube.providers.nspawn.uplink import CARRIERS, RESOLVER
from ohmykube.providers.nspawn.uplink_rules import PACKETS_WAITING
from tests import internet
from tests.internet import ECHO, LOCAL, OTHER, PAGE, SITE, TRUNCATED, WEB

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tests.internet import Internet

pytestmark = pytest.mark.nodes
ALL = Outside(everything=True)
BOTH = Network(
    pod_cidr="10.244.0.0/16,fd00:10:244::/56", service_cidr="10.96.0.0/16,fd00:10:96::/112"
)


class Only(SystemCommands):
    """The programs of this host, without all carriers but one."""

    def __init__(self, carrier: str) -> None:
        self._others = set(CARRIERS) - {carrier}

    def which(self, program: str) -> str | None:
        """Find a program."""
        return None if program in self._others else super().which(program)


NODE = "cp1"
KEEPERS = ("sh", "sleep", "ip")
"""What starts helpers again, and gives the uplink its queue."""
_OF_CLUSTERS = re.compile(r"/nspawn|/run/netns/|/run/ohmykube/|/omk[-/]")
# As a program on a node does it, by the node's own resolv.conf.
ASK = """
import socket, struct, sys
what, server, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
socket.setdefaulttimeout(5)
def resolve(name, kind):
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    query = b"om\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0" + labels + b"\\0\\0\\1\\0\\1"
    with socket.socket(type=kind) as asks:
        asks.connect(("GATEWAY", 53))
        head = struct.pack(">H", len(query)) if kind == socket.SOCK_STREAM else b""
        asks.sendall(head + query)
        answer = asks.recv(4096)[len(head):] or asks.recv(4096)
        assert answer[7] == 1, answer[3] & 15
        return socket.inet_ntoa(answer[-4:])
try:
    if what == "resolve":
        print(resolve(server, socket.SOCK_DGRAM))
    elif what == "resolve-tcp":
        print(resolve(server, socket.SOCK_STREAM))
    elif what == "get":
        if server[-1].isalpha():
            server = resolve(server, socket.SOCK_DGRAM)
        with socket.create_connection((server, port)) as site:
            site.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
            page = b"".join(iter(lambda: site.recv(65536), b""))
        print(len(page.partition(b"\\r\\n\\r\\n")[2]))
    elif what == "echo":
        with socket.socket(type=socket.SOCK_DGRAM) as site:
            site.connect((server, port))
            site.send(b"x" * 4000)
            print(len(site.recv(65535)))
    elif what == "ping":
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as site:
            site.connect((server, 0))
            body = struct.pack(">BBHHH", 8, 0, 0, 77, 1)
            total = ~((8 << 8) + 77 + 1) & 0xFFFF
            site.send(struct.pack(">BBHHH", 8, 0, total, 77, 1))
            print(site.recv(2048)[20])
except (OSError, AssertionError) as error:
    print(type(error).__name__)
""".replace("GATEWAY", "10.88.0.1")


@dataclass(frozen=True)
class Node:
    """A machine of a cluster on the host that is played."""

    world: Internet
    cluster: str
    provider: NspawnProvider

    def open(self, outside: Outside) -> None:
        """Open exactly this."""
        internet.inside(self.world.host, lambda: self.provider.open_outside(self.cluster, outside))

    def does(self, what: str, server: str, port: int = 0) -> str:
        """Return what a program on the node says."""
        netns = layout.node_netns(self.cluster, NODE)
        argv = ["nsenter", f"--net=/run/netns/{netns}", "python3", "-c", ASK]
        done = subprocess.run(
            [*argv, what, server, str(port)],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return done.stdout.strip()

    def gets(self, server: str, port: int = WEB) -> bool:
        """Tell whether the node gets the whole page."""
        return self.does("get", server, port) == str(len(PAGE))

    def host_mounts(self) -> list[str]:
        """Return the mounts of this host, without those of clusters that others make meanwhile."""
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        return [line for line in lines if self.cluster in line or not _OF_CLUSTERS.search(line)]

    def helpers(self) -> dict[int, str]:
        """Return the processes that work for the cluster's way out, and their programs."""
        return {pid: name for pid, name in self.processes().items() if name not in KEEPERS}

    def processes(self) -> dict[int, str]:
        """Return the same with those that start them again."""
        found = {}
        for path in Path("/sys/fs/cgroup").glob(f"**/omk/{self.cluster}/_*/cgroup.procs"):
            for pid in path.read_text().split():
                # One that has just gone into the background leaves its parent, which ends.
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                    argv = Path(f"/proc/{pid}/cmdline").read_text()
                    found[int(pid)] = Path(argv.partition("\0")[0]).name
        return {pid: program for pid, program in found.items() if program}


@pytest.fixture(scope="module")
def world() -> Iterator[Internet]:
    with internet.made() as found:
        yield found


@pytest.fixture(scope="module")
def node(
    world: Internet, tmp_path_factory: pytest.TempPathFactory, shared_cache: Path
) -> Iterator[Node]:
    """Make one node for all tests, on the host that is played, with addresses of both families."""
    home, cluster = tmp_path_factory.mktemp("home"), new_cluster_name()
    paths = Paths(state=home / "state", data=home / "data", cache=shared_cache)
    described = Cluster(
        name=cluster, kubernetes_version="1.36.3", provider="nspawn", nodes=(), network=BOTH
    )
    provider = NspawnProvider(
        ProviderContext(paths=paths, reporter=NullReporter(), cluster=described)
    )
    provider.prepare()  # from the network of this machine
    before = world.settings()
    try:
        internet.inside(
            world.host, lambda: provider.create(MachineSpec(cluster=cluster, node=NODE))
        )
        yield Node(world, cluster, provider)
    finally:
        provider.delete(cluster, NODE)
    assert traces(cluster) == {}
    assert world.settings() == before


def test_a_node_reaches_nothing_before_anything_is_said(node: Node) -> None:
    node.world.seen()
    assert not node.gets(SITE)
    assert node.does("resolve", "a.example") == "ConnectionRefusedError"
    assert node.world.seen() == 0


def test_full_is_what_the_host_reaches(node: Node) -> None:
    """By address and by name; over TCP, UDP and ICMP, in packets larger than any link's."""
    node.open(ALL)
    for address in (SITE, OTHER, "www.example"):
        assert node.gets(address)
    assert node.does("echo", OTHER, ECHO) == "4000"
    assert node.does("ping", OTHER) == "0"
    assert node.does("resolve", "a.example") == SITE
    assert node.does("resolve-tcp", f"{TRUNCATED}.example") == SITE
    assert node.does("resolve", "a.nowhere") == "AssertionError"  # it is told that there is none


def test_what_meets_nobody_in_the_clusters_own_networks_does_not_leave(node: Node) -> None:
    """A service that is gone is refused at once, though the host has such a network too."""
    own = (str(ip_network(f"{SITE}/24", strict=False)), "fd00:97::/112")
    node.open(replace(ALL, own=own))
    node.world.seen()
    assert node.does("get", SITE, WEB) == "ConnectionRefusedError"
    assert node.does("echo", SITE, ECHO) == "ConnectionRefusedError"
    assert node.does("get", "fd00:97::1", WEB) == "ConnectionRefusedError"
    assert node.world.seen() == 0
    assert node.gets(OTHER)


@pytest.mark.parametrize("before", [Outside(), ALL, Outside(host_ports=(LOCAL + 1,))])
def test_the_hosts_own_loopback_is_open_where_a_port_of_it_is_named(
    node: Node, before: Outside
) -> None:
    """Whatever else is open."""
    node.open(before)
    assert not node.gets(layout.HOST_ADDRESS, LOCAL)
    node.open(Outside(everything=before.everything, host_ports=(LOCAL,)))
    assert node.does("resolve", HOST_NAME) == layout.HOST_ADDRESS
    assert node.gets(HOST_NAME, LOCAL)
    assert node.gets(SITE) is before.everything


def test_ipv6_leads_to_the_ports_of_the_host_that_are_named(node: Node) -> None:
    """And where the host itself has no way, the end is told at once."""
    with internet.web(node.world.host, "::1", LOCAL):
        for outside in (Outside(), ALL, Outside(host_ports=(LOCAL + 1,))):
            node.open(outside)
            assert not node.gets(layout.HOST_ADDRESS6, LOCAL)
        node.open(Outside(host_ports=(LOCAL,)))
        assert node.gets(layout.HOST_ADDRESS6, LOCAL)
        assert not node.gets("2001:db8::80")
    node.open(ALL)
    assert node.does("get", "2001:db8::80", WEB) == "OSError", "no route, instead of silence"


@pytest.mark.parametrize("family", ["4", "6"])
def test_a_packet_of_full_size_crosses_the_cluster_and_a_larger_one_does_not(
    node: Node, family: str
) -> None:
    """With the order not to cut it; the cluster's bridge is as far as any other node."""
    gateway, header = {"4": ("10.88.0.1", 28), "6": ("fd00:10:88::1", 48)}[family]
    kind = socket.AF_INET6 if ":" in gateway else socket.AF_INET

    def receiver() -> socket.socket:
        made = socket.socket(kind, socket.SOCK_DGRAM)
        made.bind((gateway, 0))
        made.settimeout(30)
        return made

    def sender() -> socket.socket:
        made = socket.socket(kind, socket.SOCK_DGRAM)
        level, option = {"4": (socket.IPPROTO_IP, 10), "6": (socket.IPPROTO_IPV6, 23)}[family]
        made.setsockopt(level, option, 2)  # IP_MTU_DISCOVER, IP_PMTUDISC_DO of linux/in.h
        return made

    size = layout.MTU - header
    with (
        internet.inside(layout.cluster_netns(node.cluster), receiver) as gets,
        internet.inside(layout.node_netns(node.cluster, NODE), sender) as sends,
    ):
        sends.sendto(b"x" * size, gets.getsockname()[:2])
        assert len(gets.recv(65535)) == size
        with pytest.raises(OSError, match="Message too long"):
            sends.sendto(b"x" * (size + 1), gets.getsockname()[:2])


@pytest.mark.parametrize(
    ("outside", "site", "other"),
    [
        (Outside(networks=("198.51.100.0/24",)), True, False),
        (Outside(networks=(f"{OTHER}/32",)), False, True),
        (Outside(networks=("192.0.2.0/24", "0.0.0.0/1")), False, False),
        (Outside(names=("example",)), True, False),
        (Outside(names=("open.example", "example.other")), True, False),
        (Outside(names=("shut.example",)), False, False),
        (Outside(networks=("203.0.113.0/24",), names=("open.example",)), True, True),
    ],
)
def test_a_list_opens_what_is_on_it(node: Node, outside: Outside, site: bool, other: bool) -> None:
    """Names with all below them; an address is open once it was told for an open name."""
    node.open(outside)
    assert node.gets("deep.open.example") is site
    assert node.gets(OTHER) is other


def test_none_lets_no_packet_out(node: Node) -> None:
    """Of each kind, counted where they would arrive."""
    node.open(ALL)
    node.world.seen()
    assert node.gets(SITE)
    assert node.world.seen() > 0
    node.open(Outside())
    node.world.seen()
    node.world.asked.clear()
    attempts = [("get", SITE, WEB), ("echo", OTHER, ECHO), ("ping", SITE, 0)]
    attempts += [("resolve", "a.example", 0), ("resolve-tcp", "a.example", 0)]
    attempts += [("get", layout.HOST_ADDRESS, LOCAL), ("get", "192.0.2.254", WEB)]
    said = [node.does(*attempt) for attempt in attempts]
    assert all(answer.endswith("Error") for answer in said), said
    assert node.world.seen() == 0
    assert node.world.asked == []
    assert node.helpers() == {}


def killed(pids: Iterable[int]) -> None:
    """Kill processes."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("carrier", CARRIERS)
def test_helpers_that_were_killed_are_back_by_themselves(
    node: Node, carrier: str, eventually: Callable[[Callable[[], bool]], bool]
) -> None:
    """As they were: with the same way out, and the same queue."""
    only = NspawnProvider(node.provider.context, HostSystem(commands=Only(carrier)))
    using = replace(node, provider=only)
    using.open(Outside())
    using.open(ALL)
    before = using.helpers()
    assert set(before.values()) == {carrier, RESOLVER}
    killed(before)

    def back() -> bool:
        now = using.helpers()
        return not set(now) & set(before) and set(now.values()) == set(before.values())

    assert eventually(back)
    assert eventually(lambda: using.gets("www.example"))
    link = ["ip", "-n", layout.cluster_netns(node.cluster), "link", "show", "dev", layout.UPLINK]
    queue = f"qlen {PACKETS_WAITING}"
    assert eventually(lambda: queue in subprocess.check_output(link, text=True))
    using.open(Outside())


def test_helpers_that_were_killed_with_what_keeps_them_are_back_with_the_next_command(
    node: Node, eventually: Callable[[Callable[[], bool]], bool]
) -> None:
    node.open(ALL)
    killed(sorted(node.processes()))  # the keepers first
    assert eventually(lambda: not node.processes())
    assert not node.gets(SITE)
    internet.inside(node.world.host, lambda: node.provider.restore_helpers(node.cluster))
    assert node.gets("www.example")


@pytest.mark.parametrize("carrier", CARRIERS)
def test_each_carrier_does_the_same_and_leaves_the_hosts_mounts_alone(
    node: Node, carrier: str
) -> None:
    only = NspawnProvider(node.provider.context, HostSystem(commands=Only(carrier)))
    using = replace(node, provider=only)
    using.open(Outside())
    before = node.host_mounts()
    using.open(Outside(everything=True, host_ports=(LOCAL,)))
    assert set(node.helpers().values()) & set(CARRIERS) == {carrier}
    assert node.host_mounts() == before
    assert using.gets("www.example")
    assert using.gets(HOST_NAME, LOCAL)
    assert not using.gets(HOST_NAME, LOCAL + 1)
    assert using.does("resolve-tcp", f"{TRUNCATED}.example") == SITE
    assert using.does("ping", OTHER) == "0"
    using.open(Outside())
    assert node.host_mounts() == before


def test_it_ends_with_a_stop_and_is_back_after_a_start(
    node: Node, eventually: Callable[[Callable[[], bool]], bool]
) -> None:
    node.open(ALL)
    helpers = node.helpers()
    assert set(helpers.values()) == {next(iter(CARRIERS)), RESOLVER}
    internet.inside(node.world.host, lambda: node.provider.stop(node.cluster, NODE))
    assert node.helpers() == {}
    assert eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in helpers))
    internet.inside(node.world.host, lambda: node.provider.start(node.cluster, NODE))
    assert node.gets("www.example")


def test_the_hosts_network_is_as_it_was(node: Node) -> None:
    """While all is open as well as after it."""
    node.open(Outside())
    before = node.world.settings()
    node.open(Outside(everything=True, host_ports=(LOCAL,)))
    assert node.world.settings() == before
    (machine,) = node.provider.list(node.cluster)
    wanted = [ExposedPort(machine.address, 22), ExposedPort(machine.address, 53, "udp")]
    for ports in (wanted, []):
        places = internet.inside(
            node.world.host, lambda ports=ports: node.provider.publish(node.cluster, ports)
        )
        assert len(places) == len(ports)
        assert node.world.settings() == before
