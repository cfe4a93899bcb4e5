"""The way out of a cluster's network: programs that carry its packets over sockets of the host.

slirp4netns (or pasta) has a link in the cluster's namespace, and opens connections for what
arrives there as any program of the host does. So nodes reach what the host reaches, by the host's
routes and VPNs, and the host's interfaces, routes, rules and settings stay as they are.

```
 pods ── node ── br0 ──[rules]── out0 ── slirp4netns ── sockets of the host
                  │                           │
               dnsmasq ───────────────────────┴── the host's resolver, 127.0.0.1 of the host
```
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from ohmykube.errors import PrerequisiteError, ProviderError, TimeoutExceeded
from ohmykube.kit import files, host_routes, process, retry, shell
from ohmykube.model.networks import IPV4, IPV6
from ohmykube.model.outside import Outside
from ohmykube.providers.nspawn import layout, network, uplink_rules
from ohmykube.providers.nspawn.host_system import run_with_input

if TYPE_CHECKING:
    from pathlib import Path

    from ohmykube.providers.nspawn.helper_programs import HelperPrograms
    from ohmykube.providers.nspawn.host_system import HostSystem
    from ohmykube.providers.nspawn.layout import ClusterFiles
    from ohmykube.providers.nspawn.subnet import Subnet
    from ohmykube.providers.nspawn.uplink_rules import Resolving

CARRIERS = {"slirp4netns": "slirp4netns", "pasta": "passt"}
"""Programs that can be the way out, the better first, with their Debian packages.

The pasta of Debian 12 is quicker, but loses what is on its way to a program that has said that it
has no more to send itself; that of Debian 13 sends slowly.
"""
RESOLVER, FILTER = "dnsmasq", "nft"
PROGRAMS = {RESOLVER: "dnsmasq-base", FILTER: "nftables"}
"""What is needed besides, with the Debian packages."""
_CARRIES, _RESOLVES = "uplink", "resolver"
"""What the helpers are called."""
_START_WAIT = retry.Wait(seconds=10, every=0.01, factor=1.5, longest=0.2)
_STUB_SERVERS = "systemd/resolve/resolv.conf"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Setting:
    """``outside.json``."""

    outside: Outside
    resolving: dict[str, Any]
    """How the host resolved names when the programs were started."""
    ways6: tuple[str, ...] = ()
    """Networks of IPv6 to which the host had a way then; empty for one to all, or without IPv6."""
    carrier: str
    """Which of ``CARRIERS`` carries; empty for none, and while it has not all been started."""


class Uplinks:
    """The ways out of clusters. Call all methods under the cluster's lock."""

    def __init__(self, host: HostSystem, helpers: HelperPrograms) -> None:
        self._host = host
        self._helpers = helpers

    def wanted(self, paths: ClusterFiles) -> Outside | None:
        """Return what was opened last; None when nothing was ever said of it."""
        found = _read(paths)
        return found.outside if found else None

    def ensure(self, cluster: str, paths: ClusterFiles, subnet: Subnet, outside: Outside) -> bool:
        """Open exactly this, now and whenever the cluster is started; tell whether it was not so.

        Raises:
            PrerequisiteError: a program is missing.
            ProviderError: one does not start.
        """
        resolving = self.resolving()
        carrier = "" if outside.nothing else self._carrier()
        setting = _Setting(
            outside=outside,
            resolving=asdict(resolving),
            ways6=self._ways6() if IPV6 in subnet.families else (),
            carrier=carrier,
        )
        if _read(paths) == setting and self._runs(cluster) == (bool(carrier), bool(carrier)):
            return False
        self.end(cluster)
        # What is wanted is known before it is open, and that it is open when all of it is done.
        _write(paths, replace(setting, carrier=""))
        if carrier:
            self._start(cluster, paths, subnet, setting, resolving)
            _write(paths, setting)
        return True

    def end(self, cluster: str) -> None:
        """Close all; without effect where nothing is open."""
        for helper in (_CARRIES, _RESOLVES):
            self._helpers.end(cluster, helper)

    def resolving(self) -> Resolving:
        """Return how the host resolves names now."""
        return uplink_rules.resolving(_text(self._host.etc / "resolv.conf"))

    def _ways6(self) -> tuple[str, ...]:
        tables = self._host.route_tables
        if host_routes.has_default6(tables[1]):
            return ()
        networks = [route.network for route in host_routes.routes(*tables)]
        found = {str(network) for network in networks if network.version == IPV6}
        # The nodes' own way is among them, so that the list is never empty.
        return tuple(sorted(found | {layout.UPLINK_NETWORK6}))

    def _runs(self, cluster: str) -> tuple[bool, bool]:
        carries, resolves = (
            bool(self._helpers.pids(cluster, helper)) for helper in (_CARRIES, _RESOLVES)
        )
        return carries, resolves

    def _carrier(self) -> str:
        found = [name for name in CARRIERS if self._host.commands.which(name)]
        missing = [name for name in PROGRAMS if not self._host.commands.which(name)]
        if found and not missing:
            return found[0]
        absent = missing + ([] if found else [next(iter(CARRIERS))])
        raise PrerequisiteError(
            f"nodes have no way out of their cluster: {', '.join(absent)} missing",
            why="the programs that connect a cluster with this host's network are not installed",
            hint="ohmykube doctor --fix --provider nspawn  (or spec.network.egress: none)",
            id="OMK-P-450",
        )

    def _start(
        self,
        cluster: str,
        paths: ClusterFiles,
        subnet: Subnet,
        setting: _Setting,
        resolving: Resolving,
    ) -> None:
        host, netns = self._host, self._host.netns / layout.cluster_netns(cluster)
        inside = network.inside(host, cluster)
        tcp = self._dns_over_tcp(setting, resolving)
        rules = uplink_rules.ruleset(setting.outside, tcp, setting.ways6)
        # The rules first: nothing gets out that they do not let out.
        what = f"set the rules of the network of cluster {cluster}"
        run_with_input(host, what, [*inside, FILTER, "--file", "-"], [rules])
        by_pasta = setting.carrier == "pasta"
        families = (IPV4,) if by_pasta else subnet.families
        argv = (
            uplink_rules.pasta_argv(setting.carrier, netns)
            if by_pasta
            else uplink_rules.slirp_argv(setting.carrier, netns, families)
        )
        asked = uplink_rules.resolver_argv(
            RESOLVER, setting.outside, subnet, families, asks_host=bool(resolving.server)
        )
        carrier = uplink_rules.linked_argv(netns, families, argv)
        helpers = {_RESOLVES: [*inside, *asked], _CARRIES: carrier}
        started = [
            (name, self._helpers.start(cluster, paths, name, argv))
            for name, argv in helpers.items()
        ]
        self._wait(cluster, paths, started)

    def _wait(self, cluster: str, paths: ClusterFiles, started: list[tuple[str, int]]) -> None:
        """Wait until packets find the way out; raises when one of the programs has ended."""
        ended: list[str] = []

        def leads_out() -> bool | None:
            ended[:] = [name for name, pid in started if not (self._host.proc / str(pid)).exists()]
            if ended:
                return False
            return True if self._leads_out(cluster) else None

        with contextlib.suppress(TimeoutExceeded):
            if retry.until(self._host.clock, _START_WAIT, "the way out", leads_out):
                return
        name = ended[0] if ended else _CARRIES
        self.end(cluster)
        text = self._helpers.output(paths, name)
        raise ProviderError(
            f"the way out of the network of cluster {cluster} could not be opened",
            why=process.tail(text) or f"the {name} does not come up",
            hint=f"cat {shell.word(paths.helper_log(name))}; without it: spec.network.egress: none",
            id="OMK-P-451",
        )

    def _leads_out(self, cluster: str) -> bool:
        own = ["ip", "-n", layout.cluster_netns(cluster)]
        signs = {
            ("route", "show", "default"): layout.UPLINK,
            ("link", "show", "dev", layout.UPLINK): f"qlen {uplink_rules.PACKETS_WAITING}",
        }
        for words, sign in signs.items():
            found = self._host.commands.run([*own, *words], timeout=10, check=False)
            if found.code != 0 or sign not in found.stdout:
                return False
        return True

    def _dns_over_tcp(self, setting: _Setting, resolving: Resolving) -> str:
        """Return where to lead DNS over TCP, which older pastas do not forward; empty for nowhere.

        They know neither `--dns-host`, which came with it.
        """
        if setting.carrier != "pasta" or not resolving.server:
            return ""
        told = self._host.commands.run([setting.carrier, "--help"], timeout=10, check=False)
        if "--dns-host" in told.stdout + told.stderr:
            return ""
        if not resolving.local:
            return resolving.server
        if resolving.server == "127.0.0.1":
            return layout.HOST_ADDRESS
        # systemd-resolved listens on an address that pasta has no way to: ask whom it asks.
        real = uplink_rules.resolving(_text(self._host.run.parent / _STUB_SERVERS))
        return "" if real.local else real.server


def _write(paths: ClusterFiles, setting: _Setting) -> None:
    files.write(paths.outside, json.dumps(asdict(setting), indent=1, sort_keys=True) + "\n")


def _read(paths: ClusterFiles) -> _Setting | None:
    """Return the file's content; None when there is none that can be read."""
    try:
        content = json.loads(_text(paths.outside))
        told = content["outside"]
        return _Setting(
            outside=Outside(
                everything=told["everything"],
                networks=tuple(told["networks"]),
                names=tuple(told["names"]),
                host_ports=tuple(told["host_ports"]),
                own=tuple(told.get("own", ())),
            ),
            resolving={**content["resolving"], "search": tuple(content["resolving"]["search"])},
            ways6=tuple(content.get("ways6", ())),
            carrier=content["carrier"],
        )
    except (ValueError, KeyError, TypeError):
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
