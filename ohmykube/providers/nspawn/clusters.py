"""What a cluster has besides its nodes: directory, identity, keys, network, forwarded ports."""

from __future__ import annotations

import contextlib
import threading
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

from ohmykube.errors import LockedError, ProviderError
from ohmykube.kit import files, locks, shell
from ohmykube.model.exposure import ExposedPort, PortForward
from ohmykube.model.networks import host_of
from ohmykube.providers.nspawn import (
    directories,
    network,
    node_root,
    port_forward,
    records,
    subnet_choice,
)
from ohmykube.providers.nspawn.cluster_directory import ClusterDirectory
from ohmykube.providers.nspawn.host_ports import HostPorts
from ohmykube.providers.nspawn.name_claims import Claim
from ohmykube.providers.nspawn.records import ClusterRecord, MachineRecord
from ohmykube.providers.nspawn.subnet import Subnet
from ohmykube.providers.nspawn.uplink import Uplinks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from ohmykube.model.cluster import Network
    from ohmykube.model.exposure import Exposed, Exposure, Report
    from ohmykube.model.machine import MachineSpec
    from ohmykube.model.outside import Outside
    from ohmykube.providers.nspawn.helper_programs import HelperPrograms
    from ohmykube.providers.nspawn.host_system import HostSystem
    from ohmykube.providers.nspawn.layout import ClusterFiles
    from ohmykube.providers.nspawn.name_claims import Claims


class Clusters(ClusterDirectory):
    """The clusters below one data directory, and what they have besides their nodes."""

    def __init__(
        self,
        host: HostSystem,
        root: Path,
        claims: Claims,
        helpers: HelperPrograms,
    ) -> None:
        super().__init__(root)
        self._host = host
        self._claims = claims
        self._uplinks = Uplinks(host, helpers)
        self._ports = HostPorts(host, helpers)
        self._guard = threading.RLock()

    @contextlib.contextmanager
    def locked(self, cluster: str) -> Iterator[None]:
        """Hold the cluster's lock; short sections only."""
        path = self._host.run / "locks" / f"{cluster}.lock"
        # Threads queue here without polling, processes at the file.
        with self._guard, locks.exclusive(path, f'cluster "{cluster}"', wait_seconds=60):
            yield

    @contextlib.contextmanager
    def node_locked(self, cluster: str, node: str) -> Iterator[None]:
        """Hold a node's lock, for the whole of an operation on it."""
        path = self._host.run / "locks" / f"{cluster}.{node}.lock"
        with locks.exclusive(path, f"node {node} of {cluster}", wait_seconds=120):
            yield

    def open(self, cluster: str, wanted: Network | None = None) -> ClusterRecord:
        """Return the cluster's record, made with its directory when it is new.

        Args:
            cluster: whose.
            wanted: what is described of its networks, for a new one.

        Raises:
            LockedError: the directory is somebody else's.
        """
        with self.locked(cluster):
            record = self.record(cluster)
            if record is None:
                paths = self.files(cluster)
                files.ensure_directory(paths.root_dir)
                files.sweep(paths.root_dir)
                if any(paths.root_dir.iterdir()):
                    raise LockedError(
                        f"{paths.root_dir} is in the way",
                        why="it holds files but no cluster.json of ours",
                        hint=f"ls -l {shell.word(paths.root_dir)}; "
                        "move it away if it is not needed",
                        id="OMK-P-113",
                    )
                with subnet_choice.alone(self._host):
                    others = self.networks_of_others(cluster)
                    networks = subnet_choice.chosen(self._host, cluster, wanted, others)
                    record = ClusterRecord(
                        cluster=cluster,
                        id=uuid.uuid4().hex,
                        networks=networks,
                        mtu=wanted.mtu if wanted else None,
                        schema=records.schema_of("", (), networks),
                    )
                    records.write(paths.marker, record)
            return record

    def set_up(self, owner: ClusterRecord) -> None:
        """Claim the cluster's name on the host; create its keys and network unless they exist.

        Call it when the first node has its marker: from then on a crash leaves nothing unowned.

        Raises:
            LockedError: the name is somebody else's.
        """
        cluster = owner.cluster
        with self.locked(cluster):
            paths = self.files(cluster)
            self._claims.take(cluster, Claim(owner.id, str(paths.root_dir)))
            node_root.make_key(self._host, paths.identity, f"ohmykube-{cluster}")
            network.make_cluster(self._host, cluster, Subnet.of(owner.networks, owner.mtu))
            self._ensure_helpers(cluster, paths)

    def restore_helpers(self, cluster: str) -> None:
        """Start what works for a cluster besides its nodes and has ended.

        Raises:
            LockedError, PrerequisiteError, ProviderError: it cannot be started.
        """
        with self.locked(cluster):
            self._ensure_helpers(cluster, self.files(cluster))

    def _ensure_helpers(self, cluster: str, paths: ClusterFiles) -> None:
        outside = self._uplinks.wanted(paths)
        if outside is not None:
            self._uplinks.ensure(cluster, paths, self.subnet(cluster), outside)
        report = self._ensure_ports(cluster)
        port_forward.must_be_held(cluster, report.forwards)

    def _ensure_ports(
        self,
        cluster: str,
        *,
        wanted: Exposure | None = None,
        listed: Sequence[ExposedPort] | None = None,
    ) -> Report:
        """Hold the ports of this host that are the cluster's (see ``HostPorts.ensure``)."""
        record, nodes = self.record(cluster), self._addresses(cluster)
        targets = record.forwards if record else {}
        forwards = [_forward(target, port) for target, port in sorted(targets.items())]
        return self._ports.ensure(
            *(cluster, self.files(cluster), self.subnet(cluster), nodes),
            forwards=[one for one in forwards if one.target.address in nodes],
            wanted=wanted,
            listed=listed,
        )

    def owns_name(self, record: ClusterRecord | MachineRecord) -> bool:
        """Tell whether the cluster's name on this host is ours: what runs under it is too.

        After a reboot the name may have gone to a cluster of another data directory.
        """
        claim = self._claims.read(record.cluster)
        return claim is None or claim.id == record.id

    def roll_back_node(self, cluster: str, node: str) -> None:
        """Remove the files of a node that was registered but whose cluster could not be set up."""
        with self.locked(cluster):
            directories.empty(self.files(cluster).node(node).root_dir, last="machine.json")
            if not self.nodes(cluster):
                directories.empty(self.files(cluster).root_dir, last="cluster.json")
            with contextlib.suppress(OSError):
                self.root.rmdir()

    def register_node(
        self, owner: ClusterRecord, spec: MachineSpec, base: str, described: Sequence[str] = ()
    ) -> MachineRecord:
        """Return the machine's record with the limits of ``spec``; a new one gets an address.

        Args:
            owner: the cluster.
            spec: of the machine.
            base: the base image's key.
            described: the cluster's nodes in their order, by which addresses are given, whichever
                of them is made first.

        Raises:
            ProviderError: its directory is somebody else's, or no address is left.
        """
        with self.locked(owner.cluster):
            record = self.machine(owner.cluster, spec.node)
            if record is None:
                record = self._new(owner, spec, base, described)
            if not record.complete:
                record = replace(record, template=spec.template)
            changed = replace(
                record,
                cpus=spec.cpus,
                memory_mib=spec.memory_mib,
                mounts=spec.mounts,
                schema=records.schema_of(record.template, spec.mounts, owner.networks),
            )
            self.save(changed)
            return changed

    def _new(
        self, owner: ClusterRecord, spec: MachineSpec, base: str, described: Sequence[str]
    ) -> MachineRecord:
        node = self.files(owner.cluster).node(spec.node)
        files.ensure_directory(node.root_dir)
        files.sweep(node.root_dir)
        if any(node.root_dir.iterdir()):
            raise directories.not_ours(node.root_dir)
        own = Subnet.of(owner.networks, owner.mtu)
        there = {name: self.machine(owner.cluster, name) for name in self.nodes(owner.cluster)}
        addresses = {name: machine.address for name, machine in there.items() if machine}
        number = own.free_number(spec.node, described, addresses)
        if not number:
            files.remove_tree(node.root_dir)
            raise ProviderError(
                f"cluster {owner.cluster} has no address left for node {spec.node}",
                why=f"{len(own.numbers)} nodes are the most that one cluster takes",
                hint="ohmykube status",
                id="OMK-P-114",
            )
        address, secondary, *_ = (*own.of_number(number), "")
        return MachineRecord(
            cluster=owner.cluster,
            node=spec.node,
            id=owner.id,
            address=address,
            secondary_address=secondary,
            base=base,
        )

    def save(self, record: MachineRecord) -> None:
        """Write a machine's record unless the file holds it already."""
        if self.machine(record.cluster, record.node) != record:
            records.write(self.files(record.cluster).node(record.node).marker, record)

    def publish_keys(self, cluster: str) -> None:
        """Write the cluster's known_hosts from the machines' records."""
        with self.locked(cluster):
            self._publish_keys(cluster)

    def _publish_keys(self, cluster: str) -> None:
        machines = [self.machine(cluster, name) for name in self.nodes(cluster)]
        lines = [f"{m.address} {m.host_key}\n" for m in machines if m is not None and m.host_key]
        path = self.files(cluster).known_hosts
        text = "".join(lines)
        if not path.exists() or path.read_text() != text:
            files.write(path, text)

    def drop(self, cluster: str, node: str) -> None:
        """Remove the files of a node that has ended; with the last one, all of the cluster.

        Repeatable. The node's marker goes after the cluster's network, so that a crash leaves a
        node that can be listed and deleted again.
        """
        with self.locked(cluster):
            paths = self.files(cluster)
            directory = paths.node(node).root_dir
            if not set(self.nodes(cluster)) - {node}:
                record = self.record(cluster)
                if record is None:
                    ours = self._claims.orphaned(cluster, paths.root_dir)
                else:
                    ours = self.owns_name(record)
                if ours:
                    self._claims.release(cluster)
                directories.empty(directory, last="machine.json")
                if record is not None or not directories.foreign(paths.root_dir):
                    directories.empty(paths.root_dir, last="cluster.json")
            else:
                directories.empty(directory, last="machine.json")
                self._publish_keys(cluster)
                if self._ports.runs(cluster):
                    self._ensure_ports(cluster)
            with contextlib.suppress(OSError):
                self.root.rmdir()

    def endpoint(self, cluster: str, target: str) -> int:
        """Return the port of 127.0.0.1 that leads to ``target``, the same for the cluster's life.

        Raises:
            ProviderError: no such cluster.
            LockedError: the port is taken.
        """
        with self.locked(cluster):
            record = self._recorded(cluster)
            port = record.forwards.get(target)
            if port is None:
                free = self._host.kernel.port_free
                port = port_forward.choose(cluster, self._promised(), free)
                record = replace(record, forwards={**record.forwards, target: port})
                records.write(self.files(cluster).marker, record)
            port_forward.must_be_held(cluster, self._ensure_ports(cluster).forwards)
            return port

    def _recorded(self, cluster: str) -> ClusterRecord:
        record = self.record(cluster)
        if record is None:
            text = f'there is no cluster "{cluster}" with nspawn nodes'
            raise ProviderError(text, hint="ohmykube list", id="OMK-P-115")
        return record

    def _promised(self) -> set[int]:
        every = [self.record(name) for name in self.names()]
        return {port for record in every if record for port in record.forwards.values()}

    def open_outside(self, cluster: str, outside: Outside) -> None:
        """Open exactly this of the outside to a cluster with nodes, for its life.

        Raises:
            PrerequisiteError, ProviderError: no such cluster, or it cannot be opened.
        """
        with self.locked(cluster):
            self._recorded(cluster)
            own = self.subnet(cluster)
            self._uplinks.ensure(cluster, self.files(cluster), own, outside)
            self._publish_resolver(cluster)

    def _addresses(self, cluster: str) -> list[str]:
        """Return the addresses of all nodes, those of the primary IP family first."""
        machines = [self.machine(cluster, name) for name in self.nodes(cluster)]
        there = [machine for machine in machines if machine is not None]
        secondary = [one.secondary_address for one in there if one.secondary_address]
        return [*(one.address for one in there), *secondary]

    def publish(self, cluster: str, listed: Sequence[ExposedPort]) -> Mapping[ExposedPort, str]:
        """Hold a port of this host for each of these; return where, as ``host:port``.

        Raises:
            ProviderError: no port can be held.
        """
        with self.locked(cluster):
            if self.record(cluster) is None:
                return {}
            told = self._ensure_ports(cluster, listed=listed).exposed
        found = {port.target: port.place for port in told.ports if port.place}
        return {port: found[port] for port in listed if port in found}

    def expose(self, cluster: str, wanted: Exposure) -> Exposed:
        """Hold ports of this host for all that this says.

        Raises:
            ProviderError: no such cluster, or no port can be held.
        """
        with self.locked(cluster):
            self._recorded(cluster)
            self._ensure_ports(cluster, wanted=wanted)
        return self._ports.known(cluster, self.files(cluster))

    def exposed(self, cluster: str) -> Exposed:
        """Return what of a cluster is reachable on ports of this host."""
        return self._ports.exposed(cluster, self.files(cluster))

    def publish_resolver(self, cluster: str) -> None:
        """Write how to resolve names into those nodes that are mounted."""
        with self.locked(cluster):
            self._publish_resolver(cluster)

    def _publish_resolver(self, cluster: str) -> None:
        paths = self.files(cluster)
        outside = self._uplinks.wanted(paths)
        resolves = outside is not None and outside.resolves
        search = self._uplinks.resolving().search if resolves else ()
        server = self.subnet(cluster).gateways[0]
        for name in self.nodes(cluster):
            node_root.set_resolver(paths.node(name), server, search)

    def pause(self, cluster: str) -> None:
        """Stop all that works for a cluster while its nodes run; its ports stay reserved."""
        with self.locked(cluster):
            self._uplinks.end(cluster)
            self._ports.end(cluster)


def _forward(target: str, port: int) -> PortForward:
    inner = int(target.rpartition(":")[2])
    return PortForward(host_port=port, target=ExposedPort(host_of(target), inner))
