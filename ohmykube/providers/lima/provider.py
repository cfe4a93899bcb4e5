"""The provider: virtual machines of Lima, without root rights, on Linux and macOS."""

from __future__ import annotations

import json
import os
from functools import cached_property
from typing import TYPE_CHECKING

from ohmykube.errors import NotFoundError, OhmykubeError
from ohmykube.kit import parallel
from ohmykube.model.machine import Resize, Resizing
from ohmykube.model.names import HIDDEN
from ohmykube.providers.base import Capabilities, Check, CheckStatus, Provider, ProviderContext
from ohmykube.providers.lima import (
    download_cache,
    image_download,
    lima_home,
    lima_yaml,
    machines,
    marker,
    names,
    options,
    preflight,
)
from ohmykube.providers.lima.creation import Creator
from ohmykube.providers.lima.external_calls import ExternalCalls
from ohmykube.providers.lima.host_ports import HostPorts
from ohmykube.providers.lima.lima_yaml import Shape
from ohmykube.providers.lima.limactl import Limactl
from ohmykube.providers.lima.machine_image_tar import MachineImage
from ohmykube.providers.lima.machines import Machines, Timeouts, foreign
from ohmykube.providers.lima.network import Networks
from ohmykube.providers.lima.node_repair import Nodes
from ohmykube.providers.lima.state import Inspection, Inspector, State
from ohmykube.providers.lima.templates import SCHEMA, TemplateStore, instance_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ohmykube.model.exposure import Exposed, ExposedPort, Exposure
    from ohmykube.model.machine import Machine, MachineSpec
    from ohmykube.providers.base import NewTemplate, OwnPart, Template
    from ohmykube.providers.lima.marker import Marker


class LimaProvider(Provider):
    """Machines are virtual machines of Lima in a home of their own.

    Args:
        context: as for all providers.
        home: where the machines are; None for this user's.
        host: what preflight looks at.
        external: the programs that are run.
        timeouts: how long to wait; None for what suits this host.
    """

    name = "lima"

    def __init__(
        self,
        context: ProviderContext,
        *,
        home: lima_home.Home | None = None,
        host: preflight.Host | None = None,
        external: ExternalCalls | None = None,
        timeouts: Timeouts | None = None,
    ) -> None:
        super().__init__(context)
        self._home = home or lima_home.locate()
        self._host = host or preflight.Host()
        self._options = options.of(context.cluster)
        self._external = external or ExternalCalls()
        self._given_timeouts = timeouts

    # What looks at the host is made on first use: making a provider touches nothing.

    @cached_property
    def _emulated(self) -> bool:
        return self._options.emulation and bool(self._host.accelerated())

    @cached_property
    def _limactl(self) -> Limactl:
        return self._limactl_at(self._home.root)

    def _limactl_at(self, root: Path) -> Limactl:
        extra = preflight.emulation(self._host) if self._emulated else {}
        return Limactl(root, program=self._external.program, environ=extra, run=self._external.run)

    @cached_property
    def _networks(self) -> Networks:
        return Networks(self._home, self._limactl, command_of=self._external.command_of)

    @cached_property
    def _inspector(self) -> Inspector:
        return Inspector(self._home, self._networks, self._external.answers)

    @cached_property
    def _timeouts(self) -> Timeouts:
        if self._given_timeouts is not None:
            return self._given_timeouts
        cores = os.cpu_count() or 1
        if self._emulated:
            boot = machines.BOOT_SECONDS * machines.EMULATED_FACTOR
            orderly = machines.ORDERLY_EMULATED_SECONDS
            return Timeouts(boot=boot, orderly=orderly, answer=120, at_once=2)
        return Timeouts(at_once=max(1, cores // 2))

    @cached_property
    def _machines(self) -> Machines:
        return Machines(
            self._home,
            self._limactl,
            self._networks,
            self._inspector,
            reporter=self.context.reporter,
            timeouts=self._timeouts,
            command_of=self._external.command_of,
        )

    @cached_property
    def _nodes(self) -> Nodes:
        return Nodes(
            home=self._home,
            machines=self._machines,
            networks=self._networks,
            options=self._options,
            ask=self._external.ask,
            timeouts=self._timeouts,
            reporter=self.context.reporter,
        )

    @cached_property
    def _ports(self) -> HostPorts:
        relay, slowdown = self._external.relay, self.capabilities.slowdown
        return HostPorts(home=self._home, machines=self.list, relay=relay, slowdown=slowdown)

    @cached_property
    def _template_store(self) -> TemplateStore:
        return TemplateStore(self._home, self._limactl, self._external.flatten)

    @cached_property
    def _creator(self) -> Creator:
        return Creator(
            home=self._home,
            limactl=self._limactl,
            networks=self._networks,
            machines=self._machines,
            options=self._options,
            host=self._host,
            templates=self._template_store,
            emulated=self._emulated,
            cluster=self.context.cluster,
        )

    @property
    def capabilities(self) -> Capabilities:
        """Machines with kernels of their own that we make, stop and start."""
        slowdown = machines.EMULATED_FACTOR if self._emulated else 1
        return Capabilities(
            creates=True,
            powers=True,
            slowdown=slowdown,
            resizing=Resizing(cpus=Resize.ON_START, memory=Resize.ON_START, disk=Resize.ON_START),
        )

    def check(self) -> Sequence[Check]:
        """Look whether this host can start machines of Lima."""
        cluster = self.context.cluster
        found = preflight.check(self._host, self._home, self._limactl, self._options, cluster)
        found.append(self._image())
        works = all(check.status is not CheckStatus.FAIL for check in found)
        return [*found, *(preflight.sizes(self._creator.drifts()) if works else ())]

    def _image(self) -> Check:
        try:
            image, _ = self._creator.source()
        except OhmykubeError as error:
            return preflight.image("", error)
        return preflight.image(image.location if image else str(self._options.template))

    def prepare(self) -> None:
        """Make the key of the machines, and see that there is an image for them.

        Raises:
            ConfigError: the image or template asked for cannot be used.
        """
        self._creator.source()
        self._home.ensure_key()

    def list(self, cluster: str) -> Sequence[Machine]:
        """Return the machines of exactly this cluster."""
        ours = {name: m for name, m in marker.owned(self._home).items() if m.cluster == cluster}
        if not ours:
            return []
        listed = {instance.name: instance for instance in self._limactl.list()}
        inspect = self._inspector.inspect
        inspections = parallel.each(ours, lambda name: inspect(name, listed.get(name)))
        found = [self._nodes.machine(seen) for seen in inspections if seen.marker is not None]
        return sorted(found, key=lambda machine: machine.node)

    def clusters(self) -> Sequence[str]:
        """Return the clusters that have machines here."""
        ours = marker.owned(self._home).values()
        names = {whose.cluster for whose in ours if whose.cluster}
        return sorted(name for name in names if not name.startswith(HIDDEN))

    def create(self, spec: MachineSpec) -> Machine:
        """Make the machine whole and running, of the size asked for.

        Raises:
            LockedError: a machine of that name is not ours.
            ConfigError: its image cannot be used, or its disk would have to shrink.
            ProviderError, ResourceError, PrerequisiteError: it cannot be made.
        """
        name = names.instance(spec.cluster, spec.node)
        shape = lima_yaml.shape(spec.cpus, spec.memory_mib, spec.disk_gib)
        with self._home.node_locked(name):
            seen = self._admitted(name, spec.cluster, spec.node)
            if seen.state is State.CREATING and marker.read_claim(self._home, name) is not None:
                self._machines.remove(seen)  # never started: nothing is lost
                seen = self._machines.inspect(name)
            if seen.state is State.ABSENT:
                machine = self._made(spec, name, shape)
            else:
                machine = self._nodes.machine(self._nodes.ready(seen, shape))
        self._ports.restore(spec.cluster)
        return machine

    def start(self, cluster: str, node: str) -> Machine:
        """Start a machine, and mend what a sleep or a crash of the host left of it.

        Raises:
            NotFoundError: there is none.
        """
        name = names.instance(cluster, node)
        with self._home.node_locked(name):
            seen = self._there(name, cluster, node)
            awake = seen.state is State.READY
            shape = self._creator.desired(cluster, node)
            machine = self._nodes.machine(self._nodes.ready(seen, shape))
            if awake:
                self._nodes.set_clock(machine)
        self._ports.restore(cluster)
        return machine

    def stop(self, cluster: str, node: str) -> None:
        """Switch a machine off; its disk and its address stay."""
        name = names.instance(cluster, node)
        with self._home.node_locked(name):
            seen = self._machines.inspect(name)
            if seen.marker is not None and _is(seen.marker, cluster, node):
                self._machines.halt(seen)
        self._ports.restore(cluster)

    def delete(self, cluster: str, node: str) -> None:
        """Remove a machine with its disks; with the last one, the cluster's network too."""
        name = names.instance(cluster, node)
        if not self._home.directory(name).exists():
            return
        with self._home.node_locked(name):
            seen = self._machines.inspect(name)
            if seen.marker is not None and _is(seen.marker, cluster, node):
                self._machines.remove(seen)
        self._ports.settle(cluster)

    def api_endpoint(self, cluster: str, address: str, port: int) -> tuple[str, int]:
        """Return a port of this host's loopback that leads to ``address:port``."""
        if self._options.routable:
            return address, port
        return "127.0.0.1", self._networks.endpoint(cluster, f"{address}:{port}")

    def publish(self, cluster: str, wanted: Sequence[ExposedPort]) -> Mapping[ExposedPort, str]:
        """Hold a port of this host for each of these."""
        return self._ports.publish(cluster, wanted)

    def expose(self, cluster: str, exposure: Exposure) -> Exposed:
        """Hold ports of this host for what the cluster's services and pods offer, and for more."""
        return self._ports.expose(cluster, exposure)

    def exposed(self, cluster: str) -> Exposed:
        """Return what of the cluster is reachable on ports of this host."""
        return self._ports.exposed(cluster)

    def restore_helpers(self, cluster: str) -> None:
        """Start the process that holds the cluster's ports, where it has ended."""
        if not self._ports.runs(cluster):
            self._ports.restore(cluster)

    # --- the image between hosts

    @cached_property
    def _machine_image(self) -> MachineImage:
        return MachineImage(
            parts=self._creator.parts(),
            downloads=download_cache.locate(self._limactl.environment, self._host.system),
            template=self._options.template,
        )

    def base_version(self) -> str:
        """Return the beginning of the image's digest."""
        return self._machine_image.version

    def own_parts(self) -> Sequence[OwnPart]:
        """Return what the user has to bring: a template, and images without URL or digest."""
        return self._machine_image.own_parts()

    def has_base(self) -> bool:
        """Tell whether limactl has the image."""
        return self._machine_image.is_downloaded()

    def export_base(self, target: Path) -> None:
        """Write the image as a tar; let limactl download it when it has not yet."""
        image, text = self._machine_image, self._creator.text_to_fetch()
        image_download.fetch(self._home, image, text, self._limactl_at, self.context.reporter)
        image.export_tar(target)

    def import_base(self, source: Path) -> None:
        """Give limactl the image, as if it had downloaded it."""
        self._machine_image.import_tar(source)

    # --- templates

    def template_basis(self) -> str:
        """Return what machines boot from, and the form of templates."""
        image, base = self._creator.source()
        source = image.digest or image.location if image else json.dumps(base, sort_keys=True)
        return f"lima templates {SCHEMA} on {self._host.system} {self._host.arch}: {source}"

    def templates(self) -> Sequence[Template]:
        """Return the templates of this home of Lima."""
        return self._template_store.all()

    def freeze(self, cluster: str, node: str, template: NewTemplate) -> Template:
        """Take what makes a machine itself off it, stop it, and keep it as a template.

        Raises:
            NotFoundError: there is no such machine.
            ProviderError: it cannot become one.
        """
        name = names.instance(cluster, node)
        with self._home.node_locked(name):
            seen = self._there(name, cluster, node)
            if self._template_store.find(template.key) is None:
                ready = self._nodes.machine(self._nodes.ready(seen, Shape()))
                if ready.ssh is not None:
                    self._template_store.strip(self._external.ask, ready.ssh)
                whose = self._machines.stopped(self._machines.inspect(name))
                with self._home.exclusive():
                    self._template_store.keep(whose, template)
                self._machines.forget(whose)
            else:
                self._machines.remove(seen)
        return self._found(template.key)

    def _found(self, key: str) -> Template:
        self._template_store.need(key)
        return next(one for one in self._template_store.all() if one.key == key)

    def remove_template(self, key: str) -> None:
        """Remove a template; its clones do not need it."""
        name = instance_of(key)
        seen = self._machines.inspect(name)
        if seen.marker is not None and not seen.marker.cluster:
            self._machines.remove(seen)

    def sweep_templates(self) -> None:
        """Remove the machines that killed builds left."""
        for whose in marker.owned(self._home).values():
            if whose.cluster.startswith(HIDDEN):
                self.delete(whose.cluster, whose.node)

    # --- parts

    def _there(self, name: str, cluster: str, node: str) -> Inspection:
        seen = self._admitted(name, cluster, node)
        if seen.state is State.ABSENT:
            raise NotFoundError(
                f'cluster "{cluster}" has no node "{node}"',
                hint="ohmykube status",
                id="OMK-P-551",
            )
        return seen

    def _made(self, spec: MachineSpec, name: str, shape: Shape) -> Machine:
        self._nodes.say(spec.node, "making its disk")
        return self._nodes.machine(self._nodes.booted(self._creator.make(spec, name, shape)))

    def _admitted(self, name: str, cluster: str, node: str) -> Inspection:
        """Return the state of a machine, unless it is not ours."""
        seen = self._machines.inspect(name)
        theirs = seen.marker is not None and not _is(seen.marker, cluster, node)
        if seen.state is State.FOREIGN or theirs:
            raise foreign(name, self._home.directory(name))
        return seen


def _is(whose: Marker, cluster: str, node: str) -> bool:
    return (whose.cluster, whose.node) == (cluster, node)
