"""``expose``: services of a cluster on ports of this host, for those who ask, and where all are."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ohmykube.errors import NotFoundError, PrerequisiteError, UsageError
from ohmykube.kit import files
from ohmykube.kube.service_ports import is_address
from ohmykube.model.exposure import ANY_NODE, LOOPBACK, AskedService, Exposed, FixedPort
from ohmykube.providers.base import FollowsServices
from ohmykube.state import layout
from ohmykube.steps.check_ports import must_be_free, warn_if_open
from ohmykube.steps.cluster_api import cluster_api
from ohmykube.steps.expose_services import asked_services, follow_services
from ohmykube.steps.nodes import Nodes
from ohmykube.steps.restore_helpers import restore_helpers
from ohmykube.workflows import session

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ohmykube.steps.context import Context, Services

_PROTOCOLS = ("TCP", "UDP")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExposeOptions:
    """What ``expose`` is asked for."""

    service: str
    namespace: str = "default"
    port: str = ""
    """The service's, by number or name; empty where it has one."""
    host_port: int = 0
    """0 for the service's own, or another where that is taken."""
    address: str = LOOPBACK
    remove: bool = False
    """Take away what was asked for before, instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExposeResult:
    """Where services of a cluster are."""

    cluster: str
    exposed: Exposed


def exposed(services: Services, name: str) -> ExposeResult:
    """Return what of a cluster this host reaches; brings back what held ports and was killed.

    Raises:
        NotFoundError: no such cluster.
        PrerequisiteError: its provider does not follow services.
    """
    _, cluster = session.recorded(services, name)
    ctx = session.looking(services, cluster)
    provider = _following(ctx)
    restore_helpers(ctx)
    return ExposeResult(cluster=name, exposed=provider.exposed(name))


def expose(services: Services, name: str, options: ExposeOptions) -> ExposeResult:
    """Lead a port of this host to a service, whatever its type, until it is removed or ``down``.

    Raises:
        NotFoundError: no such cluster, service or port.
        UsageError: the service has several ports, and none is named.
        LockedError, PrerequisiteError, ConfigError: the port of this host cannot be held.
    """
    _, cluster = session.recorded(services, name)
    with session.working(services, cluster) as ctx:
        provider = _following(ctx)
        machines = {machine.node: machine for machine in ctx.provider.list(name)}
        config = ctx.directory / layout.SSH_CONFIG
        nodes = Nodes(machines=machines, ssh_config=config, slowdown=ctx.slowdown)
        before = asked_services(ctx)
        if options.remove:
            asked = tuple(one for one in before if not _meant(one, options))
            if asked == before:
                raise NotFoundError(
                    f"service {options.service} of namespace {options.namespace} is not exposed",
                    why="nobody asked for it; load balancers and NodePorts are there by themselves",
                    hint=f"ohmykube expose list {name}",
                    id="OMK-K-522",
                )
        else:
            wanted = _wanted(cluster_api(cluster, nodes).get, options)
            if wanted.host_port and wanted not in before:
                _check(ctx, wanted)
            asked = (*(one for one in before if not _same(one, wanted)), wanted)
        files.write(ctx.directory / layout.ASKED_SERVICES, json.dumps([asdict(a) for a in asked]))
        told = follow_services(ctx, provider, nodes)
        full_name = f"{options.service}.{options.namespace}"
        asked_for = [] if options.remove else [(full_name, wanted.port, wanted.protocol)]
        ports = tuple(
            port
            for port in told.ports
            if (port.name, port.target.port, port.target.protocol) in asked_for
            and port.target.address != ANY_NODE
        )
        return ExposeResult(cluster=name, exposed=Exposed(ports=ports, problem=told.problem))


def _following(ctx: Context) -> FollowsServices:
    if isinstance(ctx.provider, FollowsServices):
        return ctx.provider
    raise PrerequisiteError(
        f"provider {ctx.provider.name} does not lead ports of this host to services",
        why="this host has a route to its machines: services are reached at their own addresses",
        hint=f"kubectl --context ohmykube-{ctx.cluster.name} port-forward service/NAME 8080:80",
        id="OMK-P-528",
    )


def _wanted(get: Any, options: ExposeOptions) -> AskedService:
    """Return the port of a service that is there."""
    found: Mapping[str, Any] | None = get("service", options.service, namespace=options.namespace)
    where = f"service {options.service} of namespace {options.namespace}"
    if found is None:
        raise NotFoundError(
            f"there is no {where}",
            hint="kubectl get services --all-namespaces",
            id="OMK-K-521",
        )
    if not is_address(found["spec"].get("clusterIP", "")):
        raise PrerequisiteError(
            f"{where} has no address of its own",
            why="it is a headless service, or an alias of a name outside",
            hint="expose a service with an address, or one of its pods by a hostPort",
            id="OMK-K-523",
        )
    port = _port(where, found["spec"].get("ports", []), options.port)
    return AskedService(
        namespace=options.namespace,
        service=options.service,
        port=port["port"],
        protocol=port.get("protocol", "TCP").lower(),
        host_address=options.address,
        host_port=options.host_port,
    )


def _port(where: str, ports: Sequence[Mapping[str, Any]], wanted: str) -> Mapping[str, Any]:
    able = [port for port in ports if port.get("protocol", "TCP") in _PROTOCOLS]
    named = [port for port in able if wanted in ("", str(port["port"]), port.get("name"))]
    if len(named) == 1:
        return named[0]
    known = ", ".join(
        f"{port['port']}" + (f" ({port['name']})" if port.get("name") else "") for port in able
    )
    if not named:
        raise NotFoundError(
            f"{where} has no port {wanted or 'of TCP or UDP'}",
            why=f"its ports: {known or 'none'}",
            hint="ohmykube expose SERVICE --port PORT",
            id="OMK-K-524",
        )
    raise UsageError(
        f"{where} has several ports: name one",
        why=f"its ports: {known}",
        hint="ohmykube expose SERVICE --port PORT",
        id="OMK-U-520",
    )


def _check(ctx: Context, wanted: AskedService) -> None:
    port = FixedPort(
        host_address=wanted.host_address,
        host_port=wanted.host_port,
        node_port=wanted.port,
        protocol=wanted.protocol,
    )
    must_be_free(ctx, port, f"port {wanted.port} of service {wanted.service}")
    warn_if_open(ctx, port)


def _same(one: AskedService, other: AskedService) -> bool:
    """Tell whether two are the same port of the same service, or want the same one of this host."""
    keys = [(a.namespace, a.service, a.port, a.protocol) for a in (one, other)]
    places = [(a.host_address, a.host_port, a.protocol) for a in (one, other)]
    return keys[0] == keys[1] or (one.host_port > 0 and places[0] == places[1])


def _meant(one: AskedService, options: ExposeOptions) -> bool:
    same = (one.namespace, one.service) == (options.namespace, options.service)
    return same and options.port in ("", str(one.port))
