"""What the programs of a cluster's way out are told; nothing is started here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING

from ohmykube.model.networks import IPV4, IPV6
from ohmykube.model.outside import HOST_NAME
from ohmykube.providers.nspawn import layout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ohmykube.model.outside import Outside
    from ohmykube.providers.nspawn.subnet import Subnet

TABLE = "ohmykube"
NAMES, NAMES6 = "names", "names6"
"""The sets to which the resolver adds the addresses of names that are open."""
PACKETS_WAITING = 10000
"""Queue of the uplink. The kernel cuts large segments before it hands them over, so that its own
choice, a thousand, is a single burst, and what is dropped then costs nine tenths of the speed."""
_WORDS = {IPV4: "ip", IPV6: "ip6"}
_MAC = "02:00:0a:58:01:64"
_DOMAIN = re.compile(r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*")
_MOST_SEARCHED = 32
"""More are refused by Kubernetes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolving:
    """How the host resolves names."""

    server: str = ""
    """The first IPv4 server; empty for none."""
    search: tuple[str, ...] = ()
    """Domains in which short names are looked for."""

    @property
    def local(self) -> bool:
        """Tell whether the server runs on the host itself."""
        return self.server.startswith("127.")


def resolving(resolv_conf: str) -> Resolving:
    """Return what a ``resolv.conf`` says; the last ``search`` or ``domain`` counts, as in glibc."""
    server = ""
    search: tuple[str, ...] = ()
    for line in resolv_conf.splitlines():
        match line.split():
            case ["nameserver", address, *_] if not server and "." in address:
                server = address
            case ["search" | "domain", *domains]:
                plain = [domain.removesuffix(".") for domain in domains]
                search = tuple(d for d in plain if _DOMAIN.fullmatch(d))[:_MOST_SEARCHED]
            case _:
                pass
    return Resolving(server=server, search=search)


def node_resolv_conf(server: str, search: tuple[str, ...]) -> str:
    """Return the ``resolv.conf`` of a node.

    The gateway is where the cluster's resolver listens, and the kernel says so at once where there
    is none: one that stays silent would cost minutes, and one on the loopback of a node makes
    CoreDNS end on its loop check.
    """
    domains = f"search {' '.join(search)}\n" if search else ""
    return f"{domains}nameserver {server}\n"


def ruleset(outside: Outside, dns_over_tcp: str, ways6: Sequence[str] = ()) -> str:
    """Return the rules of a cluster's namespace, which replace those of before in one step.

    Packets are judged by where they go, each for itself: what is closed is closed for connections
    too that were open before.

    Args:
        outside: what is open.
        dns_over_tcp: where connections to the host's resolver are led to; empty to leave them.
        ways6: all networks of IPv6 that the host has a way to, where it has none to everything. The
            programs that carry packets out say nothing of those that they drop.
    """
    ports = ", ".join(map(str, outside.host_ports))
    host = [
        f"{word} daddr {address} th dport {{ {ports} }} accept"
        for word, address in (("ip", layout.HOST_ADDRESS), ("ip6", layout.HOST_ADDRESS6))
        if ports
    ]
    opened = ["accept"] if outside.everything else _opened(outside)
    forward = [
        "type filter hook forward priority filter; policy accept;",
        f'oifname != "{layout.UPLINK}" accept',
        *[
            f"{_WORDS[ip_network(one).version]} daddr {one} reject with icmpx port-unreachable"
            for one in outside.own
        ],
        *host,
        # What else is there stands for the host and its resolver, which nodes ask through ours.
        f"ip daddr {layout.UPLINK_NETWORK} reject with icmp admin-prohibited",
        f"ip6 daddr {layout.UPLINK_NETWORK6} reject with icmpv6 admin-prohibited",
        *([f"ip6 daddr != {{ {', '.join(ways6)} }} reject with icmpv6 no-route"] if ways6 else []),
        *opened,
        "meta nfproto ipv4 reject with icmp admin-prohibited",
        "meta nfproto ipv6 reject with icmpv6 admin-prohibited",
        "drop",
    ]
    leaving = [
        "type nat hook postrouting priority srcnat;",
        f'oifname "{layout.UPLINK}" masquerade',
    ]
    own = ["type nat hook output priority -100;"]
    if dns_over_tcp:
        own.append(f"ip daddr {layout.RESOLVER_ADDRESS} tcp dport 53 dnat ip to {dns_over_tcp}")
    chains = (("forward", forward), ("leaving", leaving), ("own", own))
    body = "".join(f" chain {name} {{\n  {_lines(lines)}\n }}\n" for name, lines in chains)
    return (
        f"table inet {TABLE}\ndelete table inet {TABLE}\n"
        f"table inet {TABLE} {{\n set {NAMES} {{ type ipv4_addr; flags interval; auto-merge; }}\n"
        f" set {NAMES6} {{ type ipv6_addr; flags interval; auto-merge; }}\n"
        f"{body}}}\n"
    )


def _opened(outside: Outside) -> list[str]:
    """Return what lets packets to networks and names through."""
    lines = []
    for family, names in ((IPV4, NAMES), (IPV6, NAMES6)):
        word = _WORDS[family]
        networks = [one for one in outside.networks if ip_network(one).version == family]
        lines += [f"{word} daddr {{ {', '.join(networks)} }} accept"] if networks else []
        lines += [f"{word} daddr @{names} accept"] if outside.names else []
    return lines


def _lines(lines: list[str]) -> str:
    return "\n  ".join(lines)


def resolver_argv(
    program: str, outside: Outside, subnet: Subnet, families: Sequence[int], *, asks_host: bool
) -> list[str]:
    """Return the command line of dnsmasq as the cluster's resolver, inside of its namespace.

    Args:
        program: dnsmasq.
        outside: what is open.
        subnet: of the machines, whose gateways are where it listens.
        families: in which the host is reached.
        asks_host: whether the host has a resolver that can be asked.
    """
    hosts = {IPV4: layout.HOST_ADDRESS, IPV6: layout.HOST_ADDRESS6}
    argv = [
        *(program, "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file="),
        *("--log-facility=-", "--user=nobody", "--no-hosts", "--no-resolv"),
        *("--bind-interfaces", *(f"--listen-address={one}" for one in subnet.gateways)),
        # CoreDNS remembers answers, and an address must be let through each time that it is told.
        *("--cache-size=0", "--dns-forward-max=1000"),
        f"--host-record={HOST_NAME},{','.join(hosts[family] for family in families)}",
        f"--local=/{HOST_NAME.partition('.')[2]}/",
    ]
    if outside.resolves and asks_host:
        argv.append(f"--server={layout.RESOLVER_ADDRESS}")
    if outside.names and not outside.everything:
        # Several options: one of all names could be longer than a line of dnsmasq may be.
        sets = f"4#inet#{TABLE}#{NAMES},6#inet#{TABLE}#{NAMES6}"
        argv += [f"--nftset=/{name}/{sets}" for name in outside.names]
    return argv


_OWN_MOUNTS = ("unshare", "--mount", "--propagation=private")

# AppArmor's profile of pasta, where Debian and Ubuntu enforce it, lets it open namespaces below
# /run/user alone. In a mount namespace of its own the cluster's has such a name too; both end with
# the program, and the host sees nothing of them.
_NAMED = (
    "mkdir -p /run/user && mount -t tmpfs -o mode=0755 none /run/user"
    ' && mkdir -p "${2%/*}" && : >"$2" && mount --bind "$1" "$2" && shift 2 && exec "$@"'
)


def pasta_argv(program: str, netns: Path) -> list[str]:
    """Return the command line of pasta, which connects the cluster's namespace with the host.

    It is given addresses of our own and no interface of the host but the loopback, so that it works
    whatever networks the host has, and while they come and go. Of an interface without a link-local
    address it takes no IPv6.
    """
    named = Path("/run/user/0/netns") / netns.name
    prefix = layout.UPLINK_NETWORK.rpartition("/")[2]
    return [
        *(*_OWN_MOUNTS, "sh", "-c", _NAMED, "sh"),
        *(str(netns), str(named), program),
        *("--foreground", "--quiet"),
        # The namespace belongs to root; all capabilities but those for entering it are given up.
        *("--runas", "0", "--netns", str(named), "--config-net", "--ns-ifname", layout.UPLINK),
        *("--interface", "lo", "--mac-addr", _MAC, "--address", layout.UPLINK_ADDRESS),
        *("--netmask", prefix, "--gateway", layout.HOST_ADDRESS),
        *("--dns-forward", layout.RESOLVER_ADDRESS),
        *("--tcp-ports", "none", "--udp-ports", "none", "--tcp-ns", "none", "--udp-ns", "none"),
    ]


# Becomes the program after a child of it that waits for the program's link, and ends with it.
_LINKED = "while kill -0 $$ && ! {}; do sleep 0.05; done"


def linked_argv(netns: Path, families: Sequence[int], argv: list[str]) -> list[str]:
    """Return the command line of a program whose link is set up whenever it starts.

    It gets its queue, and where nodes have IPv6 an address and a route: the program announces them
    to hosts, and the namespace is a router.
    """
    prefix = layout.UPLINK_NETWORK6.rpartition("/")[2]
    steps = [f"link set dev {layout.UPLINK} txqueuelen {PACKETS_WAITING}"]
    if IPV6 in families:
        steps += [
            f"address replace {layout.UPLINK_ADDRESS6}/{prefix} dev {layout.UPLINK} nodad",
            f"route replace default via {layout.HOST_ADDRESS6} dev {layout.UPLINK}",
        ]
    ready = " && ".join(f'ip -n "$0" {step}' for step in steps)
    begin = f'( {_LINKED.format("{ " + ready + "; }")} ) 2>/dev/null & exec "$@"'
    return ["/bin/sh", "-c", begin, netns.name, *argv]


def slirp_argv(program: str, netns: Path, families: Sequence[int]) -> list[str]:
    """Return the command line of slirp4netns, which does the same.

    Its sandbox unmounts what it does not need, also where others see it: so in one of our own.
    """
    return [
        *_OWN_MOUNTS,
        *(program, "--configure", f"--mtu={layout.MTU}", f"--cidr={layout.UPLINK_NETWORK}"),
        *(("--enable-ipv6",) if IPV6 in families else ()),
        *("--enable-sandbox", "--netns-type=path", str(netns), layout.UPLINK),
    ]
