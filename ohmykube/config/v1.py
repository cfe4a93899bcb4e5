"""The form of ``apiVersion: ohmykube.dev/v1``: fields, types, units, defaults.

The published schema and the reference page are made from these models.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, StrictBool

from ohmykube.config import mounts as mount_entries
from ohmykube.config import proxy as proxy_form
from ohmykube.config import registries as registry_entries
from ohmykube.config.fields import (
    MOST_NODES,
    TRUST_TEXT,
    AddonVersion,
    Address,
    ApiVersion,
    Certificates,
    Count,
    Cpus,
    Disk,
    FilePath,
    Free,
    HostKey,
    HostName,
    Jump,
    KindName,
    LabelKey,
    LabelValue,
    Memory,
    Name,
    NodeAddresses,
    NodeFile,
    Port,
    Prefix,
    TaintText,
    UseOfTemplates,
    User,
    Version,
    empty,
)
from ohmykube.config.mutability import Mutability
from ohmykube.config.ports import PORTS_TEXT, Ports
from ohmykube.config.strict import Strict
from ohmykube.config.v1_artifacts import Artifacts
from ohmykube.config.v1_kubeadm import Kubeadm
from ohmykube.config.v1_network import Network
from ohmykube.model import names, versions

DEFAULT_NAME = "dev"
CONTROL_PLANE_PREFIX = "cp"
WORKER_PREFIX = "w"
LIVE, NODE_BY_NODE = Mutability.LIVE, Mutability.NODE_BY_NODE
AT_CREATION, NODES = Mutability.AT_CREATION, Mutability.NODES
IDENTITY, SETTING = Mutability.IDENTITY, Mutability.SETTING


class Metadata(Strict):
    """What the cluster is called."""

    name: Annotated[Name, IDENTITY] = Field(
        default=DEFAULT_NAME,
        description=f"Name of the cluster, a DNS label of at most {names.LONGEST} characters. "
        "Its kubeconfig context is named after it.",
    )


class Kubernetes(Strict):
    """What is installed."""

    version: Annotated[Version, AT_CREATION] = Field(
        default=versions.DEFAULT,
        description="Kubernetes version: major.minor.patch, or major.minor for the patch this "
        f"release prefers. Supported: {', '.join(versions.PATCHES)}. Quote it.",
    )


class Ssh(Strict):
    """How the ssh provider reaches existing machines; each host may say otherwise."""

    inventory: Annotated[FilePath | None, NODES] = Field(
        default=None,
        description="Ansible inventory file (INI or YAML) with the groups kube_control_plane and "
        "kube_node, relative to this file. Used instead of hosts in the node groups.",
    )
    user: Annotated[User | None, SETTING] = Field(
        default=None,
        description="Login name; when not given, your ssh configuration's for the host, else root.",
    )
    port: Annotated[Port | None, SETTING] = Field(
        default=None,
        description="TCP port of sshd; when not given, your ssh configuration's for the host, else "
        "22.",
    )
    identity_file: Annotated[FilePath | None, SETTING] = Field(
        default=None,
        alias="identityFile",
        description="Private key file, relative to this file; ssh's own choice when not given.",
    )
    jump: Annotated[Jump | None, SETTING] = Field(
        default=None,
        description="Jump host, [user@]host[:port], or none; your ssh configuration's for the host "
        "when not given.",
    )
    become: Annotated[StrictBool, SETTING] = Field(
        default=False, description="Use sudo, without a password, for everything on the node."
    )


class Provider(Strict):
    """What makes the machines."""

    name: Annotated[Name, AT_CREATION] = Field(
        default="auto",
        description="auto, lima, nspawn, ssh or the name of an installed plugin. auto takes the "
        "first that can make machines on this host; ssh is never guessed.",
    )
    ssh: Annotated[Ssh, BeforeValidator(empty)] = Field(
        default_factory=Ssh, description="Only for the provider ssh."
    )
    options: Annotated[Free, AT_CREATION] = Field(
        default_factory=dict,
        description="Further options of the provider that is named, checked by it.",
    )


class Host(Strict):
    """An existing machine, for the provider ssh."""

    address: Annotated[Address, AT_CREATION] = Field(
        description="IP address, host name, or a Host of your ssh configuration."
    )
    name: Annotated[HostName | None, NODES] = Field(
        default=None,
        description="Node name, such as cp1 or cp1.example.org; the group's prefix and a number "
        "else.",
    )
    port: Annotated[Port | None, SETTING] = Field(
        default=None, description="Overrides spec.provider.ssh.port."
    )
    user: Annotated[User | None, SETTING] = Field(
        default=None, description="Overrides spec.provider.ssh.user."
    )
    identity_file: Annotated[FilePath | None, SETTING] = Field(
        default=None, alias="identityFile", description="Overrides spec.provider.ssh.identityFile."
    )
    jump: Annotated[Jump | None, SETTING] = Field(
        default=None, description="Overrides spec.provider.ssh.jump."
    )
    become: Annotated[StrictBool | None, SETTING] = Field(
        default=None, description="Overrides spec.provider.ssh.become."
    )
    containerd_takeover: Annotated[StrictBool, LIVE] = Field(
        default=False,
        alias="containerdTakeover",
        description="Replace a containerd that is there already, such as docker's; `down` puts it "
        "back. Without this such a host is refused.",
    )
    host_key: Annotated[HostKey | None, SETTING] = Field(
        default=None,
        alias="hostKey",
        description="Public host key that is expected, type and base64; your known_hosts else.",
    )
    node_ip: Annotated[NodeAddresses | None, AT_CREATION] = Field(
        default=None,
        alias="nodeIP",
        description="Address of the node inside the cluster; its address else. In a cluster with "
        "IPv6 it must be given, with one address for each family of podCIDR.",
    )


class Group(Strict):
    """Nodes that are alike."""

    name: Annotated[Prefix | None, NODES] = Field(
        default=None,
        description="Start of the node names, to which 1, 2, ... is appended: "
        f"{CONTROL_PLANE_PREFIX} for control planes and {WORKER_PREFIX} for workers when not "
        "given.",
    )
    names: Annotated[list[Name] | None, NODES] = Field(
        default=None,
        description="The node names themselves, instead of count.",
        max_length=MOST_NODES,
    )
    count: Annotated[Count | None, NODES] = Field(
        default=None,
        description="Number of nodes, at most 100 in the cluster. 1 control plane and 2 workers "
        "when neither count, names nor hosts are given.",
    )
    cpus: Annotated[Cpus | None, NODE_BY_NODE] = Field(
        default=2,
        description="CPU limit of each node in cores, such as 2 or 0.5; null for no limit.",
    )
    memory: Annotated[Memory | None, NODE_BY_NODE] = Field(
        default=4096,
        description="Memory limit of each node with its unit (MiB, GiB, MB, GB); null for no "
        "limit.",
        json_schema_extra={"default": "4GiB"},
    )
    disk: Annotated[Disk | None, NODE_BY_NODE] = Field(
        default=20,
        description="Disk of each node with its unit, for providers that make disks; null for "
        "the provider's own size.",
        json_schema_extra={"default": "20GiB"},
    )
    labels: Annotated[dict[LabelKey, LabelValue], BeforeValidator(empty), LIVE] = Field(
        default_factory=dict, description="Kubernetes labels of each node."
    )
    taints: Annotated[list[TaintText] | None, LIVE] = Field(
        default=None,
        description="Kubernetes taints of each node, as key=value:Effect or key:Effect. Not "
        "given: kubeadm's own, which keep workloads off control planes. []: none.",
        max_length=50,
    )
    files: Annotated[list[NodeFile], AT_CREATION] = Field(
        default_factory=list,
        description="Text files that each node gets before kubeadm runs: path, content or source "
        "(a local file, relative to this one), and mode (0600 when not given).",
        max_length=50,
    )
    hosts: list[Host] | None = Field(
        default=None, description="The machines, for the provider ssh.", max_length=MOST_NODES
    )


def _one_group() -> list[Group]:
    return [Group.model_validate({})]


Groups = Annotated[list[Group], Field(min_length=1, max_length=MOST_NODES)]


class Nodes(Strict):
    """How many nodes, and what they are like. Each of the two is one group or a list of groups."""

    control_plane: Groups = Field(
        default_factory=_one_group,
        alias="controlPlane",
        description="Nodes that run the API server and etcd; an odd number of them.",
    )
    workers: Annotated[list[Group], Field(max_length=MOST_NODES)] = Field(
        default_factory=_one_group, description="Nodes that run workloads."
    )


class Addon(Strict):
    """An add-on that is installed; a name alone stands for one without further fields."""

    name: Annotated[Name, LIVE] = Field(description="An installed add-on; `ohmykube addon list`.")
    version: Annotated[AddonVersion | None, LIVE] = Field(
        default=None,
        description="One of the versions that `ohmykube addon info` tells; the one that this "
        "release prefers when not given. Quote it.",
    )
    namespace: Annotated[Name | None, AT_CREATION] = Field(
        default=None,
        description="Namespace of its objects, where that can be chosen; its own when not given.",
    )
    values: Annotated[Free, LIVE] = Field(
        default_factory=dict, description="Its own settings, checked by its schema."
    )


def _named(value: object) -> object:
    """Let a name stand for an add-on."""
    if isinstance(value, list):
        return [{"name": one} if isinstance(one, str) else one for one in value]
    return [] if value is None else value


class Spec(Strict):
    """What is wanted."""

    kubernetes: Annotated[Kubernetes, BeforeValidator(empty)] = Field(default_factory=Kubernetes)
    provider: Annotated[Provider, BeforeValidator(empty)] = Field(default_factory=Provider)
    nodes: Annotated[Nodes, BeforeValidator(empty)] = Field(default_factory=Nodes)
    network: Annotated[Network, BeforeValidator(empty)] = Field(
        default_factory=lambda: Network.model_validate({})
    )
    kubeadm: Annotated[Kubeadm, BeforeValidator(empty)] = Field(default_factory=Kubeadm)
    addons: Annotated[list[Addon], BeforeValidator(_named)] = Field(
        default_factory=list,
        description="Add-ons in the order in which they are installed, as far as none needs "
        "another one. The pod network is named by network.cni.",
        max_length=50,
    )
    mounts: Annotated[list[mount_entries.MountEntry], NODE_BY_NODE] = Field(
        default_factory=list, description=mount_entries.TEXT, max_length=mount_entries.MOST
    )
    trust: Annotated[Certificates, LIVE] = Field(default_factory=list, description=TRUST_TEXT)
    registries: Annotated[registry_entries.Entries, LIVE] = Field(
        default_factory=dict, description=registry_entries.TEXT
    )
    proxy: Annotated[proxy_form.Value, LIVE] = Field(default=None, description=proxy_form.TEXT)
    artifacts: Annotated[Artifacts, BeforeValidator(empty)] = Field(default_factory=Artifacts)
    ports: Annotated[Ports, SETTING] = Field(default=(), description=PORTS_TEXT)
    template: Annotated[UseOfTemplates, SETTING] = Field(
        default="auto", description="Whether nodes are cloned."
    )


class Document(Strict):
    """A cluster."""

    api_version: Annotated[ApiVersion, IDENTITY] = Field(
        alias="apiVersion", description="Version of this format."
    )
    kind: Annotated[KindName, IDENTITY] = Field(description="Always Cluster.")
    metadata: Annotated[Metadata, BeforeValidator(empty)] = Field(default_factory=Metadata)
    spec: Annotated[Spec, BeforeValidator(empty)] = Field(default_factory=Spec)
