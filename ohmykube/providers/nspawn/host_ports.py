"""Ports of the host that lead to what a cluster offers: one process for each cluster holds them.

It listens in the host's network and connects from the cluster's, where a table of routes for what
this host itself sends leads through the nodes: to addresses of load balancers, services and pods.

```
 127.0.0.1:80 ──┐
 127.0.0.1:… ───┼─ process ──▶ br0 ──▶ node ── kube-proxy ── pods
                └─ watches services and pods
```
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from ohmykube import __version__
from ohmykube.model.exposure import Exposed, Exposure, Orders, Report
from ohmykube.providers.nspawn import layout
from ohmykube.providers.nspawn.host_system import run_checked
from ohmykube.providers.port_process import PortProcess

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ohmykube.model.exposure import ExposedPort, PortForward
    from ohmykube.providers.nspawn.helper_programs import HelperPrograms
    from ohmykube.providers.nspawn.host_system import HostSystem
    from ohmykube.providers.nspawn.layout import ClusterFiles
    from ohmykube.providers.nspawn.subnet import Subnet

ROUTES = 96
"""Number of the table of routes in the cluster's namespace."""
_NAME = "ports"
"""What the helper is called."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """The process of one cluster as a helper in the cluster's cgroup."""

    helpers: HelperPrograms
    host: HostSystem
    cluster: str
    paths: ClusterFiles

    def pids(self) -> list[int]:
        return self.helpers.pids(self.cluster, _NAME)

    def start(self, argv: Sequence[str]) -> int:
        return self.helpers.start(self.cluster, self.paths, _NAME, argv)

    def alive(self, pid: int) -> bool:
        return (self.host.proc / str(pid)).exists()

    def signal(self, pid: int, number: int) -> None:
        self.helpers.signal(pid, number)

    def end(self) -> None:
        self.helpers.end(self.cluster, _NAME)

    def output(self) -> str:
        return self.helpers.output(self.paths, _NAME)


class HostPorts:
    """The processes of clusters. Call all methods under the cluster's lock."""

    def __init__(self, host: HostSystem, helpers: HelperPrograms) -> None:
        self._host = host
        self._helpers = helpers

    def _process(self, cluster: str, paths: ClusterFiles) -> PortProcess:
        return PortProcess(
            cluster=cluster,
            orders=paths.ports,
            report=paths.ports_report,
            log=paths.helper_log(_NAME),
            keeper=_Kept(self._helpers, self._host, cluster, paths),
            clock=self._host.clock,
        )

    def ensure(
        self,
        cluster: str,
        paths: ClusterFiles,
        subnet: Subnet,
        nodes: Sequence[str],
        *,
        forwards: Sequence[PortForward],
        wanted: Exposure | None = None,
        listed: Sequence[ExposedPort] | None = None,
    ) -> Report:
        """Hold exactly these ports, now and whenever the cluster is started; return where.

        Args:
            cluster: whose.
            paths: of its files.
            subnet: of its nodes.
            nodes: addresses of its nodes, those of the primary IP family first.
            forwards: ways to servers of nodes; one that cannot be held is tried again each time.
            wanted: what services and descriptions say; None for what was said before.
            listed: ports by their addresses; None for those of before.

        Raises:
            ProviderError: the process does not start.
        """
        held = self._process(cluster, paths)
        before = held.ordered()
        orders = Orders(
            revision="",
            version=__version__,
            netns=str(self._host.netns / layout.cluster_netns(cluster)),
            nodes=tuple(nodes),
            clusters=str(paths.root_dir.parent),
            exposure=(before.exposure if before else Exposure()) if wanted is None else wanted,
            listed=(before.listed if before else ()) if listed is None else tuple(listed),
            forwards=tuple(forwards),
        )
        return held.ensure(orders, lambda: self._routes(cluster, subnet, nodes))

    def known(self, cluster: str, paths: ClusterFiles) -> Exposed:
        """Return where ports are once the process has asked the API, or found that it cannot."""
        return self._process(cluster, paths).known()

    def exposed(self, cluster: str, paths: ClusterFiles) -> Exposed:
        """Return where ports are now; asks nobody."""
        return self._process(cluster, paths).exposed()

    def end(self, cluster: str) -> None:
        """Hold none; without effect where none is held. ``ensure`` brings them back."""
        self._helpers.end(cluster, _NAME)

    def runs(self, cluster: str) -> bool:
        """Tell whether the process is there."""
        return bool(self._helpers.pids(cluster, _NAME))

    def _routes(self, cluster: str, subnet: Subnet, nodes: Sequence[str]) -> None:
        """Lead through the nodes what the cluster's namespace itself sends beyond its networks."""
        what = f"lead to the services of cluster {cluster}"
        for family in subnet.families:
            hops = [
                word
                for node in nodes
                if ip_address(node).version == family
                for word in ("nexthop", "via", node)
            ]
            if not hops:
                continue
            own = ["ip", f"-{family}", "-n", layout.cluster_netns(cluster)]
            table = ["route", "replace", "default", "table", str(ROUTES)]
            run_checked(self._host, what, [*own, *table, *hops])
            there = self._host.commands.run([*own, "rule", "show"], timeout=10)
            if f"lookup {ROUTES}" in there.stdout:
                continue
            # The first of them send what stays in the networks of cluster and uplink the usual way.
            near = [one for one in subnet.nearby if ip_network(one).version == family]
            rules = [["pref", "100", "iif", "lo", "to", one, "lookup", "main"] for one in near]
            rules.append(["pref", "101", "iif", "lo", "lookup", str(ROUTES)])
            for rule in rules:
                run_checked(self._host, what, [*own, "rule", "add", *rule])
