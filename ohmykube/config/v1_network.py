"""``spec.network`` of ``apiVersion: ohmykube.dev/v1``."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from ohmykube.config import outside
from ohmykube.config.fields import (
    AlternativeName,
    Backend,
    Cni,
    Domain,
    Endpoint,
    MachineNetworks,
    Mtu,
    PodNetworks,
    ProxyMode,
    ServiceNetworks,
    empty,
)
from ohmykube.config.mutability import Mutability
from ohmykube.config.strict import Strict
from ohmykube.model.cluster import Network as NetworkDefaults

LIVE, AT_CREATION, SETTING = Mutability.LIVE, Mutability.AT_CREATION, Mutability.SETTING

_NETWORK = NetworkDefaults()
DEFAULT_CNI = _NETWORK.cni
DEFAULT_BACKEND = _NETWORK.flannel_backend


class Flannel(Strict):
    """Settings of flannel."""

    backend: Annotated[Backend, LIVE] = Field(
        _NETWORK.flannel_backend,
        description="vxlan works everywhere; host-gw is faster and wants all nodes in one subnet.",
    )


class Network(Strict):
    """Addresses and the pod network."""

    pod_cidr: Annotated[PodNetworks, AT_CREATION] = Field(
        default=_NETWORK.pod_cidr,
        alias="podCIDR",
        description="Network of pods, of which each node gets a /24 (IPv6: a /64); with one of "
        "each family the cluster is dual-stack, and the first is primary. auto: one of IPv4 that "
        "neither this host nor another cluster has.",
    )
    service_cidr: Annotated[ServiceNetworks, AT_CREATION] = Field(
        default=_NETWORK.service_cidr,
        alias="serviceCIDR",
        description="Network of services, of the same IP families as podCIDR in the same order; "
        "or auto.",
    )
    machine_cidr: Annotated[MachineNetworks, AT_CREATION] = Field(
        default=_NETWORK.machine_cidr,
        alias="machineCIDR",
        description="Network of the machines, where the provider makes it, of the same IP families "
        "as podCIDR in the same order. auto: one that neither this host nor another cluster has.",
    )
    mtu: Annotated[Mtu | None, AT_CREATION] = Field(
        default=None,
        description="Bytes of the largest packet between nodes, where something on the way takes "
        "smaller ones than their network cards say; what these say when not given.",
    )
    dns_domain: Annotated[Domain, AT_CREATION] = Field(
        default=_NETWORK.dns_domain, alias="dnsDomain", description="DNS domain of services."
    )
    cni: Annotated[Cni, AT_CREATION] = Field(
        _NETWORK.cni,
        description="Pod network that is installed: the name of an add-on that is one. With none, "
        "nodes stay not ready until you install one.",
    )
    flannel: Annotated[Flannel, BeforeValidator(empty)] = Field(
        default_factory=lambda: Flannel.model_validate({}), description="Only for cni: flannel."
    )
    proxy_mode: Annotated[ProxyMode, AT_CREATION] = Field(
        default=_NETWORK.proxy_mode,
        alias="proxyMode",
        description="How kube-proxy programs the kernel.",
    )
    api_server_endpoint: Annotated[Endpoint | None, AT_CREATION] = Field(
        default=None,
        alias="apiServerEndpoint",
        description="host:port by which all nodes reach the API server (a load balancer); the "
        "address of the control plane that makes the cluster when not given.",
    )
    cert_sans: Annotated[list[AlternativeName], AT_CREATION] = Field(
        default_factory=list,
        alias="certSANs",
        description="Further addresses and names in the API server's certificate.",
        max_length=100,
    )
    egress: Annotated[outside.EgressValue, SETTING] = Field(
        default=None, description=outside.EGRESS_TEXT
    )
    host_access: Annotated[outside.HostPorts, SETTING] = Field(
        default=(), alias="hostAccess", description=outside.HOST_ACCESS_TEXT
    )
