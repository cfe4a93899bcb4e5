"""Ports of this host that lead to what a cluster offers: one process for each cluster holds them.

This host has no route to the machines. The network's daemon could carry ports inwards, but only to
the machines' own addresses, and takes a connection before it knows whether anybody answers. So the
process connects from a machine, through ssh (``kit.relay``): what nodes reach, it reaches.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ohmykube import __version__
from ohmykube.errors import ProviderError, TimeoutExceeded
from ohmykube.kit import files, locks, process, relay, retry
from ohmykube.model.exposure import Exposed, Exposure, Orders, Report
from ohmykube.providers import ssh_config
from ohmykube.providers.lima import marker, processes, records
from ohmykube.providers.port_process import API_WAIT, PortProcess

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ohmykube.model.exposure import ExposedPort
    from ohmykube.model.machine import Machine
    from ohmykube.providers.lima.lima_home import Home

RelayCommand = Callable[[Path, str, Path], tuple[str, ...]]
"""Makes of a file for ssh, a node's name there and a Unix socket the command that serves it."""
LOCK_SECONDS = 60.0
_END_WAIT = retry.Wait(seconds=10, every=0.005, factor=1.5, longest=0.1)


def relay_command(config: Path, node: str, path: Path) -> tuple[str, ...]:
    """Return the command that leads a Unix socket to a node."""
    return relay.ssh_command(config, node, path)


@dataclass(frozen=True, slots=True)
class _Detached:
    """The process of one cluster: detached, and known by a pid file and its command line."""

    directory: Path
    orders: Path
    log: Path
    clock: retry.Clock

    @property
    def _pid_file(self) -> Path:
        return self.directory / "ports.pid"

    def pids(self) -> list[int]:
        try:
            pid = int(self._pid_file.read_text())
        except (OSError, ValueError):
            return []
        return [pid] if self.alive(pid) else []

    def alive(self, pid: int) -> bool:
        return str(self.orders) in processes.command(pid)

    def start(self, argv: Sequence[str]) -> int:
        self.log.unlink(missing_ok=True)
        pid = process.detach(argv, self.log)
        files.write(self._pid_file, f"{pid}\n")
        return pid

    def signal(self, pid: int, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    def end(self) -> None:
        pids = self.pids()
        processes.end(self._pid_file, self.orders)
        with contextlib.suppress(TimeoutExceeded):

            def gone() -> bool | None:
                return None if any(map(self.alive, pids)) else True

            retry.until(self.clock, _END_WAIT, "ports of this host", gone)

    def output(self) -> str:
        try:
            return self.log.read_text(errors="replace")
        except OSError:
            return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostPorts:
    """The processes of the clusters of one home.

    Args:
        home: where the machines are.
        machines: the machines of a cluster, as they are now.
        relay: see ``RelayCommand``.
        slowdown: how many times longer than usual machines take to answer.
    """

    home: Home
    machines: Callable[[str], Sequence[Machine]]
    relay: RelayCommand
    slowdown: int = 1

    def publish(self, cluster: str, wanted: Sequence[ExposedPort]) -> Mapping[ExposedPort, str]:
        """Hold a port of this host for each of these; return where, as ``host:port``.

        Raises:
            ProviderError: no port can be held.
        """
        if records.read(self.home, cluster) is None:
            return {}
        with self._locked(cluster):
            told = self._ensure(cluster, listed=wanted).exposed
        found = {port.target: port.place for port in told.ports if port.place}
        return {port: found[port] for port in wanted if port in found}

    def expose(self, cluster: str, wanted: Exposure) -> Exposed:
        """Hold ports of this host for all that this says.

        Raises:
            ProviderError: no such cluster, or no port can be held.
        """
        if records.read(self.home, cluster) is None:
            text = f'there is no cluster "{cluster}" with machines of lima'
            raise ProviderError(text, hint="ohmykube list", id="OMK-P-700")
        with self._locked(cluster):
            self._ensure(cluster, wanted=wanted)
        # ssh to a node comes before the API server's answer.
        return self._process(cluster).known(API_WAIT.times(4 * self.slowdown))

    def exposed(self, cluster: str) -> Exposed:
        """Return what of a cluster is reachable on ports of this host; asks nobody."""
        return self._process(cluster).exposed()

    def runs(self, cluster: str) -> bool:
        """Tell whether the process of a cluster is there."""
        return self._process(cluster).runs()

    def restore(self, cluster: str) -> None:
        """Hold again what was wanted, through the machines that run now; without them, nothing.

        Raises:
            ProviderError: no port can be held.
        """
        if not self._process(cluster).orders.exists():
            return
        with self._locked(cluster):
            if any(machine.ssh for machine in self.machines(cluster)):
                self._ensure(cluster)
            else:
                self._process(cluster).end()

    def settle(self, cluster: str) -> None:
        """Forget the ports of a cluster whose last machine is gone; see ``restore`` for others."""
        if any(one.cluster == cluster for one in marker.owned(self.home).values()):
            self.restore(cluster)
        elif self._directory(cluster).exists():
            with self._locked(cluster):
                self._process(cluster).remove()
                files.remove_tree(self._directory(cluster))

    @contextlib.contextmanager
    def _locked(self, cluster: str) -> Iterator[None]:
        path = self.home.own / "ports" / f"{cluster}.lock"
        with locks.exclusive(path, f"ports of {cluster}", wait_seconds=LOCK_SECONDS):
            yield

    def _directory(self, cluster: str) -> Path:
        return self.home.own / "ports" / cluster

    def _process(self, cluster: str) -> PortProcess:
        directory = self._directory(cluster)
        orders, log = directory / "ports.json", directory / "ports.log"
        return PortProcess(
            cluster=cluster,
            orders=orders,
            report=directory / "ports-report.json",
            log=log,
            keeper=_Detached(directory, orders, log, self.home.clock),
            clock=self.home.clock,
        )

    def _ensure(
        self,
        cluster: str,
        *,
        wanted: Exposure | None = None,
        listed: Sequence[ExposedPort] | None = None,
    ) -> Report:
        held = self._process(cluster)
        before = held.ordered()
        if before is None and wanted is None and not listed:
            return Report()
        files.ensure_directory(self._directory(cluster))
        running = [machine for machine in self.machines(cluster) if machine.ssh]
        path = self._socket(cluster)
        orders = Orders(
            revision="",
            version=__version__,
            relays=self._relays(cluster, running, path, before),
            relay_socket=str(path),
            nodes=tuple(machine.address for machine in running),
            clusters=str(self._directory(cluster).parent),
            exposure=(before.exposure if before else Exposure()) if wanted is None else wanted,
            listed=(before.listed if before else ()) if listed is None else tuple(listed),
        )
        return held.ensure(orders)

    def _relays(
        self, cluster: str, running: Sequence[Machine], path: Path, before: Orders | None
    ) -> tuple[tuple[str, ...], ...]:
        """Return the commands through each machine, those of before where nothing has changed."""
        config = self._directory(cluster) / "ssh_config"
        targets = {machine.node: machine.ssh for machine in running if machine.ssh}
        text = ssh_config.render(targets, self._directory(cluster), slowdown=self.slowdown)
        # Another version may bring another program along.
        known = before.relays if before and before.version == __version__ else ()
        if config.exists() and config.read_text() == text and len(known) == len(targets):
            return known
        files.write(config, text)
        return tuple(self.relay(config, node, path) for node in targets)

    def _socket(self, cluster: str) -> Path:
        """Return a path that is short enough where those of the home's own sockets are."""
        record = records.read(self.home, cluster)
        return self.home.own / (f"{record.network}.sock" if record else "ports.sock")
