"""The provider: hosts of the cluster file, marked as ours while a cluster uses them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.errors import (
    ConfigError,
    NotFoundError,
    OhmykubeError,
    PrerequisiteError,
)
from ohmykube.kit import architecture, failures, parallel, process
from ohmykube.model.machine import Machine, MachineSpec, MachineState, SshTarget
from ohmykube.model.networks import AUTO, IPV4, IPV6, parsed
from ohmykube.progress import Message
from ohmykube.providers.base import Capabilities, Check, CheckStatus, Provider, ProviderContext
from ohmykube.providers.ssh import host_facts, preflight, refusals
from ohmykube.providers.ssh.records import Records, Remembered
from ohmykube.providers.ssh.remote_script import OpenSsh, ScriptRunner
from ohmykube.providers.ssh.user_config import Logins, own_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from ohmykube.model.cluster import Cluster, Host, Node
    from ohmykube.providers.ssh.host_facts import Facts

LOOK_SECONDS = 15.0
AT_ONCE = 16


class SshProvider(Provider):
    """Machines are hosts that exist; a marker on each says which cluster uses it."""

    name = "ssh"

    def __init__(
        self,
        context: ProviderContext,
        remote: ScriptRunner | None = None,
        configuration: Sequence[Path] | None = None,
    ) -> None:
        """Make the provider.

        Args:
            context: what every provider is made with.
            remote: what runs scripts on hosts.
            configuration: files of ssh's configuration that say what the description does not; the
                user's when not given.
        """
        super().__init__(context)
        self._logins = Logins(own_files() if configuration is None else configuration)
        if context.cluster is not None and context.cluster.provider_options:
            keys = sorted(context.cluster.provider_options)
            raise ConfigError(
                "the options of provider ssh are wrong",
                problems=tuple(
                    f"spec.provider.options.{key}: provider ssh has no options" for key in keys
                ),
                hint="ohmykube config validate",
                id="OMK-C-192",
            )
        self._remote = remote or OpenSsh()
        self._records = Records(context.paths.data / "ssh")
        self._architectures: dict[str, str] = {}
        """By node, as its host told when it was last looked at."""

    @property
    def capabilities(self) -> Capabilities:
        """None: hosts are used as they are."""
        return Capabilities(creates=False, powers=False, families=frozenset({IPV4, IPV6}))

    def check(self) -> Sequence[Check]:
        """Look for the ssh client; ``prepare`` and ``preflight`` check the hosts."""
        found = process.which("ssh")
        if found:
            return [Check(id="program-ssh", title="ssh", status=CheckStatus.OK, evidence=found)]
        return [
            Check(
                id="program-ssh",
                title="ssh",
                status=CheckStatus.FAIL,
                evidence="ssh is not installed",
                fix="apt-get install openssh-client",
                packages=("openssh-client",),
            )
        ]

    def prepare(self) -> None:
        """Look at all hosts that are not set up yet, before any of them is touched.

        Raises:
            LockedError: a host belongs to another cluster, or to another node of this one; or a
                node has another host already.
            PrerequisiteError: hosts miss something; names all of it.
            UnreachableError, IntegrityError: a host cannot be reached as it should.
        """
        cluster = self.context.cluster
        if cluster is None:
            return
        known = {node.name: self._records.get(cluster.name, node.name) for node in cluster.nodes}
        for node in cluster.nodes:
            refusals.refuse_move(node.name, _host_of(node), known[node.name])
        new = [node for node in cluster.nodes if not _is_set_up(known[node.name])]
        found = parallel.each(new, self._free, at_most=AT_ONCE)
        self._insist([check for checks in found for check in checks])

    def preflight(self) -> Mapping[str, Sequence[Check]]:
        """Return, for each node of the cluster, what its host has and what is missing; read-only.

        Raises:
            UnreachableError, IntegrityError: a host cannot be reached as it should.
        """
        nodes = self.context.cluster.nodes if self.context.cluster else ()
        found = parallel.each(nodes, self._judged, at_most=AT_ONCE)
        return {node.name: checks for node, checks in zip(nodes, found, strict=True)}

    def _free(self, node: Node) -> list[Check]:
        """Return the checks of a host; one that belongs to another cluster is refused first."""
        facts, ours = self._asked(node)
        if not ours:
            refusals.refuse_taken(node.name, facts.marker)
        return preflight.checks_of(node, facts, ours=ours, one_card=self._flannel)

    def _judged(self, node: Node) -> list[Check]:
        facts, ours = self._asked(node)
        return preflight.checks_of(node, facts, ours=ours, one_card=self._flannel)

    @property
    def _flannel(self) -> bool:
        return self.context.cluster is not None and self.context.cluster.network.cni == "flannel"

    def _asked(self, node: Node) -> tuple[Facts, bool]:
        cluster = self.context.cluster.name if self.context.cluster else ""
        facts = self._look(cluster, node.name, _host_of(node))
        return facts, self._is_ours(cluster, node.name, facts)

    def _insist(self, checks: Sequence[Check]) -> None:
        for check in checks:
            if check.status is CheckStatus.WARN:
                text = f"{check.title}: {check.evidence}"
                self.context.reporter.emit(Message(text=text, level="warning"))
        failed = [check for check in checks if check.status is CheckStatus.FAIL]
        if failed:
            raise PrerequisiteError(
                "hosts are not ready for nodes",
                why="\n".join(f"{check.title}: {check.evidence}" for check in failed),
                hint=failed[0].fix,
                id="OMK-V-110",
            )

    def list(self, cluster: str) -> Sequence[Machine]:
        """Return the hosts with this cluster's marker, and those that may have it, as unknown."""
        names = sorted(set(self._records.nodes(cluster)) | set(self._desired(cluster)))
        found = parallel.each(names, lambda name: self._seen(cluster, name), at_most=AT_ONCE)
        return [machine for machine in found if machine is not None]

    def _seen(self, cluster: str, node: str) -> Machine | None:
        host, known = self._known(cluster, node)
        if host is None:
            return None
        try:
            facts = self._look(cluster, node, host)
        except OhmykubeError as error:
            if known is None or not known.marked:
                return None
            why = [error.message, *(error.why or "").splitlines()]
            return Machine(
                cluster=cluster,
                node=node,
                state=MachineState.UNKNOWN,
                address=known.address,
                problem=": ".join(line.strip() for line in why if line.strip()),
            )
        if not self._is_ours(cluster, node, facts):
            return None
        return self._machine(cluster, node, host, facts)

    def architectures(self, nodes: Sequence[str]) -> Mapping[str, str]:
        """Return what the hosts told; those that were not looked at yet are asked.

        Raises:
            UnreachableError, IntegrityError: a host cannot be reached as it should.
        """
        new = [name for name in nodes if name not in self._architectures]
        cluster = self.context.cluster
        desired = self._desired(cluster.name if cluster else "")
        parallel.each([desired[name] for name in new], self._asked, at_most=AT_ONCE)
        return {name: self._architectures[name] for name in nodes}

    def clusters(self) -> Sequence[str]:
        """Return the clusters whose hosts were set up from here."""
        return self._records.clusters()

    def create(self, spec: MachineSpec) -> Machine:
        """Take a host: look whether it can be a node, then mark it.

        Raises:
            LockedError: another cluster, or another node of this one, has the host; or the node has
                another host.
            PrerequisiteError: something is missing on it.
            UnreachableError, IntegrityError: it cannot be reached as it should.
            ConfigError: the cluster file names no host for this node.
        """
        node = self._desired(spec.cluster).get(spec.node)
        if node is None:
            raise refusals.no_host(spec.node)
        host = _host_of(node)
        refusals.refuse_move(spec.node, host, self._records.get(spec.cluster, spec.node))
        identity = self._records.register(spec.cluster, spec.node, host)
        self._records.write_known_hosts(spec.cluster, self._pinned())
        with failures.undoing(lambda: self._forget_unmarked(spec)):
            facts = self._look(spec.cluster, spec.node, host)
            if not self._is_ours(spec.cluster, spec.node, facts):
                refusals.refuse_taken(spec.node, facts.marker)
                self._insist(preflight.checks_of(node, facts, ours=False, one_card=self._flannel))
                self._mark(spec, host, identity)
        machine = self._machine(spec.cluster, spec.node, host, facts)
        self._remember(spec, host, address=machine.address)
        return machine

    def _remember(self, spec: MachineSpec, host: Host, *, address: str = "") -> None:
        known = Remembered(host=host, address=address, marked=True)
        self._records.put(spec.cluster, spec.node, known)

    def _forget_unmarked(self, spec: MachineSpec) -> None:
        """Forget a host that certainly has no marker of ours."""
        known = self._records.get(spec.cluster, spec.node)
        if known is not None and not known.marked:
            self._records.forget(spec.cluster, spec.node)

    def _mark(self, spec: MachineSpec, host: Host, identity: str) -> None:
        """Put our marker on a host; until it is known whether it is there, it may be there."""
        before = self._records.get(spec.cluster, spec.node)
        self._remember(spec, host, address=before.address if before is not None else "")
        marker = host_facts.Marker(cluster=spec.cluster, node=spec.node, id=identity)
        script = host_facts.script(host_facts.PUT_MARKER_SCRIPT, CONTENT=marker.text())
        found = host_facts.parse_marker(self._run(spec.cluster, spec.node, host, script))
        if found != marker:
            if before is not None:
                self._records.put(spec.cluster, spec.node, before)
            refusals.refuse_taken(spec.node, found)

    def start(self, cluster: str, node: str) -> Machine:
        """Return the machine if it runs; nothing here can switch it on.

        Raises:
            NotFoundError: the cluster has no such machine.
            ProviderError: it does not answer.
        """
        for machine in self.list(cluster):
            if machine.node == node:
                if machine.state is MachineState.RUNNING:
                    return machine
                raise refusals.no_power(node, "start", machine.problem)
        raise NotFoundError(
            f'cluster "{cluster}" has no host for node "{node}"',
            hint="ohmykube status",
            id="OMK-V-111",
        )

    def stop(self, cluster: str, node: str) -> None:
        """Refuse for a machine that may run; nothing here can switch it on again.

        Raises:
            ProviderError: it runs, or cannot be judged.
        """
        for machine in self.list(cluster):
            if machine.node == node:
                raise refusals.no_power(node, "stop", machine.problem)

    def delete(self, cluster: str, node: str) -> None:
        """Take our marker off the host; the machine and all else on it stay.

        Raises:
            OhmykubeError: the host may have our marker, and it cannot be taken off: the host does
                not answer, or not as it should.
        """
        host, known = self._known(cluster, node)
        identity = self._records.identity(cluster)
        if host is not None and identity and (known is None or known.marked):
            marker = host_facts.Marker(cluster=cluster, node=node, id=identity)
            script = host_facts.script(host_facts.REMOVE_MARKER_SCRIPT, CONTENT=marker.text())
            try:
                self._run(cluster, node, host, script)
            except OhmykubeError:
                if known is not None:
                    raise
        self._records.forget(cluster, node)

    def forget(self, cluster: str, node: str) -> None:
        """Forget a host with all that is on it, our marker too; it is not asked."""
        self._records.forget(cluster, node)

    # Below: how the above look at hosts.

    def _desired(self, cluster: str) -> dict[str, Node]:
        wanted = self.context.cluster
        if wanted is None or wanted.name != cluster:
            return {}
        return {node.name: node for node in wanted.nodes}

    def _known(self, cluster: str, node: str) -> tuple[Host | None, Remembered | None]:
        """Return the host that a node is on, and what is remembered of it.

        How to log in there is the description's. A node whose host may have our marker stays on
        that host, whatever the description says of its address.
        """
        known = self._records.get(cluster, node)
        desired = self._desired(cluster).get(node)
        host = desired.host if desired is not None else None
        if known is not None and (host is None or refusals.moves(host, known)):
            host = known.host
        return host, known

    def _is_ours(self, cluster: str, node: str, facts: Facts) -> bool:
        identity = self._records.identity(cluster)
        return facts.marker == host_facts.Marker(cluster=cluster, node=node, id=identity or "-")

    def _look(self, cluster: str, node: str, host: Host) -> Facts:
        services = " ".join(_services(self.context.cluster))
        script = host_facts.script(host_facts.FACTS_SCRIPT, SERVICES=services)
        facts = host_facts.parse(self._run(cluster, node, host, script))
        self._architectures[node] = architecture.go_name(facts.text("machine"))
        return facts

    def _run(self, cluster: str, node: str, host: Host, script: str) -> str:
        target = self._target(cluster, host)
        # All pinned keys, because a jump host may be another node.
        trusted = self._pinned(host) if host.host_key else ""
        return self._remote.run(node, target, script, trusted=trusted, timeout=LOOK_SECONDS)

    def _pinned(self, *more: Host) -> str:
        nodes = self.context.cluster.nodes if self.context.cluster else ()
        hosts = [*more, *(node.host for node in nodes if node.host is not None)]
        lines = {self._logins.known_hosts_line(host) for host in hosts}
        return "".join(sorted(lines))

    def _target(self, cluster: str, host: Host) -> SshTarget:
        known_hosts = self._records.known_hosts(cluster) if host.host_key else None
        return self._logins.target(host, known_hosts)

    def _machine(self, cluster: str, node: str, host: Host, facts: Facts) -> Machine:
        primary, _, secondary = (host.node_ip or "").partition(",")
        return Machine(
            cluster=cluster,
            node=node,
            state=MachineState.RUNNING,
            address=facts.address(primary, self._logins.of(host).address),
            secondary_address=secondary,
            ssh=self._target(cluster, host),
            arch=architecture.go_name(facts.text("machine")),
        )


def _host_of(node: Node) -> Host:
    if node.host is None:
        raise refusals.no_host(node.name)
    return node.host


def _services(cluster: Cluster | None) -> Iterator[str]:
    """Give an address of each network of services for which nodes need a route.

    They need one where kube-proxy leads to services. Cilium does that before the kernel looks for
    a route, and of another pod network nothing is known.
    """
    if cluster is None or cluster.network.cni != "flannel" or cluster.network.service_cidr == AUTO:
        return
    for network in parsed(cluster.network.service_cidr):
        yield str(network[1])


def _is_set_up(known: Remembered | None) -> bool:
    return known is not None and bool(known.address)
