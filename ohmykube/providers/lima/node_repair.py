"""Bringing one machine to where it should be, by the table of repairs, and telling how it is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ohmykube.errors import ConfigError, OhmykubeError, ProviderError
from ohmykube.model.machine import Machine, MachineState, SshTarget
from ohmykube.model.names import HIDDEN
from ohmykube.progress import Message, NodeProgress
from ohmykube.providers.lima import guest_shell, lima_yaml, marker, records, state
from ohmykube.providers.lima.lima_yaml import Shape
from ohmykube.providers.lima.state import REPAIRS, Look, Repair, State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ohmykube.progress import Reporter
    from ohmykube.providers.lima.lima_home import Home
    from ohmykube.providers.lima.machines import Machines, Patience
    from ohmykube.providers.lima.marker import Marker
    from ohmykube.providers.lima.network import Networks
    from ohmykube.providers.lima.options import Options


@dataclass(frozen=True, slots=True, kw_only=True)
class Nodes:
    """Machines as a cluster wants them. The caller holds the lock of the node."""

    home: Home
    machines: Machines
    networks: Networks
    options: Options
    ask: guest_shell.Guest
    patience: Patience
    reporter: Reporter

    def ready(self, look: Look, shape: Shape) -> Look:
        """Return the machine READY, repaired as it needs. The node's lock is held."""
        whose = marked(look)
        differs = state.drift(look.instance, shape) if look.instance else ()
        self._refuse_shrink(whose, differs)
        if REPAIRS[look.state] is Repair.WAIT:
            self.say(whose.node, look.why or "waiting for the guest")
            patience = self.patience
            seconds = patience.boot if look.state is State.BOOTING else patience.answer
            look = self.machines.await_ready(whose.instance, seconds)
        if look.state is State.READY:
            return self._keep_up(look, differs)
        repair = REPAIRS[look.state]
        if repair is not Repair.START:
            self.say(whose.node, f"mending: {look.why or look.state.value}")
        if repair is Repair.RESET:
            self.machines.reset(whose)
        else:
            self.machines.halt(look)
        self._reshape(whose, differs)
        return self.booted(whose)

    def booted(self, whose: Marker) -> Look:
        """Return a machine READY that does not run."""
        self.say(whose.node, "booting")
        found = self.machines.boot(whose)
        if self.options.routable:
            found = self._routable(found)
        return self._keep_up(found, ())

    def _reshape(self, whose: Marker, differs: Sequence[state.Drift]) -> None:
        wanted = Shape(**{one.field: one.wanted for one in differs})
        fields = lima_yaml.expressions(lima_yaml.shape_fields(wanted))
        hidden = whose.cluster.startswith(HIDDEN)
        disks = () if hidden else self.options.disks_of(whose.node)
        if fields or disks:
            self.machines.reshape(whose.instance, fields, disks)

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
        whose = marked(look)
        record = records.read(self.home, whose.cluster)
        if record is not None:
            self.networks.reconcile(record)
            look = self.machines.look(whose.instance)
        if differs:
            text = f"node {whose.node} runs with {', '.join(map(str, differs))}; the next start "
            text += f"changes that: ohmykube stop {whose.cluster}; ohmykube start {whose.cluster}"
            self.reporter.emit(Message(text=text, level="warning"))
        return look

    def _routable(self, look: Look) -> Look:
        whose = marked(look)
        target = self._target(look)
        address = guest_shell.address_on(self.ask, target, lima_yaml.ROUTABLE_CARD)
        if not address:
            raise ProviderError(
                f"node {whose.node} has no address in the network of this host",
                why=f"its card {lima_yaml.ROUTABLE_CARD} got none from {lima_yaml.VMNET_SOCKET}",
                hint="is the service socket_vmnet running, and may bootpd through the firewall?",
                id="OMK-P-554",
            )
        noted = replace(whose, routable=address)
        marker.write(self.home.directory(whose.instance), noted)
        return replace(look, marker=noted)

    def set_clock(self, machine: Machine) -> None:
        if machine.ssh is None:
            return
        try:
            behind = guest_shell.set_clock(self.ask, machine.ssh)
        except OhmykubeError as error:
            text = f"the clock of node {machine.node} could not be looked at: {error.message}"
            self.reporter.emit(Message(text=text, level="warning"))
            return
        if behind:
            text = f"the clock of node {machine.node} was {behind:+.0f} s off; set"
            self.reporter.emit(Message(text=text))

    def machine(self, look: Look) -> Machine:
        whose = marked(look)
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
            user=lima_yaml.USER,
            identity_file=self.home.identity,
            become=True,
            ephemeral_host_key=True,
        )

    def say(self, node: str, activity: str) -> None:
        self.reporter.emit(NodeProgress(node=node, activity=activity))


def marked(look: Look) -> Marker:
    if look.marker is None:
        raise ProviderError("internal: a machine that is not ours was to be changed")
    return look.marker
