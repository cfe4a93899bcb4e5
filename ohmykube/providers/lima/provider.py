"""The provider: virtual machines of Lima, without root rights, on Linux and macOS."""

from __future__ import annotations

import math
import os
import uuid
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from ohmykube.errors import ConfigError, NotFoundError, OhmykubeError, ProviderError
from ohmykube.kit import parallel, process
from ohmykube.model.machine import Machine, MachineState, SshTarget
from ohmykube.progress import Message, NodeProgress
from ohmykube.providers.base import Capabilities, Check, Provider, ProviderContext
from ohmykube.providers.lima import (
    guest,
    home,
    images,
    machines,
    marker,
    names,
    options,
    preflight,
    processes,
    records,
    state,
    template,
)
from ohmykube.providers.lima.limactl import Limactl
from ohmykube.providers.lima.machines import Machines, Patience, foreign
from ohmykube.providers.lima.marker import Marker
from ohmykube.providers.lima.network import Networks
from ohmykube.providers.lima.state import REPAIRS, Judge, Look, Repair, State
from ohmykube.providers.lima.template import Shape, Template

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ohmykube.model.cluster import Node
    from ohmykube.model.machine import MachineSpec
    from ohmykube.providers.lima.limactl import Runner
    from ohmykube.providers.lima.network import Service


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """The doors to what is not ours."""

    program: str = "limactl"
    """Name on PATH, or path."""
    run: Runner = process.run
    """Runs limactl."""
    ask: guest.Guest = guest.run
    """Runs a command in a guest."""
    answers: Callable[[str, int], bool] = state.greets
    """Tells whether ssh answers at a host and port."""
    command_of: Callable[[int], str] = processes.command
    """Tells the command line of a process."""


class LimaProvider(Provider):
    """Machines are virtual machines of Lima in a home of their own.

    Args:
        context: as for all providers.
        lima_home: where the machines are; None for this user's.
        host: what preflight looks at.
        outside: the programs that are run.
        patience: how long to wait; None for what suits this host.
    """

    name = "lima"

    def __init__(
        self,
        context: ProviderContext,
        *,
        lima_home: home.Home | None = None,
        host: preflight.Host | None = None,
        outside: Outside | None = None,
        patience: Patience | None = None,
    ) -> None:
        super().__init__(context)
        self._home = lima_home or home.locate()
        self._host = host or preflight.Host()
        self._options = options.of(context.cluster)
        self._outside = outside or Outside()
        self._given_patience = patience

    # What looks at the host is made on first use: making a provider touches nothing.

    @cached_property
    def _emulated(self) -> bool:
        return self._options.emulation and bool(self._host.accelerated())

    @cached_property
    def _limactl(self) -> Limactl:
        extra = preflight.emulation(self._host) if self._emulated else {}
        return Limactl(
            self._home.root, program=self._outside.program, environ=extra, run=self._outside.run
        )

    @cached_property
    def _networks(self) -> Networks:
        return Networks(self._home, self._limactl, command_of=self._outside.command_of)

    @cached_property
    def _judge(self) -> Judge:
        return Judge(self._home, self._networks, self._outside.answers)

    @cached_property
    def _patience(self) -> Patience:
        if self._given_patience is not None:
            return self._given_patience
        cores = os.cpu_count() or 1
        if self._emulated:
            boot = machines.BOOT_SECONDS * machines.EMULATED_FACTOR
            return Patience(boot=boot, answer=120, at_once=2)
        return Patience(at_once=max(1, cores // 2))

    @cached_property
    def _machines(self) -> Machines:
        return Machines(
            self._home,
            self._limactl,
            self._networks,
            self._judge,
            reporter=self.context.reporter,
            patience=self._patience,
            command_of=self._outside.command_of,
        )

    @property
    def capabilities(self) -> Capabilities:
        """Machines with kernels of their own that we make, stop and start."""
        return Capabilities(creates=True, powers=True)

    def check(self) -> Sequence[Check]:
        """Look whether this host can start machines of Lima."""
        cluster = self.context.cluster
        return preflight.check(self._host, self._home, self._limactl, self._options, cluster)

    def prepare(self) -> None:
        """Make the key of the machines, and see that there is an image for them.

        Raises:
            ConfigError: the image or template asked for cannot be used.
        """
        self._source()
        self._home.ensure_key()

    def list(self, cluster: str) -> Sequence[Machine]:
        """Return the machines of exactly this cluster."""
        ours = {name: m for name, m in marker.owned(self._home).items() if m.cluster == cluster}
        if not ours:
            return []
        listed = {instance.name: instance for instance in self._limactl.list()}
        looks = parallel.each(ours, lambda name: self._judge.look(name, listed.get(name)))
        found = [self._machine(look) for look in looks if look.marker is not None]
        return sorted(found, key=lambda machine: machine.node)

    def clusters(self) -> Sequence[str]:
        """Return the clusters that have machines here."""
        ours = marker.owned(self._home).values()
        return sorted({whose.cluster for whose in ours if whose.cluster})

    def create(self, spec: MachineSpec) -> Machine:
        """Make the machine whole and running, of the size asked for.

        Raises:
            LockedError: a machine of that name is not ours.
            ConfigError: its image cannot be used, or its disk would have to shrink.
            ProviderError, ResourceError, PrerequisiteError: it cannot be made.
        """
        name = names.instance(spec.cluster, spec.node)
        shape = _shape(spec.cpus, spec.memory_mib, spec.disk_gib)
        with self._home.node_locked(name):
            look = self._admitted(name, spec.cluster, spec.node)
            if look.state is State.CREATING and marker.read_claim(self._home, name) is not None:
                self._machines.remove(look)  # never started: nothing is lost
                look = self._machines.look(name)
            if look.state is State.ABSENT:
                return self._machine(self._booted(self._make(spec, name, shape)))
            return self._machine(self._ready(look, shape))

    def start(self, cluster: str, node: str) -> Machine:
        """Start a machine, and mend what a sleep or a crash of the host left of it.

        Raises:
            NotFoundError: there is none.
        """
        name = names.instance(cluster, node)
        with self._home.node_locked(name):
            look = self._admitted(name, cluster, node)
            if look.state is State.ABSENT:
                raise NotFoundError(
                    f'cluster "{cluster}" has no node "{node}"',
                    hint="ohmykube status",
                    id="OMK-P-551",
                )
            awake = look.state is State.READY
            machine = self._machine(self._ready(look, self._desired(cluster, node)))
            if awake:
                self._set_clock(machine)
            return machine

    def stop(self, cluster: str, node: str) -> None:
        """Switch a machine off; its disk and its address stay."""
        name = names.instance(cluster, node)
        with self._home.node_locked(name):
            look = self._machines.look(name)
            if look.marker is not None and _is(look.marker, cluster, node):
                self._machines.halt(look)

    def delete(self, cluster: str, node: str) -> None:
        """Remove a machine with its disks; with the last one, the cluster's network too."""
        name = names.instance(cluster, node)
        if not self._home.directory(name).exists():
            return
        with self._home.node_locked(name):
            look = self._machines.look(name)
            if look.marker is not None and _is(look.marker, cluster, node):
                self._machines.remove(look)

    def api_endpoint(self, cluster: str, address: str, port: int) -> tuple[str, int]:
        """Return a port of this host's loopback that leads to ``address:port``."""
        if self._options.routable:
            return address, port
        return "127.0.0.1", self._networks.endpoint(cluster, f"{address}:{port}")

    def publish(self, cluster: str, wanted: Sequence[Service]) -> Mapping[Service, str]:
        """Let this host reach exactly these addresses and ports of the cluster; say where.

        They are carried again after each start of the cluster.
        """
        return self._networks.publish(cluster, wanted)

    # --- parts

    def _admitted(self, name: str, cluster: str, node: str) -> Look:
        """Return how a machine is, unless it is not ours."""
        look = self._machines.look(name)
        theirs = look.marker is not None and not _is(look.marker, cluster, node)
        if look.state is State.FOREIGN or theirs:
            raise foreign(name, self._home.directory(name))
        return look

    def _source(self) -> tuple[images.Image | None, Mapping[str, object] | None]:
        chosen = self._options
        if chosen.template is not None:
            return None, template.load(chosen.template, unverified=chosen.allow_unverified_image)
        arch = self._host.arch
        unverified = chosen.allow_unverified_image
        image = images.choose(chosen.image, arch, digest=chosen.digest, unverified=unverified)
        return image, None

    def _make(self, spec: MachineSpec, name: str, shape: Shape) -> Marker:
        image, base = self._source()
        problem = self._home.too_long([name], [names.network(255)])
        if problem:
            raise ConfigError(
                f"machine {spec.node} cannot be made at {self._home.root}",
                why=problem,
                hint=f"set {home.VARIABLE} to a directory with a short path",
                id="OMK-P-552",
            )
        self._home.ensure_key()
        self._say(spec.node, "making its disk")
        with self._home.exclusive():
            network = self._networks.ensure(spec.cluster, self._own_networks()).network
        disks = self._options.disks_of(spec.node)
        claimed = Marker(
            instance=name,
            cluster=spec.cluster,
            node=spec.node,
            id=uuid.uuid4().hex,
            network=network,
        )
        text = template.render(
            Template(
                id=claimed.id,
                instance=name,
                shape=shape,
                network=network,
                image=image,
                base=base,
                disks=len(disks),
                emulation=self._emulated,
                routable=self._options.routable,
                system=self._host.system,
            )
        )
        try:
            self._machines.make(claimed, lambda: self._limactl.create(name, text), disks, text)
        except OhmykubeError:
            self._drop_empty(spec.cluster)
            raise
        return claimed

    def _drop_empty(self, cluster: str) -> None:
        """Remove the network of a cluster of which no machine was made."""
        with self._home.exclusive():
            if cluster not in self.clusters():
                self._networks.remove(cluster)

    def _own_networks(self) -> tuple[str, ...]:
        cluster = self.context.cluster
        if cluster is None:
            return ()
        return cluster.network.pod_cidr, cluster.network.service_cidr

    def _desired(self, cluster: str, node: str) -> Shape:
        wanted = self._node(cluster, node)
        if wanted is None:
            return Shape()
        return _shape(wanted.cpus, wanted.memory_mib, wanted.disk_gib)

    def _node(self, cluster: str, node: str) -> Node | None:
        desired = self.context.cluster
        if desired is None or desired.name != cluster:
            return None
        return next((one for one in desired.nodes if one.name == node), None)

    def _ready(self, look: Look, shape: Shape) -> Look:
        """Return the machine READY, repaired as it needs. The node's lock is held."""
        whose = _marked(look)
        differs = state.drift(look.instance, shape) if look.instance else ()
        self._refuse_shrink(whose, differs)
        if REPAIRS[look.state] is Repair.WAIT:
            self._say(whose.node, look.why or "waiting for the guest")
            patience = self._patience
            seconds = patience.boot if look.state is State.BOOTING else patience.answer
            look = self._machines.await_ready(whose.instance, seconds)
        if look.state is State.READY:
            return self._keep_up(look, differs)
        repair = REPAIRS[look.state]
        if repair is not Repair.START:
            self._say(whose.node, f"mending: {look.why or look.state.value}")
        if repair is Repair.RESET:
            self._machines.reset(whose)
        else:
            self._machines.halt(look)
        self._reshape(whose, differs)
        return self._booted(whose)

    def _booted(self, whose: Marker) -> Look:
        """Return a machine READY that does not run."""
        self._say(whose.node, "booting")
        found = self._machines.boot(whose)
        if self._options.routable:
            found = self._routable(found)
        return self._keep_up(found, ())

    def _reshape(self, whose: Marker, differs: Sequence[state.Drift]) -> None:
        wanted = Shape(**{one.field: one.wanted for one in differs})
        fields = template.expressions(template.shape_fields(wanted))
        disks = self._options.disks_of(whose.node)
        if fields or disks:
            self._machines.reshape(whose.instance, fields, disks)

    def _refuse_shrink(self, whose: Marker, differs: Sequence[state.Drift]) -> None:
        for one in differs:
            if one.shrinks:
                raise ConfigError(
                    f"the disk of node {whose.node} cannot become smaller",
                    why=str(one),
                    hint=f"set disk to {one.made}GiB or more, or remove the cluster and make it "
                    "again",
                    id="OMK-P-553",
                )

    def _keep_up(self, look: Look, differs: Sequence[state.Drift]) -> Look:
        """Let this host reach what it reached before, and say what a restart would change."""
        whose = _marked(look)
        record = records.read(self._home, whose.cluster)
        if record is not None:
            self._networks.reconcile(record)
            look = self._machines.look(whose.instance)
        if differs:
            text = f"node {whose.node} runs with {', '.join(map(str, differs))}; the next start "
            text += f"changes that: ohmykube stop {whose.cluster}; ohmykube start {whose.cluster}"
            self.context.reporter.emit(Message(text=text, level="warning"))
        return look

    def _routable(self, look: Look) -> Look:
        whose = _marked(look)
        target = self._target(look)
        address = guest.address_on(self._outside.ask, target, template.ROUTABLE_CARD)
        if not address:
            raise ProviderError(
                f"node {whose.node} has no address in the network of this host",
                why=f"its card {template.ROUTABLE_CARD} got none from {template.VMNET_SOCKET}",
                hint="is the service socket_vmnet running, and may bootpd through the firewall?",
                id="OMK-P-554",
            )
        noted = replace(whose, routable=address)
        marker.write(self._home.directory(whose.instance), noted)
        return replace(look, marker=noted)

    def _set_clock(self, machine: Machine) -> None:
        if machine.ssh is None:
            return
        try:
            behind = guest.set_clock(self._outside.ask, machine.ssh)
        except OhmykubeError as error:
            text = f"the clock of node {machine.node} could not be looked at: {error.message}"
            self.context.reporter.emit(Message(text=text, level="warning"))
            return
        if behind:
            text = f"the clock of node {machine.node} was {behind:+.0f} s off; set"
            self.context.reporter.emit(Message(text=text))

    def _machine(self, look: Look) -> Machine:
        whose = _marked(look)
        running = look.machine_state is MachineState.RUNNING
        return Machine(
            cluster=whose.cluster,
            node=whose.node,
            state=look.machine_state,
            address=whose.routable or look.address,
            ssh=self._target(look) if running else None,
        )

    def _target(self, look: Look) -> SshTarget:
        return SshTarget(
            address="127.0.0.1",
            port=look.ssh_port,
            user=template.USER,
            identity_file=self._home.identity,
            become=True,
            ephemeral_host_key=True,
        )

    def _say(self, node: str, activity: str) -> None:
        self.context.reporter.emit(NodeProgress(node=node, activity=activity))


def _marked(look: Look) -> Marker:
    if look.marker is None:
        raise ProviderError("internal: a machine that is not ours was to be changed")
    return look.marker


def _is(whose: Marker, cluster: str, node: str) -> bool:
    return (whose.cluster, whose.node) == (cluster, node)


def _shape(cpus: float | None, memory_mib: int | None, disk_gib: int | None) -> Shape:
    return Shape(
        cpus=None if cpus is None else max(1, math.ceil(cpus)),
        memory_mib=memory_mib,
        disk_gib=disk_gib,
    )
