"""Repairing one machine by the table of repairs, and describing it as all providers do."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ohmykube.errors import ConfigError, OhmykubeError, ProviderError
from ohmykube.model.machine import Machine, MachineState, SshTarget
from ohmykube.model.names import HIDDEN
from ohmykube.progress import Message, NodeProgress
from ohmykube.providers.lima import guest_shell, lima_yaml, marker, records, state
from ohmykube.providers.lima.lima_yaml import Shape
from ohmykube.providers.lima.state import REPAIRS, Inspection, Repair, State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ohmykube.progress import Reporter
    from ohmykube.providers.lima.lima_home import Home
    from ohmykube.providers.lima.machines import Machines, Timeouts
    from ohmykube.providers.lima.marker import Marker
    from ohmykube.providers.lima.network import Networks
    from ohmykube.providers.lima.options import Options


@dataclass(frozen=True, slots=True, kw_only=True)
class Nodes:
    """Makes machines what their cluster wants. The caller holds the node's lock."""

    home: Home
    machines: Machines
    networks: Networks
    options: Options
    ask: guest_shell.Guest
    timeouts: Timeouts
    reporter: Reporter

    def ready(self, seen: Inspection, shape: Shape) -> Inspection:
        """Return the machine READY, repaired as it needs. The node's lock is held."""
        whose = marked(seen)
        differs = state.drift(seen.instance, shape) if seen.instance else ()
        self._refuse_shrink(whose, differs)
        if REPAIRS[seen.state] is Repair.WAIT:
            self.say(whose.node, seen.why or "waiting for the guest")
            timeouts = self.timeouts
            seconds = timeouts.boot if seen.state is State.BOOTING else timeouts.answer
            seen = self.machines.await_ready(whose.instance, seconds)
        if seen.state is State.READY:
            return self._keep_up(seen, differs)
        repair = REPAIRS[seen.state]
        if repair is not Repair.START:
            self.say(whose.node, f"mending: {seen.why or seen.state.value}")
        if repair is Repair.RESET:
            self.machines.reset(whose)
        else:
            self.machines.halt(seen)
        self._reshape(whose, differs)
        return self.booted(whose)

    def booted(self, whose: Marker) -> Inspection:
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

    def _keep_up(self, seen: Inspection, differs: Sequence[state.Drift]) -> Inspection:
        """Let this host reach what it reached before, and say what a restart would change."""
        whose = marked(seen)
        record = records.read(self.home, whose.cluster)
        if record is not None:
            self.networks.reconcile(record)
            seen = self.machines.inspect(whose.instance)
        if differs:
            text = f"node {whose.node} runs with {', '.join(map(str, differs))}; the next start "
            text += f"changes that: ohmykube stop {whose.cluster}; ohmykube start {whose.cluster}"
            self.reporter.emit(Message(text=text, level="warning"))
        return seen

    def _routable(self, seen: Inspection) -> Inspection:
        whose = marked(seen)
        target = self._target(seen)
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
        return replace(seen, marker=noted)

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

    def machine(self, seen: Inspection) -> Machine:
        whose = marked(seen)
        running = seen.machine_state is MachineState.RUNNING
        return Machine(
            cluster=whose.cluster,
            node=whose.node,
            state=seen.machine_state,
            address=whose.routable or seen.address,
            ssh=self._target(seen) if running else None,
        )

    def _target(self, seen: Inspection) -> SshTarget:
        return SshTarget(
            address="127.0.0.1",
            port=seen.ssh_port,
            user=lima_yaml.USER,
            identity_file=self.home.identity,
            become=True,
            ephemeral_host_key=True,
            on_this_host=True,
        )

    def say(self, node: str, activity: str) -> None:
        self.reporter.emit(NodeProgress(node=node, activity=activity))


def marked(seen: Inspection) -> Marker:
    if seen.marker is None:
        raise ProviderError("internal: a machine that is not ours was to be changed")
    return seen.marker
