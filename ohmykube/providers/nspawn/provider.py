"""The provider: records, files and processes of system containers put together."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from ohmykube.errors import LockedError, NotFoundError
from ohmykube.kit import failures
from ohmykube.model.machine import (
    Machine,
    MachineSpec,
    MachineState,
    Resize,
    Resizing,
    SshTarget,
)
from ohmykube.model.names import HIDDEN
from ohmykube.model.networks import IPV4, IPV6, host_port
from ohmykube.progress import Message
from ohmykube.providers.base import Capabilities, Check, Provider, ProviderContext
from ohmykube.providers.nspawn import (
    cgroups,
    directories,
    host_mounts,
    kernel_limits,
    network,
    node_root,
    options,
    preflight,
)
from ohmykube.providers.nspawn.base_image import BaseImages
from ohmykube.providers.nspawn.clusters import Clusters
from ohmykube.providers.nspawn.helper_programs import HelperPrograms
from ohmykube.providers.nspawn.host_system import HostSystem
from ohmykube.providers.nspawn.machines import Machines
from ohmykube.providers.nspawn.name_claims import Claims
from ohmykube.providers.nspawn.templates import SCHEMA, TemplateStore, no_template

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ohmykube.model.exposure import Exposed, ExposedPort, Exposure
    from ohmykube.model.outside import Outside
    from ohmykube.providers.base import NewTemplate, OwnPart, Template
    from ohmykube.providers.nspawn.layout import NodeFiles
    from ohmykube.providers.nspawn.records import MachineRecord


class NspawnProvider(Provider):
    """Machines are systemd-nspawn system containers on this host."""

    name = "nspawn"

    def __init__(self, context: ProviderContext, host: HostSystem | None = None) -> None:
        super().__init__(context)
        self._host = host or HostSystem()
        self._recipe = options.recipe(context)
        self._root = context.paths.data / "nspawn"
        self._templates = TemplateStore(self._host, context.paths.data / "nspawn-templates")

    # What looks at the host is made on first use: making a provider touches nothing.

    @cached_property
    def _cgroups(self) -> cgroups.Cgroups:
        return cgroups.detect(self._host)

    @cached_property
    def _clusters(self) -> Clusters:
        host, groups = self._host, self._cgroups
        helpers = HelperPrograms(host, groups)
        return Clusters(host, self._root, Claims(host, groups), helpers)

    @cached_property
    def _machines(self) -> Machines:
        return Machines(self._host, self._cgroups)

    @cached_property
    def _images(self) -> BaseImages:
        context = self.context
        return BaseImages(self._host, context.paths, context.reporter, self._recipe)

    @property
    def _possible(self) -> bool:
        """Tell whether this host is a Linux one, which alone can run such machines."""
        return (self._host.proc / "self" / "mounts").exists()

    @property
    def capabilities(self) -> Capabilities:
        """System containers that we make, stop and start."""
        return Capabilities(
            creates=True,
            powers=True,
            system_containers=True,
            mounts=True,
            families=frozenset({IPV4, IPV6}),
            # The limits of a control group; the disk is the host's.
            resizing=Resizing(cpus=Resize.LIVE, memory=Resize.LIVE, disk=Resize.MEANINGLESS),
        )

    def check(self) -> Sequence[Check]:
        """Look whether this host can run system containers."""
        return preflight.check_for(self._host, self.context.paths, self.context.cluster)

    def prepare(self) -> None:
        """Build the base image unless it is there."""
        self._images.ensure()

    def base_version(self) -> str:
        """Return the key of the recipe."""
        return self._recipe.key

    def own_parts(self) -> Sequence[OwnPart]:
        """Return nothing: nodes are made from the base image alone."""
        return ()

    def has_base(self) -> bool:
        """Tell whether the base image is there."""
        return self._images.has()

    def export_base(self, target: Path) -> None:
        """Write the base image as a tar."""
        self._images.export_tar(target)

    def import_base(self, source: Path) -> None:
        """Unpack the base image from a tar, all of it checked before."""
        self._images.import_tar(source)

    def list(self, cluster: str) -> Sequence[Machine]:
        """Return the machines of exactly this cluster."""
        if not self._possible:
            return ()
        clusters = self._clusters
        found = []
        for node in clusters.nodes(cluster):
            record = clusters.machine(cluster, node)
            if record is not None:
                found.append(self._described(record))
            elif clusters.record(cluster) and not directories.foreign(
                clusters.directory(cluster, node)
            ):
                found.append(_remains(cluster, node))
        return found

    def clusters(self) -> Sequence[str]:
        """Return the clusters that have machines here."""
        if not self._possible:
            return ()
        names = [name for name in self._clusters.names() if self._clusters.nodes(name)]
        return [name for name in names if not name.startswith(HIDDEN)]

    def create(self, spec: MachineSpec) -> Machine:
        """Make the machine whole and running.

        Raises:
            LockedError: the cluster's name is taken on this host by another data directory.
            NetworkError, ResourceError, ProviderError, PrerequisiteError: it cannot be made.
        """
        base = self._images.ensure()
        clusters = self._clusters
        with clusters.node_locked(spec.cluster, spec.node):
            existing = clusters.machine(spec.cluster, spec.node)
            node = clusters.files(spec.cluster).node(spec.node)
            self._machines.check_mounts(spec, existing, node)
            made = existing is not None and existing.complete
            if spec.template and not (made or self._templates.has(spec.template)):
                raise no_template(spec.template)
            cluster = self.context.cluster
            described = cluster if cluster and cluster.name == spec.cluster else None
            owner = clusters.open(spec.cluster, described.network if described else None)
            nodes = [one.name for one in described.nodes] if described else []
            record = clusters.register_node(owner, spec, base, nodes)
            with failures.undoing(lambda: self._roll_back(record), after=LockedError):
                clusters.set_up(owner)
            return self._running(record, node)

    def _roll_back(self, record: MachineRecord) -> None:
        if not record.complete:
            self._clusters.roll_back_node(record.cluster, record.node)

    def start(self, cluster: str, node: str) -> Machine:
        """Start a machine, also after a reboot of the host.

        Raises:
            NotFoundError: there is none.
        """
        clusters = self._clusters
        with clusters.node_locked(cluster, node):
            record = clusters.machine(cluster, node)
            if record is None:
                raise no_machine(cluster, node)
            paths = clusters.files(cluster).node(node)
            owner = clusters.record(cluster)
            if owner is not None:
                clusters.set_up(owner)
            return self._running(record, paths)

    def _running(self, record: MachineRecord, node: NodeFiles) -> Machine:
        """Return the machine of a record, brought up if it is not. The node's lock is held."""
        if self._machines.state(record, node) is not MachineState.RUNNING:
            return self._up(record, node)
        self._machines.limit(record, node)
        return self._described(record)

    def _up(self, record: MachineRecord, node: NodeFiles) -> Machine:
        """Bring up a machine that is stopped or broken. The node's lock is held."""
        clusters = self._clusters
        host_mounts.check(record.node, record.mounts)
        kernel_limits.raise_limits(self._host, self.context.reporter)
        self._machines.tear_down(record.cluster, record.node, node, record.id)
        record = self._based(record)
        if not record.complete:
            self._fill(record, node)
        layers = [self._images.rootfs(record.base)]
        if record.template:
            layers.insert(0, node.lower)
        node_root.mount(self._host, node, layers)
        if not record.complete:
            record = replace(record, host_key=node_root.make_host_key(self._host, node))
            clusters.save(record)
            identity = clusters.files(record.cluster).identity
            authorized = identity.with_name(identity.name + ".pub").read_text()
            node_root.populate(node, record, authorized)
        clusters.publish_keys(record.cluster)
        clusters.publish_resolver(record.cluster)
        self._machines.boot(record, node, clusters.subnet(record.cluster))
        record = replace(record, complete=True)
        clusters.save(record)
        return self._described(record)

    def _fill(self, record: MachineRecord, node: NodeFiles) -> None:
        """Create the files of a machine that must exist before its root is mounted first."""
        node_root.empty(node)
        if record.template:
            self._templates.clone(record.template, node)

    def _based(self, record: MachineRecord) -> MachineRecord:
        """Return the record, its base image built if needed."""
        if self._images.rootfs(record.base).is_dir():
            return record
        key = self._images.ensure()
        if key != record.base and record.complete:
            text = f"the base image of {record.node} is gone; it starts on today's instead"
            self.context.reporter.emit(Message(text=text, level="warning"))
        return replace(record, base=key)

    def stop(self, cluster: str, node: str) -> None:
        """Halt a machine; its files and its address stay."""
        clusters = self._clusters
        with clusters.node_locked(cluster, node):
            record = clusters.machine(cluster, node)
            if record is None:
                return
            if not clusters.owns_name(record):
                return
            paths = clusters.files(cluster).node(node)
            self._machines.halt(record)
            self._machines.tear_down(cluster, node, paths, record.id)
        if all(machine.state is not MachineState.RUNNING for machine in self.list(cluster)):
            clusters.pause(cluster)

    def delete(self, cluster: str, node: str) -> None:
        """End a machine and remove all of it; with the last one, the cluster's network too."""
        clusters = self._clusters
        with clusters.node_locked(cluster, node):
            paths = clusters.files(cluster).node(node)
            record = clusters.machine(cluster, node)
            if record is None:
                if directories.foreign(paths.root_dir):
                    raise directories.not_ours(paths.root_dir)
            elif clusters.owns_name(record):
                self._machines.tear_down(cluster, node, paths, record.id)
            clusters.drop(cluster, node)

    def template_basis(self) -> str:
        """Return the key of the base image and the form of templates."""
        return f"nspawn templates {SCHEMA} on {self._recipe.key}"

    def templates(self) -> Sequence[Template]:
        """Return the templates of this data directory."""
        return self._templates.all()

    def freeze(self, cluster: str, node: str, template: NewTemplate) -> Template:
        """End a machine and keep its files, without what makes it itself, as a template.

        Raises:
            NotFoundError: there is no such machine.
            ProviderError, IntegrityError: its files cannot be a template.
        """
        clusters = self._clusters
        with clusters.node_locked(cluster, node):
            record = clusters.machine(cluster, node)
            if record is None:
                raise no_machine(cluster, node)
            paths = clusters.files(cluster).node(node)
            if clusters.owns_name(record):
                self._machines.tear_down(cluster, node, paths, record.id)
            frozen = self._templates.keep(paths, template)
        self.delete(cluster, node)
        return frozen

    def remove_template(self, key: str) -> None:
        """Remove a template; its clones do not need it."""
        self._templates.remove(key)

    def sweep_templates(self) -> None:
        """Remove what killed builds left."""
        if not self._possible:
            return
        for name in self._clusters.hidden():
            # A cluster without nodes is what a kill in the middle of its removal leaves.
            for node in self._clusters.nodes(name) or ["none"]:
                self.delete(name, node)
        self._templates.sweep()

    def api_endpoint(self, cluster: str, address: str, port: int) -> tuple[str, int]:
        """Return a port on this host's loopback that leads to ``address:port``; starts it."""
        return "127.0.0.1", self._clusters.endpoint(cluster, host_port(address, port))

    def open_outside(self, cluster: str, outside: Outside) -> None:
        """Open exactly this of the outside to the cluster's machines.

        Raises:
            PrerequisiteError, ProviderError: it cannot be opened.
        """
        self._clusters.open_outside(cluster, outside)

    def restore_helpers(self, cluster: str) -> None:
        """Start what works for a running cluster besides its machines and has ended.

        Raises:
            LockedError, PrerequisiteError, ProviderError: it cannot be started.
        """
        if any(machine.state is MachineState.RUNNING for machine in self.list(cluster)):
            self._clusters.restore_helpers(cluster)

    def publish(self, cluster: str, wanted: Sequence[ExposedPort]) -> Mapping[ExposedPort, str]:
        """Hold a port of this host for each of these.

        Raises:
            ProviderError: no port can be held.
        """
        return self._clusters.publish(cluster, wanted)

    def expose(self, cluster: str, exposure: Exposure) -> Exposed:
        """Hold ports of this host for what the cluster's services and pods offer, and for more.

        Raises:
            ProviderError: no such cluster, or no port can be held.
        """
        return self._clusters.expose(cluster, exposure)

    def exposed(self, cluster: str) -> Exposed:
        """Return what of the cluster is reachable on ports of this host."""
        return self._clusters.exposed(cluster)

    def _described(self, record: MachineRecord) -> Machine:
        paths = self._clusters.files(record.cluster)
        state = MachineState.STOPPED if record.complete else MachineState.BROKEN
        if self._clusters.owns_name(record):
            state = self._machines.state(record, paths.node(record.node))
        ssh = None
        if state is MachineState.RUNNING:
            inside = network.inside(self._host, record.cluster)
            ssh = SshTarget(
                address=record.address,
                user="root",
                identity_file=paths.identity,
                known_hosts=paths.known_hosts,
                on_this_host=True,
                proxy_command=(*inside, "nc", "-F", record.address, "22"),
                proxy_fdpass=True,
            )
        return Machine(
            cluster=record.cluster,
            node=record.node,
            state=state,
            address=record.address,
            secondary_address=record.secondary_address,
            ssh=ssh,
        )


def no_machine(cluster: str, node: str) -> NotFoundError:
    """Return the error for a machine that is not there."""
    return NotFoundError(
        f'cluster "{cluster}" has no node "{node}"', hint="ohmykube status", id="OMK-P-101"
    )


def _remains(cluster: str, node: str) -> Machine:
    """Return the machine of which a crash left an empty directory."""
    return Machine(cluster=cluster, node=node, state=MachineState.BROKEN, address="")
