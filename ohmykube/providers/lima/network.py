"""One network for each cluster, and the ports of this host that are forwarded into it.

A user-v2 network needs no rights: a daemon of limactl's switches frames, gives out addresses and
carries connections of this host inwards. What it carries ends with it, so everything is compared
and made anew after each start of a machine.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import socket
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING

from ohmykube.errors import LockedError, ProviderError
from ohmykube.kit import files, host_routes
from ohmykube.model.networks import IpNetwork, overlap
from ohmykube.providers.lima import names, processes, records
from ohmykube.providers.lima.records import ClusterRecord
from ohmykube.providers.lima.usernet import Usernet, UsernetDown, UsernetError, endpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from ohmykube.providers.lima.lima_home import Home
    from ohmykube.providers.lima.limactl import Limactl
    from ohmykube.providers.lima.usernet import Forward

LOOPBACK = "127.0.0.1"
NUMBERS = range(110, 200)
"""Third octets of our networks in 192.168.0.0/16; Lima's own are 5 and 104 to 106."""
PORTS = range(26443, 28443)
"""Ports of 127.0.0.1 for nodes: below what the system gives out by itself."""
SSH_PORT = 22


def routed() -> tuple[IpNetwork, ...]:
    """Return the networks that this host has routes to, but for the default one (Linux)."""
    return tuple(route.network for route in host_routes.routes())


class Networks:
    """The networks of one home.

    Args:
        home: where they are.
        limactl: over that home.
        taken: networks to keep clear of, besides those of Lima; asked when one is made.
        command_of: the command line of a process.
    """

    def __init__(
        self,
        home: Home,
        limactl: Limactl,
        taken: Callable[[], Iterable[IpNetwork]] = routed,
        command_of: Callable[[int], str] = processes.command,
    ) -> None:
        self._home = home
        self._limactl = limactl
        self._taken = taken
        self._command_of = command_of

    def daemon(self, network: str) -> Usernet:
        """Return the door to the daemon of a network, whether it lives or not."""
        return Usernet(endpoint(self._home.root, network))

    # --- the network itself; the home is held alone

    def ensure(self, cluster: str, avoid: Iterable[str] = ()) -> ClusterRecord:
        """Return the network of a cluster, made if it is not there.

        Args:
            cluster: whose.
            avoid: networks of the cluster itself, as CIDR.

        Raises:
            ProviderError: no address range is left.
        """
        there = {network.name: network for network in self._limactl.network_list()}
        record = records.read(self._home, cluster)
        if record is None:
            used = {n.gateway for n in there.values()} | {
                r.gateway for r in records.every(self._home)
            }
            number = self._free(used, avoid)
            record = ClusterRecord(cluster=cluster, network=names.network(number), number=number)
            # First the record: what a crash leaves is then known to be this cluster's.
            records.write(self._home, record)
        if record.network not in there:
            self._limactl.network_create(record.network, f"{record.gateway}/24")
        return record

    def _free(self, gateways: set[str], avoid: Iterable[str]) -> int:
        taken = [ipaddress.ip_network(text, strict=False) for text in avoid]
        taken += [ipaddress.IPv4Network(f"{text}/24", strict=False) for text in gateways if text]
        taken += self._taken()
        for number in NUMBERS:
            if not any(overlap(_subnet(number), other) for other in taken):
                return number
        raise ProviderError(
            "no address range is left for another cluster",
            why=f"all of 192.168.{NUMBERS[0]}.0/24 to 192.168.{NUMBERS[-1]}.0/24 are in use",
            hint="ohmykube list  (then remove one with `ohmykube down`)",
            id="OMK-P-522",
        )

    def remove(self, cluster: str) -> None:
        """Remove the network of a cluster whose last machine is gone, and all that it remembers."""
        record = records.read(self._home, cluster)
        if record is None:
            return
        self.end_daemon(record.network)
        self._limactl.network_delete(record.network)
        files.remove_tree(self._home.network_directory(record.network))
        records.remove(self._home, cluster)

    def clear_dead_daemon(self, network: str, addresses: Mapping[str, str]) -> None:
        """Clear what a dead daemon left, so that the next one finds its machines' addresses.

        A daemon that lives is left alone; one that does not answer is ended.

        Args:
            network: whose daemon.
            addresses: MAC by address of machines that had one.
        """
        try:
            self.daemon(network).leases()
        except UsernetDown:
            self.end_daemon(network)
        else:
            return
        directory = self._home.network_directory(network)
        if not directory.is_dir():
            if not addresses:
                return
            files.ensure_directory(directory, 0o755)
        for kind in ("ep", "fd", "qemu"):
            (directory / f"{network}_{kind}.sock").unlink(missing_ok=True)
        self._pin(directory / "leases.json", addresses)

    @staticmethod
    def _pin(path: Path, addresses: Mapping[str, str]) -> None:
        """Let the daemon give known machines the addresses that they had."""
        try:
            known = json.loads(path.read_text())
        except (OSError, ValueError):
            known = {}
        macs = set(addresses.values())
        others = known if isinstance(known, dict) else {}
        kept = {a: mac for a, mac in others.items() if mac not in macs and a not in addresses}
        wanted = {**kept, **addresses}
        if wanted != known:
            files.write(path, json.dumps(wanted, sort_keys=True), 0o644)

    def end_daemon(self, network: str) -> None:
        """End the daemon of a network if it still runs; only one that is this network's."""
        pid_file = self._home.network_directory(network) / f"usernet_{network}.pid"
        processes.end(pid_file, endpoint(self._home.root, network), self._command_of)

    # --- what this host reaches of it

    def address_of(self, record: ClusterRecord, ssh_port: int) -> str:
        """Return the address of the machine that limactl forwards ``ssh_port`` to; empty if none.

        Raises:
            UsernetError: the daemon does not answer.
        """
        local = f"{LOOPBACK}:{ssh_port}"
        for forward in self.daemon(record.network).forwards():
            address, _, port = _bare(forward.remote).rpartition(":")
            if forward.local == local and port == str(SSH_PORT):
                return address
        return ""

    def endpoint(self, cluster: str, remote: str) -> int:
        """Return the port of 127.0.0.1 that leads to ``remote`` for the cluster's life.

        It leads there at once when the network is up, and else from the next start on.

        Raises:
            ProviderError: the cluster has no network here, or no port is free.
            LockedError: somebody else listens on that port.
        """
        with self._home.exclusive():
            record = records.read(self._home, cluster)
            if record is None:
                raise ProviderError(
                    f'cluster "{cluster}" has no network',
                    why="it has no machine on this host",
                    hint="ohmykube up",
                    id="OMK-P-523",
                )
            if remote not in record.endpoints:
                record = self._opened(record, remote)
        self.reconcile(record)
        return record.endpoints[remote]

    def _opened(self, record: ClusterRecord, remote: str) -> ClusterRecord:
        """Return the record with a port for ``remote``; the home is held alone."""
        recorded = {p for r in records.every(self._home) for p in r.endpoints.values()}
        # Other users of this host count from elsewhere, so that stopped clusters seldom collide.
        first = zlib.crc32(str(self._home.root).encode()) % len(PORTS)
        for port in (*PORTS[first:], *PORTS[:first]):
            if port in recorded or not _bindable(port):
                continue
            found = replace(record, endpoints={**record.endpoints, remote: port})
            try:
                self._expose(found, f"{LOOPBACK}:{port}", remote, "tcp")
            except LockedError:
                continue  # somebody was quicker
            records.write(self._home, found)
            return found
        raise ProviderError(
            "no port of 127.0.0.1 is free for a node",
            why=f"all of {PORTS[0]} to {PORTS[-1]} are taken",
            hint="ss -ltnp  (who listens there?)",
            id="OMK-P-524",
        )

    def forget(self, cluster: str, address: str) -> None:
        """Drop the ports of a machine that is gone; the home is held alone."""
        record = records.read(self._home, cluster)
        if record is None or not address:
            return
        gone = [remote for remote in record.endpoints if remote.rpartition(":")[0] == address]
        if gone:
            kept = {k: v for k, v in record.endpoints.items() if k not in gone}
            records.write(self._home, replace(record, endpoints=kept))
            self._withdraw(record, [("tcp", f"{LOOPBACK}:{record.endpoints[r]}") for r in gone])

    def _withdraw(self, record: ClusterRecord, places: Iterable[tuple[str, str]]) -> None:
        for protocol, local in places:
            # Not there any more is what is wanted.
            with contextlib.suppress(UsernetError):
                self.daemon(record.network).unexpose(local, protocol)

    def reconcile(self, record: ClusterRecord) -> None:
        """Make the daemon forward the ports in the record; does nothing while it is down.

        Raises:
            LockedError: somebody else listens on one of the ports.
        """
        wanted = {("tcp", f"{LOOPBACK}:{p}"): remote for remote, p in record.endpoints.items()}
        daemon = self.daemon(record.network)
        try:
            there = {_key(forward): _bare(forward.remote) for forward in daemon.forwards()}
        except UsernetDown:
            return
        for (protocol, local), remote in wanted.items():
            carried = there.get((protocol, local))
            if carried == remote:
                continue
            if carried is not None:
                self._withdraw(record, [(protocol, local)])
            self._expose(record, local, remote, protocol)

    def _expose(self, record: ClusterRecord, local: str, remote: str, protocol: str) -> None:
        try:
            self.daemon(record.network).expose(local, remote, protocol)
        except UsernetDown:
            return
        except UsernetError as error:
            carried = {_key(forward): _bare(forward.remote) for forward in self._carried(record)}
            if carried.get((protocol, local)) == remote:
                return  # another process of ours was quicker
            raise LockedError(
                f"{local} cannot lead to {remote} of cluster {record.cluster}",
                why=error.why,
                hint=f"ss -ltnp  (who listens on {local}?)",
                id="OMK-P-525",
            ) from error

    def _carried(self, record: ClusterRecord) -> tuple[Forward, ...]:
        try:
            return self.daemon(record.network).forwards()
        except UsernetDown:
            return ()


def _subnet(number: int) -> ipaddress.IPv4Network:
    return ipaddress.IPv4Network(f"192.168.{number}.0/24")


def _bare(remote: str) -> str:
    return remote.rpartition("//")[2]


def _key(forward: Forward) -> tuple[str, str]:
    return forward.protocol, forward.local


def _bindable(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
