"""Creating a machine: its image, Lima template, network, disks, and the marker of its owner."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ohmykube.errors import ConfigError
from ohmykube.kit import architecture, failures
from ohmykube.model.names import HIDDEN
from ohmykube.providers.lima import (
    image_files,
    images,
    lima_home,
    lima_yaml,
    marker,
    names,
    state,
    templates,
)
from ohmykube.providers.lima.lima_yaml import LimaTemplate, Shape
from ohmykube.providers.lima.marker import Marker

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ohmykube.model.cluster import Cluster, Node
    from ohmykube.model.machine import MachineSpec
    from ohmykube.providers.lima.limactl import Limactl
    from ohmykube.providers.lima.machines import Machines
    from ohmykube.providers.lima.network import Networks
    from ohmykube.providers.lima.options import Options
    from ohmykube.providers.lima.preflight import Host

FOR_IMAGE = "i"
"""Name of the instance that is made to get an image, and never started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Creator:
    """Creates machines, stopped. The caller holds the lock of the node."""

    home: lima_home.Home
    limactl: Limactl
    networks: Networks
    machines: Machines
    options: Options
    host: Host
    templates: templates.TemplateStore
    emulated: bool
    cluster: Cluster | None
    """The desired one."""

    def source(self) -> tuple[images.Image | None, Mapping[str, object] | None]:
        """Return the image that machines boot from, or the user's own Lima template.

        Raises:
            ConfigError: it cannot be used.
        """
        chosen = self.options
        if chosen.template is not None:
            return None, lima_yaml.load(chosen.template, unverified=chosen.allow_unverified_image)
        arch = self.host.arch
        unverified = chosen.allow_unverified_image
        image = images.choose(chosen.image, arch, digest=chosen.digest, unverified=unverified)
        return image, None

    @property
    def _arch(self) -> str:
        return architecture.kernel_name(self.host.arch)

    def parts(self) -> tuple[image_files.Part, ...]:
        """Return the files that machines are made from.

        Raises:
            ConfigError: as ``source``, or there is no image for this host.
        """
        image, base = self.source()
        if image is not None:
            return image_files.of_image(image)
        return image_files.of_template(base or {}, self._arch)

    def text_to_fetch(self) -> str:
        """Return the template of a machine that is made for the sake of its image alone."""
        image, base = self.source()
        entry = image_files.entry_of(base or {}, self._arch)
        wanted = LimaTemplate(
            id=FOR_IMAGE,
            instance=FOR_IMAGE,
            shape=Shape(),
            network="",
            image=image,
            # Of several images the first only: limactl would take another one in silence.
            base={**base, "images": [entry]} if base and entry else base,
            system=self.host.system,
        )
        return lima_yaml.render(wanted)

    def make(self, spec: MachineSpec, name: str, shape: Shape) -> Marker:
        """Make a machine from its image, or from the template that the spec names.

        Raises:
            ConfigError: its image or size cannot be.
            NotFoundError: there is no such template.
            ProviderError, ResourceError: it could not be made; nothing of it is left.
        """
        original = self.templates.need(spec.template) if spec.template else None
        image, base = self.source()
        problem = self.home.too_long([name], [names.network(255)])
        if problem:
            raise ConfigError(
                f"machine {spec.node} cannot be made at {self.home.root}",
                why=problem,
                hint=f"set {lima_home.VARIABLE} to a directory with a short path",
                id="OMK-P-552",
            )
        self.home.ensure_key()
        with self.home.exclusive():
            network = self.networks.ensure(spec.cluster, self._own_networks()).network
        hidden = spec.cluster.startswith(HIDDEN)
        disks = () if hidden else self.options.disks_of(spec.node)
        if hidden and shape.disk_gib is None:
            shape = replace(shape, disk_gib=templates.DISK_GIB)
        claimed = Marker(
            instance=name,
            cluster=spec.cluster,
            node=spec.node,
            role=self._role(spec),
            id=uuid.uuid4().hex,
            origin=original.id if original else "",
            network=network,
        )
        wanted = LimaTemplate(
            id=claimed.id,
            instance=name,
            shape=shape,
            network=network,
            image=image,
            base=base,
            disks=len(disks),
            emulation=self.emulated,
            routable=self.options.routable,
            system=self.host.system,
        )
        with failures.undoing(lambda: self._drop_empty(spec.cluster)):
            if original is not None:
                self._clone(original, claimed, wanted, disks)
                self.templates.cloned(spec.template)
            else:
                text = lima_yaml.render(wanted)
                self.machines.make(claimed, lambda: self.limactl.create(name, text), disks, text)
        return claimed

    def _clone(
        self, original: Marker, claimed: Marker, wanted: LimaTemplate, disks: Sequence[int]
    ) -> None:
        made = next(iter(self.limactl.list(original.instance)), None)
        for one in state.drift(made, wanted.shape) if made else ():
            if one.shrinks:
                raise ConfigError(
                    f"the disk of node {claimed.node} cannot be smaller than the template's",
                    why=str(one),
                    hint=f"set disk to {one.made}GiB or more, or ohmykube up --template never",
                    id="OMK-P-562",
                )
        fields = lima_yaml.expressions(lima_yaml.own_fields(wanted))
        self.machines.make(
            claimed,
            lambda: self.limactl.clone(original.instance, claimed.instance, *fields),
            disks,
        )

    def _role(self, spec: MachineSpec) -> str:
        wanted = self._node(spec.cluster, spec.node)
        return wanted.role.value if wanted else ""

    def desired(self, cluster: str, node: str) -> Shape:
        """Return the size that a node is to have."""
        wanted = self._node(cluster, node)
        if wanted is None:
            return Shape()
        return lima_yaml.shape(wanted.cpus, wanted.memory_mib, wanted.disk_gib)

    def drifts(self) -> dict[str, Sequence[state.Drift]]:
        """Return by node how machines differ from what is desired: a run passes over them."""
        if self.cluster is None:
            return {}
        wanted, owned = self.cluster, marker.owned(self.home).items()
        ours = [name for name, m in owned if m.cluster == wanted.name]
        ours = [name for name in ours if (self.home.directory(name) / "lima.yaml").is_file()]
        listed = {instance.name: instance for instance in self.limactl.list(*ours)} if ours else {}
        differs = {
            node.name: state.drift(listed[name], self.desired(wanted.name, node.name))
            for node in wanted.nodes
            if (name := names.instance(wanted.name, node.name)) in listed
        }
        return {node: found for node, found in differs.items() if found}

    def _node(self, cluster: str, node: str) -> Node | None:
        if self.cluster is None or self.cluster.name != cluster:
            return None
        return next((one for one in self.cluster.nodes if one.name == node), None)

    def _drop_empty(self, cluster: str) -> None:
        """Remove the network of a cluster of which no machine was made."""
        with self.home.exclusive():
            if all(one.cluster != cluster for one in marker.owned(self.home).values()):
                self.networks.remove(cluster)

    def _own_networks(self) -> tuple[str, ...]:
        cluster = self.cluster
        if cluster is None:
            return ()
        return tuple(f"{cluster.network.pod_cidr},{cluster.network.service_cidr}".split(","))
