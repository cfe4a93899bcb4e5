"""Network of a cluster: a bridge in a namespace of its own, and one namespace for each node.

Nothing is made in the host's own namespace, so nothing can clash with its addresses, routes or
firewall, and each cluster can have the same addresses.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from ohmykube.errors import ProviderError
from ohmykube.providers.nspawn import layout
from ohmykube.providers.nspawn.host_system import run_checked, run_deletion, run_with_input

if TYPE_CHECKING:
    from ohmykube.providers.nspawn.host_system import HostSystem


def exists(host: HostSystem, netns: str) -> bool:
    """Tell whether the namespace is there."""
    return (host.netns / netns).exists()


def has_link(host: HostSystem, netns: str, link: str) -> bool:
    """Tell whether the namespace can be entered and has a link of that name."""
    argv = ["ip", "-n", netns, "link", "show", "dev", link]
    return host.commands.run(argv, timeout=10, check=False).code == 0


def make_cluster(host: HostSystem, cluster: str) -> None:
    """Make the cluster's namespace and bridge; repeatable. Call it under the cluster's lock."""
    netns = layout.cluster_netns(cluster)
    what = f"make the network of cluster {cluster}"
    if exists(host, netns):
        # One that an older version made takes smaller packets.
        as_now = ["ip", "-n", netns, "link", "set", "dev", layout.BRIDGE, "mtu", str(layout.MTU)]
        if host.commands.run(as_now, timeout=10, check=False).code == 0:
            return
        remove(host, netns)  # a crash came between the two
    run_checked(host, what, ["ip", "netns", "add", netns])
    # Forwarding makes the gateway answer "unreachable" at once instead of dropping packets.
    forward = ["nsenter", f"--net={host.netns / netns}", "sh", "-c"]
    run_checked(host, what, [*forward, "echo 1 >/proc/sys/net/ipv4/ip_forward"])
    lines = [
        "link set dev lo up",
        f"link add name {layout.BRIDGE} mtu {layout.MTU} type bridge",
        f"address add {layout.GATEWAY}/{layout.PREFIX} dev {layout.BRIDGE}",
        f"link set dev {layout.BRIDGE} up",
    ]
    run_with_input(host, what, ["ip", "-n", netns, "-batch", "-"], lines)


def make_node(host: HostSystem, cluster: str, node: str, address: str) -> None:
    """Make a node's namespace with ``eth0`` on the cluster's bridge, from scratch."""
    bridge, netns = layout.cluster_netns(cluster), layout.node_netns(cluster, node)
    what = f"make the network of node {node}"
    port = "v" + address.rpartition(".")[2]
    remove(host, netns)
    # After a crash the old pair can outlive its namespace's name; the kernel ends both together.
    if has_link(host, bridge, port):
        argv = ["ip", "-n", bridge, "link", "delete", "dev", port]
        run_deletion(host, what, argv, lambda: has_link(host, bridge, port))
    run_checked(host, what, ["ip", "netns", "add", netns])
    eth0 = f"name eth0 mtu {layout.MTU} address {mac(address)} netns {netns}"
    lines = [
        f"link add name {port} mtu {layout.MTU} type veth peer {eth0}",
        f"link set dev {port} master {layout.BRIDGE} up",
    ]
    run_with_input(host, what, ["ip", "-n", bridge, "-batch", "-"], lines)
    lines = [
        "link set dev lo up",
        f"address add {address}/{layout.PREFIX} dev eth0",
        "link set dev eth0 up",
        f"route add default via {layout.GATEWAY}",
    ]
    run_with_input(host, what, ["ip", "-n", netns, "-batch", "-"], lines)


def mac(address: str) -> str:
    """Return the node's link address: the same for its life.

    With a random one, all others would look for a restarted node under its old one for as long as
    their neighbour tables remember it: half a minute and more.
    """
    return ":".join(["02", "00", *(f"{int(part):02x}" for part in address.split("."))])


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
