"""Ports of a cluster that its host reaches: what is wanted, and where it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

LOOPBACK = "127.0.0.1"
ANY_ADDRESS = "0.0.0.0"  # noqa: S104 - what users ask for by name
"""Stands for all addresses of this host."""
ANY_NODE = ""
"""As an address: whichever node of the cluster answers."""
OWN_PORTS = range(28443, 29943)
"""Ports of this host for what cannot have its own: below NodePorts (30000) and those of outgoing
connections (32768), above those of API servers (25443) and of Lima's clusters (26443)."""


@dataclass(frozen=True, slots=True, order=True)
class ExposedPort:
    """An address and port in a cluster that is made reachable from its host."""

    address: str
    """Of either IP family, or ``ANY_NODE``."""
    port: int
    protocol: str = "tcp"
    """``tcp`` or ``udp``."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class FixedPort:
    """A port of this host that leads to one of the nodes: an entry of ``spec.ports``."""

    host_address: str = LOOPBACK
    host_port: int
    node_port: int
    protocol: str = "tcp"

    def __str__(self) -> str:
        """Return it as it is written in a description."""
        address = "" if self.host_address == LOOPBACK else f"{self.host_address}:"
        protocol = "" if self.protocol == "tcp" else f"/{self.protocol}"
        return f"{address}{self.host_port}:{self.node_port}{protocol}"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class AskedService:
    """A port of a service that somebody asked for by name."""

    namespace: str
    service: str
    port: int
    """The service's."""
    protocol: str = "tcp"
    host_address: str = LOOPBACK
    host_port: int = 0
    """0 for the service's own, or another where that is taken."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class PortForward:
    """A port of ``LOOPBACK`` that leads to one address of a cluster for the cluster's life."""

    host_port: int
    target: ExposedPort


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A port of a cluster that wants a place on this host."""

    key: str
    """What it is remembered by: the same thing has the same place again."""
    name: str
    """What it is, such as ``web.default``; for people."""
    target: ExposedPort
    place_port: int
    place_address: str = LOOPBACK
    fixed: bool = False
    """There or nowhere; otherwise another port of the address will do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedPort:
    """A port of a cluster and where it is on this host."""

    name: str
    target: ExposedPort
    place: str = ""
    """``address:port``; empty while there is none."""
    refused_port: int = 0
    """The first port of this host that it was to have and has not; 0 where it has what it wants."""
    reason: str = ""
    """Why it has not, such as ``is taken``."""

    @property
    def note(self) -> str:
        """Return why it is not where it would be, or nowhere, for people; empty where it is."""
        return f"port {self.refused_port} {self.reason}" if self.refused_port else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiAccess:
    """How the services of a cluster are asked for."""

    servers: tuple[str, ...]
    """``address:port`` of API servers, reached from the nodes' network."""
    authority: str
    """Their certificate authority, PEM."""
    token: str
    generation: int = 0
    """How often the account was made anew: then it is tried at once, also with the same token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """What of a cluster is to be reachable."""

    access: ApiAccess | None = None
    """With it, all that the cluster's services and pods offer."""
    fixed: tuple[FixedPort, ...] = ()
    asked: tuple[AskedService, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposed:
    """What of a cluster is reachable now."""

    ports: tuple[PublishedPort, ...] = ()
    problem: str = ""
    """Why what the services offer is not known; empty when it is."""
    refused: bool = False
    """The API server does not know the token."""
    complete: bool = True
    """False while it was not asked yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What the process that holds a cluster's ports is told, as a file."""

    revision: str
    version: str
    """Of this program: another one starts the process anew."""
    netns: str = ""
    """Path of the network namespace in which the targets are; empty for the host's own."""
    relays: tuple[tuple[str, ...], ...] = ()
    """Commands each of which leads ``relay_socket`` to the network in which the targets are; with
    none, targets are reached straight."""
    relay_socket: str = ""
    nodes: tuple[str, ...]
    """Addresses that stand for ``ANY_NODE``."""
    clusters: str
    """Directory of the clusters, in the directory of each of which its process reports."""
    exposure: Exposure = field(default_factory=Exposure)
    listed: tuple[ExposedPort, ...] = ()
    """Ports that were asked for one by one."""
    forwards: tuple[PortForward, ...] = ()
    """Ways to servers of nodes, such as the API's, that are no offer of services."""

    @property
    def nothing(self) -> bool:
        """Tell whether no port is wanted, nor can be."""
        wanted = self.exposure
        services = wanted.access or wanted.fixed or wanted.asked
        return not (services or self.listed or self.forwards)

    def document(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What that process tells, as a file."""

    revision: str = ""
    version: str = ""
    pid: int = 0
    places: Mapping[str, str] = field(default_factory=dict)
    """Where things are and were that had to take another port, by their keys; the latest last."""
    exposed: Exposed = field(default_factory=Exposed)
    forwards: tuple[PublishedPort, ...] = ()
    """What became of the forwards of its orders."""
    offered: tuple[Request, ...] = ()
    """What services and pods offered last: it has its ports again before they are read anew."""

    @property
    def held(self) -> tuple[str, ...]:
        """Every place on this host that is this cluster's, as ``tcp/127.0.0.1:8080``."""
        ports = (*self.exposed.ports, *self.forwards)
        return tuple(f"{one.target.protocol}/{one.place}" for one in ports if one.place)

    def document(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {**asdict(self), "places": dict(self.places)}


def orders(document: Mapping[str, Any]) -> Orders:
    """Return what ``document`` was made of; raises KeyError, TypeError or ValueError."""
    told = document["exposure"]
    access = told["access"]
    exposure = Exposure(
        access=access and ApiAccess(**{**access, "servers": tuple(access["servers"])}),
        fixed=tuple(FixedPort(**one) for one in told["fixed"]),
        asked=tuple(AskedService(**one) for one in told["asked"]),
    )
    listed = tuple(ExposedPort(**one) for one in document["listed"])
    forwards = tuple(
        PortForward(**{**one, "target": ExposedPort(**one["target"])})
        for one in document["forwards"]
    )
    relays = tuple(map(tuple, document["relays"]))
    plain = {**document, "nodes": tuple(document["nodes"]), "relays": relays}
    return Orders(**{**plain, "exposure": exposure, "listed": listed, "forwards": forwards})


def report(document: Mapping[str, Any]) -> Report:
    """Return what ``document`` was made of; raises KeyError, TypeError or ValueError."""
    found = Report(**document)
    told: Any = document["exposed"]
    ports, forwards = (
        tuple(PublishedPort(**{**one, "target": ExposedPort(**one["target"])}) for one in listed)
        for listed in (told["ports"], document["forwards"])
    )
    offered = tuple(
        Request(**{**one, "target": ExposedPort(**one["target"])}) for one in document["offered"]
    )
    exposed = Exposed(**{**told, "ports": ports})
    return replace(found, offered=offered, exposed=exposed, forwards=forwards)
