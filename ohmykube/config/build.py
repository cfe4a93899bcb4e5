"""From a document to the model, through all checks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ohmykube.config import (
    addons,
    checks,
    fields,
    host_inventory,
    host_paths,
    kubeadm_types,
    mount_places,
    named_paths,
    node_files,
    nodes,
    registry_places,
    translate,
    trust,
)
from ohmykube.config.problems import closest, echo
from ohmykube.errors import ConfigError
from ohmykube.model import versions
from ohmykube.model.cluster import Cluster, KubeadmPatches, Network, Role, Sources, TemplateUse

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Sequence

    from ohmykube.config import v1
    from ohmykube.config.problems import Path, Problem
    from ohmykube.config.yaml_source import Source
    from ohmykube.model.cluster import NodeFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What a document says."""

    cluster: Cluster | None
    """Of what is right in it; None when nothing can be made of it."""
    problems: list[Problem]
    warnings: list[str]
    nodes_known: bool
    """The cluster has the nodes that the document means."""


def build(
    source: Source, base: pathlib.Path, known_providers: Sequence[str], *, check_addons: bool = True
) -> Built:
    """Return what a document says, with all its problems.

    Args:
        source: the document.
        base: directory that relative paths are taken from.
        known_providers: names of the providers that are installed.
        check_addons: compare its add-ons with those that are installed. A record has been compared
            when it was written, and an add-on may have been uninstalled since.
    """
    header = _header(source)
    if len(header) > 1:  # nothing says that it is one of ours
        return Built(cluster=None, problems=header, warnings=[], nodes_known=False)
    source.data |= {"apiVersion": fields.API_VERSION, "kind": fields.KIND}
    document, problems, left_out = translate.validate(source, desired=check_addons)
    problems = [*header, *problems]
    if document is None:
        return Built(cluster=None, problems=problems, warnings=[], nodes_known=False)
    document, more, warnings = _with_inventory(document, source, base)
    problems += more
    if more:
        left_out.add(("spec", "nodes"))
    single = {role: checks.is_single(source, role) for role in Role}
    reader = node_files.Reader(source, base, nodes.absolute)
    placed = nodes.place(document.spec.nodes, document.spec.provider.ssh, base, single, reader)
    laid = reader.patches(document.spec.kubeadm.patches, ("spec", "kubeadm", "patches"))
    problems += reader.problems
    placer = mount_places.Placer(
        source, base, desired=check_addons, nodes_known=checks.are_nodes_known(left_out)
    )
    placed = placer.place(document.spec.mounts, placed)
    problems += placer.problems
    trusted = trust.Reader(source, base, desired=check_addons)
    authorities = trusted.read(document.spec.trust)
    registries = registry_places.registries(document.spec.registries, base, trusted)
    problems += trusted.problems
    checker = checks.Checker(document, placed, source)
    checker.run(left_out, known_providers)
    problems += checker.problems
    if check_addons:
        warnings += named_paths.warnings(document.spec, source, base)
        warnings += registry_places.warnings(document.spec.registries)
        sure = ("spec", "kubernetes", "version") not in left_out
        problems += _of_components(document.spec, placed, source, version_known=sure)
    return Built(
        cluster=replace(
            _cluster(document, placed, laid, with_addons=not problems),
            trust=authorities,
            registries=registries,
        ),
        problems=problems,
        warnings=[*warnings, *checker.warnings, *trusted.warnings],
        nodes_known=checks.are_nodes_known(left_out),
    )


def _of_components(
    spec: v1.Spec, placed: Sequence[nodes.PlacedNode], source: Source, *, version_known: bool
) -> list[Problem]:
    """Return what add-ons, kubeadm and the places on nodes would refuse."""
    placed_nodes = [one.node for one in placed]
    sections = spec.kubeadm.model_dump(by_alias=True, exclude={"patches"})
    version = spec.kubernetes.version if version_known else versions.DEFAULT
    return [
        *addons.problems(spec, placed_nodes, source, version_known=version_known),
        *kubeadm_types.problems(sections, version, source),
        *host_paths.problems(spec, placed_nodes, source),
    ]


def _with_inventory(
    document: v1.Document, source: Source, base: pathlib.Path
) -> tuple[v1.Document, list[Problem], list[str]]:
    """Give the groups of nodes the hosts of the inventory file, if there is one."""
    ssh = document.spec.provider.ssh
    if ssh.inventory is None or document.spec.provider.name != "ssh":
        return document, [], []
    path: Path = ("spec", "provider", "ssh", "inventory")
    both = {
        Role.CONTROL_PLANE: document.spec.nodes.control_plane,
        Role.WORKER: document.spec.nodes.workers,
    }
    if any(group.hosts is not None for groups in both.values() for group in groups):
        text = "does not go with hosts in spec.nodes; use one of the two"
        return document, [source.problem(path, text)], []
    if any(len(groups) != 1 for groups in both.values()):
        text = "goes with one group of control planes and one group of workers only"
        return document, [source.problem(path, text)], []
    try:
        label = echo(ssh.inventory)[1:-1]
        inventory = host_inventory.read(nodes.absolute(ssh.inventory, base), label)
    except ConfigError as error:
        why = f": {error.why.splitlines()[0]}" if error.why else ""
        return document, [source.problem(path, f"{error.message}{why}")], []
    problems = [source.problem(path, f"{inventory.label}: {p}") for p in inventory.problems]
    changed = {}
    for role, field in ((Role.CONTROL_PLANE, "control_plane"), (Role.WORKER, "workers")):
        hosts, wrong = translate.hosts(inventory.hosts[role])
        problems += [source.problem(path, f"{inventory.label}: {text}") for text in wrong]
        changed[field] = [both[role][0].model_copy(update={"hosts": hosts})]
    placed = document.spec.nodes.model_copy(update=changed)
    spec = document.spec.model_copy(update={"nodes": placed})
    return document.model_copy(update={"spec": spec}), problems, inventory.warnings


def _header(source: Source) -> list[Problem]:
    """A file of another kind is said to be that, and not a hundred unknown fields."""
    problems = []
    for key, wanted in (("apiVersion", fields.API_VERSION), ("kind", fields.KIND)):
        found = source.data.get(key)
        if found is None:
            problems.append(source.problem((key,), f"must be given: {wanted}"))
        elif found != wanted:
            text = f"must be {wanted}, got {echo(found)}"
            if isinstance(found, str):
                text += closest(found, (wanted,))
            problems.append(source.problem((key,), text))
    return problems


def _cluster(
    document: v1.Document,
    placed: Sequence[nodes.PlacedNode],
    laid: tuple[NodeFile, ...],
    *,
    with_addons: bool,
) -> Cluster:
    spec = document.spec
    kubeadm = spec.kubeadm
    return Cluster(
        name=document.metadata.name,
        kubernetes_version=spec.kubernetes.version,
        provider=spec.provider.name,
        nodes=tuple(p.node for p in placed),
        network=Network(
            pod_cidr=spec.network.pod_cidr,
            service_cidr=spec.network.service_cidr,
            machine_cidr=spec.network.machine_cidr,
            mtu=spec.network.mtu,
            dns_domain=spec.network.dns_domain,
            cni=spec.network.cni,
            flannel_backend=spec.network.flannel.backend,
            proxy_mode=spec.network.proxy_mode,
            api_server_endpoint=spec.network.api_server_endpoint,
            cert_sans=tuple(spec.network.cert_sans),
            egress=spec.network.egress,
            host_access=spec.network.host_access,
        ),
        kubeadm=KubeadmPatches(
            init_configuration=kubeadm.init_configuration,
            join_configuration=kubeadm.join_configuration,
            cluster_configuration=kubeadm.cluster_configuration,
            kubelet_configuration=kubeadm.kubelet_configuration,
            kube_proxy_configuration=kubeadm.kube_proxy_configuration,
            patches=laid,
        ),
        sources=Sources(
            order=tuple(spec.artifacts.sources),
            mirror=spec.artifacts.mirror,
            registries={name: tuple(urls) for name, urls in spec.artifacts.registries.items()},
        ),
        template=TemplateUse(spec.template),
        # Their versions are known of those alone that are installed.
        addons=addons.wanted(spec.addons) if with_addons else (),
        ports=spec.ports,
        proxy=spec.proxy,
        provider_options=spec.provider.options,
    )
