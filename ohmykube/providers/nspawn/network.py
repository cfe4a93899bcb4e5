"""Network of a cluster: a bridge in a namespace of its own, and one namespace for each node.

Nothing is made in the host's own namespace, so nothing can clash with its addresses, routes or
firewall.
"""

from __future__ import annotations

import contextlib
import ipaddress
from typing import TYPE_CHECKING

from ohmykube.errors import ProviderError
from ohmykube.model.networks import IPV4, IPV6
from ohmykube.providers.nspawn import layout
from ohmykube.providers.nspawn.host_system import run_checked, run_deletion, run_with_input

if TYPE_CHECKING:
    from ohmykube.providers.nspawn.host_system import HostSystem
    from ohmykube.providers.nspawn.subnet import Subnet

FORWARDING = {IPV4: "ipv4/ip_forward", IPV6: "ipv6/conf/all/forwarding"}


def exists(host: HostSystem, netns: str) -> bool:
    """Tell whether the namespace is there."""
    return (host.netns / netns).exists()


def has_link(host: HostSystem, netns: str, link: str) -> bool:
    """Tell whether the namespace can be entered and has a link of that name."""
    argv = ["ip", "-n", netns, "link", "show", "dev", link]
    return host.commands.run(argv, timeout=10, check=False).code == 0


def make_cluster(host: HostSystem, cluster: str, subnet: Subnet) -> None:
    """Make the cluster's namespace and bridge; repeatable. Call it under the cluster's lock."""
    netns = layout.cluster_netns(cluster)
    what = f"make the network of cluster {cluster}"
    if exists(host, netns):
        # One that an older version made takes smaller packets.
        as_now = ["ip", "-n", netns, "link", "set", "dev", layout.BRIDGE, "mtu", str(subnet.mtu)]
        if host.commands.run(as_now, timeout=10, check=False).code == 0:
            return
        remove(host, netns)  # a crash came between the two
    run_checked(host, what, ["ip", "netns", "add", netns])
    # Forwarding makes the gateway answer "unreachable" at once instead of dropping packets.
    forward = ["nsenter", f"--net={host.netns / netns}", "sh", "-c"]
    switches = "".join(f"echo 1 >/proc/sys/net/{FORWARDING[one]};" for one in subnet.families)
    run_checked(host, what, [*forward, f"set -e; {switches}"])
    lines = [
        "link set dev lo up",
        f"link add name {layout.BRIDGE} mtu {subnet.mtu} type bridge",
        *(_address(one, layout.BRIDGE) for one in subnet.interfaces(1)),
        f"link set dev {layout.BRIDGE} up",
    ]
    run_with_input(host, what, ["ip", "-n", netns, "-batch", "-"], lines)


def make_node(host: HostSystem, cluster: str, node: str, subnet: Subnet, number: int) -> None:
    """Make a node's namespace with ``eth0`` on the cluster's bridge, from scratch."""
    bridge, netns = layout.cluster_netns(cluster), layout.node_netns(cluster, node)
    what = f"make the network of node {node}"
    port = f"v{number}"
    remove(host, netns)
    # After a crash the old pair can outlive its namespace's name; the kernel ends both together.
    if has_link(host, bridge, port):
        argv = ["ip", "-n", bridge, "link", "delete", "dev", port]
        run_deletion(host, what, argv, lambda: has_link(host, bridge, port))
    run_checked(host, what, ["ip", "netns", "add", netns])
    own = subnet.of_number(number)
    eth0 = f"name eth0 mtu {subnet.mtu} address {mac(own[0])} netns {netns}"
    lines = [
        f"link add name {port} mtu {subnet.mtu} type veth peer {eth0}",
        f"link set dev {port} master {layout.BRIDGE} up",
    ]
    run_with_input(host, what, ["ip", "-n", bridge, "-batch", "-"], lines)
    lines = [
        "link set dev lo up",
        *(_address(one, "eth0") for one in subnet.interfaces(number)),
        "link set dev eth0 up",
        *(f"route add default via {gateway}" for gateway in subnet.gateways),
    ]
    run_with_input(host, what, ["ip", "-n", netns, "-batch", "-"], lines)


def mac(address: str) -> str:
    """Return the node's link address: the same for its life.

    With a random one, all others would look for a restarted node under its old one for as long as
    their neighbour tables remember it: half a minute and more.
    """
    last = int(ipaddress.ip_address(address)) & 0xFFFFFFFF
    return ":".join(f"{byte:02x}" for byte in (2, 0, *last.to_bytes(4, "big")))


def _address(interface: str, link: str) -> str:
    """Return the words of ip(8) for an address; nobody else has it, so none is looked for."""
    return f"address add {interface} dev {link}{' nodad' if ':' in interface else ''}"


def remove(host: HostSystem, netns: str) -> None:
    """Remove a namespace with all links in it; none is fine.

    Raises:
        ProviderError: it is still there.
    """
    if not exists(host, netns):
        return
    result = host.commands.run(["ip", "netns", "delete", netns], timeout=30, check=False)
    if exists(host, netns):
        with contextlib.suppress(OSError):  # a file that is no namespace (its mount is gone)
            (host.netns / netns).unlink()
    if exists(host, netns):
        raise ProviderError(
            f"network namespace {netns} could not be removed",
            why=result.stderr.strip() or None,
            hint=f"ip netns pids {netns}",
            id="OMK-P-131",
        )


def inside(host: HostSystem, cluster: str) -> tuple[str, ...]:
    """Return the argv prefix that runs a program in the cluster's namespace."""
    return ("nsenter", f"--net={host.netns / layout.cluster_netns(cluster)}")
