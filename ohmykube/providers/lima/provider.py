"""The provider: virtual machines of Lima, without root rights, on Linux and macOS."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from ohmykube.errors import NotFoundError, OhmykubeError
from ohmykube.kit import parallel, process
from ohmykube.model.machine import Resize, Resizing
from ohmykube.model.names import HIDDEN
from ohmykube.providers.base import Capabilities, Check, CheckStatus, Provider, ProviderContext
from ohmykube.providers.lima import (
    download_cache,
    guest_shell,
    image_download,
    lima_home,
    lima_yaml,
    machines,
    marker,
    names,
    options,
    preflight,
    processes,
    state,
)
from ohmykube.providers.lima.creation import Maker
from ohmykube.providers.lima.lima_yaml import Shape
from ohmykube.providers.lima.limactl import Limactl
from ohmykube.providers.lima.machine_image_tar import Cargo
from ohmykube.providers.lima.machines import Machines, Patience, foreign
from ohmykube.providers.lima.network import Networks
from ohmykube.providers.lima.node_repair import Nodes
from ohmykube.providers.lima.state import Judge, Look, State
from ohmykube.providers.lima.templates import SCHEMA, Golden, flatten, instance_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from ohmykube.model.machine import Machine, MachineSpec
    from ohmykube.providers.base import NewTemplate, OwnPart, Service, Template
    from ohmykube.providers.lima.limactl import Runner
    from ohmykube.providers.lima.marker import Marker
    from ohmykube.providers.lima.templates import Flatten


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """The doors to what is not ours."""

    program: str = "limactl"
    """Name on PATH, or path."""
    run: Runner = process.run
    """Runs limactl."""
    ask: guest_shell.Guest = guest_shell.run
    """Runs a command in a guest."""
    answers: Callable[[str, int], bool] = state.greets
    """Tells whether ssh answers at a host and port."""
    command_of: Callable[[int], str] = processes.command
    """Tells the command line of a process."""
    flatten: Flatten = flatten
    """Makes a disk stand alone."""


class LimaProvider(Provider):
    """Machines are virtual machines of Lima in a home of their own.

    Args:
        context: as for all providers.
        home: where the machines are; None for this user's.
        host: what preflight looks at.
        outside: the programs that are run.
        patience: how long to wait; None for what suits this host.
    """

    name = "lima"

    def __init__(
        self,
        context: ProviderContext,
        *,
        home: lima_home.Home | None = None,
        host: preflight.Host | None = None,
        outside: Outside | None = None,
        patience: Patience | None = None,
    ) -> None:
        super().__init__(context)
        self._home = home or lima_home.locate()
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
        return self._limactl_at(self._home.root)

    def _limactl_at(self, root: Path) -> Limactl:
        extra = preflight.emulation(self._host) if self._emulated else {}
        return Limactl(root, program=self._outside.program, environ=extra, run=self._outside.run)

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
            orderly = machines.ORDERLY_EMULATED_SECONDS
            return Patience(boot=boot, orderly=orderly, answer=120, at_once=2)
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

    @cached_property
    def _nodes(self) -> Nodes:
        return Nodes(
            home=self._home,
            machines=self._machines,
            networks=self._networks,
            options=self._options,
            ask=self._outside.ask,
            patience=self._patience,
            reporter=self.context.reporter,
        )

    @cached_property
    def _golden(self) -> Golden:
        return Golden(self._home, self._limactl, self._outside.flatten)

    @cached_property
    def _maker(self) -> Maker:
        return Maker(
            home=self._home,
            limactl=self._limactl,
            networks=self._networks,
            machines=self._machines,
            options=self._options,
            host=self._host,
            golden=self._golden,
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
        return [*found, *(preflight.sizes(self._maker.drifts()) if works else ())]

    def _image(self) -> Check:
        try:
            image, _ = self._maker.source()
        except OhmykubeError as error:
            return preflight.image("", error)
        return preflight.image(image.location if image else str(self._options.template))

    def prepare(self) -> None:
        """Make the key of the machines, and see that there is an image for them.

        Raises:
            ConfigError: the image or template asked for cannot be used.
        """
        self._maker.source()
        self._home.ensure_key()

    def list(self, cluster: str) -> Sequence[Machine]:
        """Return the machines of exactly this cluster."""
        ours = {name: m for name, m in marker.owned(self._home).items() if m.cluster == cluster}
        if not ours:
            return []
        listed = {instance.name: instance for instance in self._limactl.list()}
        looks = parallel.each(ours, lambda name: self._judge.look(name, listed.get(name)))
        found = [self._nodes.machine(look) for look in looks if look.marker is not None]
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
            look = self._admitted(name, spec.cluster, spec.node)
            if look.state is State.CREATING and marker.read_claim(self._home, name) is not None:
                self._machines.remove(look)  # never started: nothing is lost
                look = self._machines.look(name)
            if look.state is State.ABSENT:
                return self._made(spec, name, shape)
            return self._nodes.machine(self._nodes.ready(look, shape))

    def start(self, cluster: str, node: str) -> Machine:
        """Start a machine, and mend what a sleep or a crash of the host left of it.

        Raises:
            NotFoundError: there is none.
        """
        name = names.instance(cluster, node)
        with self._home.node_locked(name):
            look = self._there(name, cluster, node)
            awake = look.state is State.READY
            shape = self._maker.desired(cluster, node)
            machine = self._nodes.machine(self._nodes.ready(look, shape))
            if awake:
                self._nodes.set_clock(machine)
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

    # --- the image between hosts

    @cached_property
    def _cargo(self) -> Cargo:
        return Cargo(
            parts=self._maker.parts(),
            downloads=download_cache.locate(self._limactl.environment, self._host.system),
            template=self._options.template,
        )

    def base_version(self) -> str:
        """Return the beginning of the image's digest."""
        return self._cargo.version

    def own_parts(self) -> Sequence[OwnPart]:
        """Return what the user has to bring: a template, and images without URL or digest."""
        return self._cargo.own()

    def has_base(self) -> bool:
        """Tell whether limactl has the image."""
        return self._cargo.here()

    def export_base(self, target: Path) -> None:
        """Write the image as a tar; let limactl download it when it has not yet."""
        text = self._maker.text_to_fetch()
        image_download.fetch(self._home, self._cargo, text, self._limactl_at, self.context.reporter)
        self._cargo.write(target)

    def import_base(self, source: Path) -> None:
        """Give limactl the image, as if it had downloaded it."""
        self._cargo.bring(source)

    # --- templates

    def template_basis(self) -> str:
        """Return what machines boot from, and the form of templates."""
        image, base = self._maker.source()
        source = image.digest or image.location if image else json.dumps(base, sort_keys=True)
        return f"lima templates {SCHEMA} on {self._host.system} {self._host.arch}: {source}"

    def templates(self) -> Sequence[Template]:
        """Return the templates of this home of Lima."""
        return self._golden.all()

    def freeze(self, cluster: str, node: str, template: NewTemplate) -> Template:
        """Take what makes a machine itself off it, stop it, and keep it as a template.

        Raises:
            NotFoundError: there is no such machine.
            ProviderError: it cannot become one.
        """
        name = names.instance(cluster, node)
        with self._home.node_locked(name):
            look = self._there(name, cluster, node)
            if self._golden.find(template.key) is None:
                ready = self._nodes.machine(self._nodes.ready(look, Shape()))
                if ready.ssh is not None:
                    self._golden.strip(self._outside.ask, ready.ssh)
                whose = self._machines.stopped(self._machines.look(name))
                with self._home.exclusive():
                    self._golden.keep(whose, template)
                self._machines.forget(whose)
            else:
                self._machines.remove(look)
        return self._found(template.key)

    def _found(self, key: str) -> Template:
        self._golden.need(key)
        return next(one for one in self._golden.all() if one.key == key)

    def remove_template(self, key: str) -> None:
        """Remove a template; its clones do not need it."""
        name = instance_of(key)
        look = self._machines.look(name)
        if look.marker is not None and not look.marker.cluster:
            self._machines.remove(look)

    def sweep_templates(self) -> None:
        """Remove the machines that killed builds left."""
        for whose in marker.owned(self._home).values():
            if whose.cluster.startswith(HIDDEN):
                self.delete(whose.cluster, whose.node)

    # --- parts

    def _there(self, name: str, cluster: str, node: str) -> Look:
        look = self._admitted(name, cluster, node)
        if look.state is State.ABSENT:
            raise NotFoundError(
                f'cluster "{cluster}" has no node "{node}"',
                hint="ohmykube status",
                id="OMK-P-551",
            )
        return look

    def _made(self, spec: MachineSpec, name: str, shape: Shape) -> Machine:
        self._nodes.say(spec.node, "making its disk")
        return self._nodes.machine(self._nodes.booted(self._maker.make(spec, name, shape)))

    def _admitted(self, name: str, cluster: str, node: str) -> Look:
        """Return how a machine is, unless it is not ours."""
        look = self._machines.look(name)
        theirs = look.marker is not None and not _is(look.marker, cluster, node)
        if look.state is State.FOREIGN or theirs:
            raise foreign(name, self._home.directory(name))
        return look


def _is(whose: Marker, cluster: str, node: str) -> bool:
    return (whose.cluster, whose.node) == (cluster, node)
