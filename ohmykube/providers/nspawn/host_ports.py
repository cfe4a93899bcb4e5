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

import contextlib
import json
import signal
import sys
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from ohmykube import __version__
from ohmykube.errors import ProviderError, TimeoutExceeded
from ohmykube.kit import digest, files, process, retry
from ohmykube.model import exposure
from ohmykube.model.exposure import Exposed, Exposure, Orders, Report
from ohmykube.providers.nspawn import layout
from ohmykube.providers.nspawn.host_system import run_checked

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ohmykube.model.exposure import ExposedPort, PortForward
    from ohmykube.providers.nspawn.helper_programs import HelperPrograms
    from ohmykube.providers.nspawn.host_system import HostSystem
    from ohmykube.providers.nspawn.layout import ClusterFiles
    from ohmykube.providers.nspawn.subnet import Subnet

PROGRAM = "ohmykube.kube.exposure"
"""The module that is run; the process knows more of Kubernetes than a provider does."""
STOPPED = "nothing holds ports now: the cluster is stopped, or what held them has ended"
ROUTES = 96
"""Number of the table of routes in the cluster's namespace."""
_NAME = "ports"
"""What the helper is called."""
_START_WAIT = retry.Wait(seconds=20, every=0.01, factor=1.5, longest=0.2)
_API_WAIT = retry.Wait(seconds=3, every=0.02, factor=1.5, longest=0.2)


class HostPorts:
    """The processes of clusters. Call all methods under the cluster's lock."""

    def __init__(self, host: HostSystem, helpers: HelperPrograms) -> None:
        self._host = host
        self._helpers = helpers

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
        before = _read_orders(paths)
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
        text = json.dumps(orders.document(), sort_keys=True)
        orders = replace(orders, revision=digest.of_bytes(text.encode()))
        if orders.nothing:
            self.end(cluster)
            for path in (paths.ports, paths.ports_report):
                path.unlink(missing_ok=True)
            return Report()
        told = self._at_work(cluster, paths, orders) if orders == before else None
        if told is not None and not all(forward.place for forward in told.forwards):
            self.end(cluster)
            told = None
        if told is None:
            self._routes(cluster, subnet, nodes)
            files.write(paths.ports, json.dumps(orders.document()))
            self._tell(cluster, paths, orders)
        return told or _read_report(paths)

    def known(self, cluster: str, paths: ClusterFiles) -> Exposed:
        """Return where ports are once the process has asked the API, or found that it cannot.

        A refusal is final after a while only: what was just granted comes into force a bit later.
        """

        def asked() -> Exposed | None:
            told = _read_report(paths).exposed
            return told if told.complete or (told.problem and not told.refused) else None

        with contextlib.suppress(TimeoutExceeded):
            return retry.until(self._host.clock, _API_WAIT, f"services of {cluster}", asked)
        return _read_report(paths).exposed

    def exposed(self, cluster: str, paths: ClusterFiles) -> Exposed:
        """Return where ports are now; asks nobody."""
        if self.runs(cluster):
            return _read_report(paths).exposed
        return Exposed(problem=STOPPED if paths.ports.exists() else "")

    def end(self, cluster: str) -> None:
        """Hold none; without effect where none is held. ``ensure`` brings them back."""
        self._helpers.end(cluster, _NAME)

    def runs(self, cluster: str) -> bool:
        """Tell whether the process is there."""
        return bool(self._helpers.pids(cluster, _NAME))

    def _at_work(self, cluster: str, paths: ClusterFiles, orders: Orders) -> Report | None:
        """Return the report of the process if it has done what it was told."""
        report = _read_report(paths)
        alive = report.pid in self._helpers.pids(cluster, _NAME)
        return report if alive and report.revision == orders.revision else None

    def _tell(self, cluster: str, paths: ClusterFiles, orders: Orders) -> None:
        """Let the process read its orders: the one there is, or a new one."""
        before = _read_report(paths)
        pid = before.pid
        if before.version == orders.version and pid in self._helpers.pids(cluster, _NAME):
            self._helpers.signal(pid, signal.SIGHUP)
        else:
            self.end(cluster)
            argv = [sys.executable, "-P", "-m", PROGRAM, str(paths.ports), str(paths.ports_report)]
            pid = self._helpers.start(cluster, paths, _NAME, argv)
        self._wait(cluster, paths, lambda: self._at_work(cluster, paths, orders), pid)

    def _wait(
        self, cluster: str, paths: ClusterFiles, done: Callable[[], Report | None], pid: int
    ) -> None:
        def told() -> bool | None:
            if done() is not None:
                return True
            return None if (self._host.proc / str(pid)).exists() else False

        with contextlib.suppress(TimeoutExceeded):
            if retry.until(self._host.clock, _START_WAIT, "ports of this host", told):
                return
        self.end(cluster)
        text = self._helpers.output(paths, _NAME)
        raise ProviderError(
            f"no port of this host could be led into cluster {cluster}",
            why=process.tail(text) or "the process that holds them does not answer",
            hint=f"cat {paths.helper_log(_NAME)}",
            id="OMK-P-540",
        )

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


def _read_orders(paths: ClusterFiles) -> Orders | None:
    try:
        return exposure.orders(json.loads(paths.ports.read_text()))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _read_report(paths: ClusterFiles) -> Report:
    try:
        return exposure.report(json.loads(paths.ports_report.read_text()))
    except (OSError, ValueError, KeyError, TypeError):
        return Report()
