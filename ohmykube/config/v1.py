"""The form of ``apiVersion: ohmykube.dev/v1``: fields, types, units, defaults.

The published schema and the reference page are made from these models.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    WithJsonSchema,
)

from ohmykube.config import values
from ohmykube.config.problems import echo
from ohmykube.model import names, versions
from ohmykube.model.cluster import Network as NetworkDefaults
from ohmykube.model.cluster import Sources as SourcesDefaults
from ohmykube.model.cluster import Taint, TemplateUse

API_VERSION = "ohmykube.dev/v1"
KIND = "Cluster"
MOST_NODES = 100
DEFAULT_NAME = "dev"
CONTROL_PLANE_PREFIX = "cp"
WORKER_PREFIX = "w"

_NETWORK = NetworkDefaults()
DEFAULT_BACKEND = _NETWORK.flannel_backend
_SIZE = r"^[0-9]+(\.[0-9]+)? ?([MGT]i?B?)$"


def _text_schema(**more: Any) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", **more})


def _choice(*known: str) -> AfterValidator:
    return AfterValidator(lambda text: values.one_of(text, known))


def _empty(value: object) -> object:
    return {} if value is None else value


def _sized(value: object, convert: Any) -> object:
    if isinstance(value, str):
        return convert(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise ValueError(f"must have a unit, such as {value}GiB or {value}MiB, got {value}")  # noqa: TRY004 - pydantic wants ValueError
    raise ValueError(f"must be a size such as 4GiB or 512MiB, got {echo(value)}")


def _taint(value: object) -> Taint:
    if not isinstance(value, str):
        raise ValueError(f"must be text, key=value:Effect or key:Effect, got {echo(value)}")  # noqa: TRY004 - pydantic wants ValueError
    return values.taint(value)


Name = Annotated[StrictStr, AfterValidator(values.name), _text_schema(pattern=names.PATTERN)]
Prefix = Annotated[StrictStr, AfterValidator(values.prefix), _text_schema(maxLength=37)]
Version = Annotated[
    StrictStr,
    AfterValidator(values.kubernetes_version),
    _text_schema(pattern=r"^v?[0-9]+\.[0-9]+(\.[0-9]+)?$"),
]
PodNetwork = Annotated[StrictStr, AfterValidator(values.pod_network)]
ServiceNetwork = Annotated[StrictStr, AfterValidator(values.service_network)]
Address = Annotated[StrictStr, AfterValidator(values.address)]
Ipv4 = Annotated[StrictStr, AfterValidator(values.ipv4), _text_schema(format="ipv4")]
User = Annotated[StrictStr, AfterValidator(values.user)]
Jump = Annotated[StrictStr, AfterValidator(values.jump)]
Endpoint = Annotated[StrictStr, AfterValidator(values.endpoint)]
AlternativeName = Annotated[StrictStr, AfterValidator(values.alternative_name)]
HostKey = Annotated[StrictStr, AfterValidator(values.host_key)]
Domain = Annotated[StrictStr, AfterValidator(values.domain)]
Mirror = Annotated[StrictStr, AfterValidator(values.mirror)]
Registries = Annotated[dict[StrictStr, list[Mirror]], AfterValidator(values.registries)]
Backend = Annotated[StrictStr, _choice("vxlan", "host-gw"), _text_schema(enum=["vxlan", "host-gw"])]
Cni = Annotated[StrictStr, _choice("flannel", "none"), _text_schema(enum=["flannel", "none"])]
UseOfTemplates = Annotated[
    StrictStr, _choice(*TemplateUse), _text_schema(enum=[use.value for use in TemplateUse])
]
SourceName = Annotated[
    StrictStr,
    _choice("mirror", "upstream", "build"),
    _text_schema(enum=["mirror", "upstream", "build"]),
]
ApiVersion = Annotated[StrictStr, _choice(API_VERSION), _text_schema(const=API_VERSION)]
KindName = Annotated[StrictStr, _choice(KIND), _text_schema(const=KIND)]
ProxyMode = Annotated[
    StrictStr, AfterValidator(values.proxy_mode), _text_schema(enum=["iptables", "nftables"])
]
LabelKey = Annotated[StrictStr, AfterValidator(values.label_key_of_ours)]
LabelValue = Annotated[StrictStr, AfterValidator(values.label_value), _text_schema(maxLength=63)]
TaintText = Annotated[
    Taint,
    BeforeValidator(_taint),
    _text_schema(examples=["dedicated=gpu:NoSchedule"]),
]
Memory = Annotated[
    StrictInt,
    BeforeValidator(lambda value: _sized(value, values.memory_mib)),
    _text_schema(pattern=_SIZE),
]
Disk = Annotated[
    StrictInt,
    BeforeValidator(lambda value: _sized(value, values.disk_gib)),
    _text_schema(pattern=_SIZE),
]
Cpus = Annotated[float, Field(ge=0.1, le=1024, strict=True)]
Port = Annotated[StrictInt, Field(ge=1, le=65535)]
Count = Annotated[StrictInt, Field(ge=0, le=MOST_NODES)]
FilePath = Annotated[StrictStr, Field(min_length=1, max_length=4096)]
Free = Annotated[dict[str, Any], BeforeValidator(_empty)]


class Strict(BaseModel):
    """Unknown keys are errors, nothing is converted silently."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class Metadata(Strict):
    """What the cluster is called."""

    name: Name = Field(
        default=DEFAULT_NAME,
        description=f"Name of the cluster, a DNS label of at most {names.LONGEST} characters. "
        "Its kubeconfig context is named after it.",
    )


class Kubernetes(Strict):
    """What is installed."""

    version: Version = Field(
        default=versions.DEFAULT,
        description="Kubernetes version: major.minor.patch, or major.minor for the patch this "
        f"release prefers. Supported: {', '.join(versions.PATCHES)}. Quote it.",
    )


class Ssh(Strict):
    """How the ssh provider reaches existing machines; each host may say otherwise."""

    inventory: FilePath | None = Field(
        default=None,
        description="Ansible inventory file (INI or YAML) with the groups kube_control_plane and "
        "kube_node, relative to this file. Used instead of hosts in the node groups.",
    )
    user: User = Field(default="root", description="Login name.")
    port: Port = Field(default=22, description="TCP port of sshd.")
    identity_file: FilePath | None = Field(
        default=None,
        alias="identityFile",
        description="Private key file, relative to this file; ssh's own choice when not given.",
    )
    jump: Jump | None = Field(default=None, description="Jump host, [user@]host[:port].")
    become: StrictBool = Field(
        default=False, description="Use sudo, without a password, for everything on the node."
    )


class Provider(Strict):
    """What makes the machines."""

    name: Name = Field(
        default="auto",
        description="auto, lima, nspawn, ssh or the name of an installed plugin. auto takes the "
        "first that can make machines on this host; ssh is never guessed.",
    )
    ssh: Annotated[Ssh, BeforeValidator(_empty)] = Field(
        default_factory=Ssh, description="Only for the provider ssh."
    )
    options: Free = Field(
        default_factory=dict,
        description="Further options of the provider that is named, checked by it.",
    )


class Host(Strict):
    """An existing machine, for the provider ssh."""

    address: Address = Field(description="IPv4 address or host name that ssh connects to.")
    name: Name | None = Field(
        default=None, description="Node name; the group's prefix and a number else."
    )
    port: Port | None = Field(default=None, description="Overrides spec.provider.ssh.port.")
    user: User | None = Field(default=None, description="Overrides spec.provider.ssh.user.")
    identity_file: FilePath | None = Field(
        default=None, alias="identityFile", description="Overrides spec.provider.ssh.identityFile."
    )
    jump: Jump | None = Field(default=None, description="Overrides spec.provider.ssh.jump.")
    become: StrictBool | None = Field(
        default=None, description="Overrides spec.provider.ssh.become."
    )
    host_key: HostKey | None = Field(
        default=None,
        alias="hostKey",
        description="Public host key that is expected, type and base64; your known_hosts else.",
    )
    node_ip: Ipv4 | None = Field(
        default=None,
        alias="nodeIP",
        description="IPv4 address of the node inside the cluster; its address else.",
    )


class Group(Strict):
    """Nodes that are alike."""

    name: Prefix | None = Field(
        default=None,
        description="Start of the node names, to which 1, 2, ... is appended: "
        f"{CONTROL_PLANE_PREFIX} for control planes and {WORKER_PREFIX} for workers when not "
        "given.",
    )
    names: list[Name] | None = Field(
        default=None,
        description="The node names themselves, instead of count.",
        max_length=MOST_NODES,
    )
    count: Count | None = Field(
        default=None,
        description="Number of nodes, at most 100 in the cluster. 1 control plane and 2 workers "
        "when neither count, names nor hosts are given.",
    )
    cpus: Cpus | None = Field(
        default=2,
        description="CPU limit of each node in cores, such as 2 or 0.5; null for no limit.",
    )
    memory: Memory | None = Field(
        default=4096,
        description="Memory limit of each node with its unit (MiB, GiB, MB, GB); null for no "
        "limit.",
        json_schema_extra={"default": "4GiB"},
    )
    disk: Disk | None = Field(
        default=20,
        description="Disk of each node with its unit, for providers that make disks; null for "
        "the provider's own size.",
        json_schema_extra={"default": "20GiB"},
    )
    labels: Annotated[dict[LabelKey, LabelValue], BeforeValidator(_empty)] = Field(
        default_factory=dict, description="Kubernetes labels of each node."
    )
    taints: list[TaintText] | None = Field(
        default=None,
        description="Kubernetes taints of each node, as key=value:Effect or key:Effect. Not "
        "given: kubeadm's own, which keep workloads off control planes. []: none.",
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


class Flannel(Strict):
    """Settings of flannel."""

    backend: Backend = Field(
        _NETWORK.flannel_backend,
        description="vxlan works everywhere; host-gw is faster and wants all nodes in one subnet.",
    )


class Network(Strict):
    """Addresses and the pod network."""

    pod_cidr: PodNetwork = Field(
        default=_NETWORK.pod_cidr,
        alias="podCIDR",
        description="IPv4 network of pods; each node gets a /24 of it.",
    )
    service_cidr: ServiceNetwork = Field(
        default=_NETWORK.service_cidr, alias="serviceCIDR", description="IPv4 network of services."
    )
    dns_domain: Domain = Field(
        default=_NETWORK.dns_domain, alias="dnsDomain", description="DNS domain of services."
    )
    cni: Cni = Field(
        _NETWORK.cni,
        description="Pod network that is installed; with none, nodes stay not ready until you "
        "install one.",
    )
    flannel: Annotated[Flannel, BeforeValidator(_empty)] = Field(
        default_factory=lambda: Flannel.model_validate({}), description="Only for cni: flannel."
    )
    proxy_mode: ProxyMode = Field(
        default=_NETWORK.proxy_mode,
        alias="proxyMode",
        description="How kube-proxy programs the kernel.",
    )
    api_server_endpoint: Endpoint | None = Field(
        default=None,
        alias="apiServerEndpoint",
        description="host:port by which all nodes reach the API server (a load balancer); the "
        "first control plane when not given.",
    )
    cert_sans: list[AlternativeName] = Field(
        default_factory=list,
        alias="certSANs",
        description="Further addresses and names in the API server's certificate.",
        max_length=100,
    )


class Kubeadm(Strict):
    """Fields of kubeadm's own configuration, merged over ours; lists are replaced."""

    init_configuration: Free = Field(
        default_factory=dict,
        alias="initConfiguration",
        description="kubeadm.k8s.io/v1beta4 InitConfiguration.",
    )
    join_configuration: Free = Field(
        default_factory=dict,
        alias="joinConfiguration",
        description="kubeadm.k8s.io/v1beta4 JoinConfiguration.",
    )
    cluster_configuration: Free = Field(
        default_factory=dict,
        alias="clusterConfiguration",
        description="kubeadm.k8s.io/v1beta4 ClusterConfiguration.",
    )
    kubelet_configuration: Free = Field(
        default_factory=dict,
        alias="kubeletConfiguration",
        description="kubelet.config.k8s.io/v1beta1 KubeletConfiguration.",
    )
    kube_proxy_configuration: Free = Field(
        default_factory=dict,
        alias="kubeProxyConfiguration",
        description="kubeproxy.config.k8s.io/v1alpha1 KubeProxyConfiguration.",
    )


class Artifacts(Strict):
    """Where components and images come from; the cache is always asked first."""

    sources: list[SourceName] = Field(
        default_factory=lambda: list(SourcesDefaults().order),
        description="Sources in the order in which they are tried.",
        min_length=1,
        max_length=10,
    )
    mirror: Mirror | None = Field(default=None, description="http(s) URL or absolute directory.")
    registries: Registries = Field(default={}, description="Registry to its mirrors, tried first.")


class Spec(Strict):
    """What is wanted."""

    kubernetes: Annotated[Kubernetes, BeforeValidator(_empty)] = Field(default_factory=Kubernetes)
    provider: Annotated[Provider, BeforeValidator(_empty)] = Field(default_factory=Provider)
    nodes: Annotated[Nodes, BeforeValidator(_empty)] = Field(default_factory=Nodes)
    network: Annotated[Network, BeforeValidator(_empty)] = Field(
        default_factory=lambda: Network.model_validate({})
    )
    kubeadm: Annotated[Kubeadm, BeforeValidator(_empty)] = Field(default_factory=Kubeadm)
    artifacts: Annotated[Artifacts, BeforeValidator(_empty)] = Field(default_factory=Artifacts)
    template: UseOfTemplates = Field(default="auto", description="Whether nodes are cloned.")


class Document(Strict):
    """A cluster."""

    api_version: ApiVersion = Field(alias="apiVersion", description="Version of this format.")
    kind: KindName = Field(description="Always Cluster.")
    metadata: Annotated[Metadata, BeforeValidator(_empty)] = Field(default_factory=Metadata)
    spec: Annotated[Spec, BeforeValidator(_empty)] = Field(default_factory=Spec)
