"""Look before anything is made whether the ports of this host that a description names are free."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING

from ohmykube.errors import ConfigError, LockedError, PrerequisiteError
from ohmykube.model.exposure import ANY_ADDRESS
from ohmykube.progress import Message
from ohmykube.providers.base import FollowsServices

if TYPE_CHECKING:
    from ohmykube.errors import OhmykubeError
    from ohmykube.model.exposure import FixedPort
    from ohmykube.steps.context import Context


def check_ports(ctx: Context) -> None:
    """Return if all can be held, or are held by this cluster already.

    Raises:
        ConfigError: the provider cannot lead ports into its clusters, or this host does not have
            an address.
        LockedError: one is taken.
        PrerequisiteError: only root may listen there.
    """
    ports = ctx.cluster.ports
    if not ports:
        return
    if not isinstance(ctx.provider, FollowsServices):
        raise ConfigError(
            f"spec.ports cannot be brought about with provider {ctx.provider.name}",
            why="its machines are in a network that ohmykube does not make",
            hint="leave the field out; `ohmykube up` says where services are reached",
            id="OMK-C-520",
        )
    for port in ports:
        must_be_free(ctx, port, f"port {port.node_port} of the nodes")
        warn_if_open(ctx, port)


def warn_if_open(ctx: Context, port: FixedPort) -> None:
    """Say that a port is everybody's where it is."""
    if port.host_address == ANY_ADDRESS:
        text = (
            f"port {port.host_port}/{port.protocol} will be open on all addresses of this host:"
            " whoever reaches this host reaches what is behind it"
        )
        ctx.services.reporter.emit(Message(text=text, level="warning"))


def must_be_free(ctx: Context, port: FixedPort, target: str) -> None:
    """Return if a port of this host can be held, or is by this cluster; raises as ``check_ports``.

    Args:
        ctx: whose cluster.
        port: of this host.
        target: what it is to lead to, for people.
    """
    provider = ctx.provider
    told = provider.exposed(ctx.cluster.name) if isinstance(provider, FollowsServices) else None
    for one in told.ports if told else ():
        held = (one.target.protocol, one.place.rpartition(":")[2])
        if held == (port.protocol, str(port.host_port)):
            return
    kind = socket.SOCK_STREAM if port.protocol == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as probe:
        try:
            if port.protocol == "tcp":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((port.host_address, port.host_port))
            if port.protocol == "tcp":
                probe.listen()
        except OSError as error:
            raise _problem(port, target, error) from error


def _problem(port: FixedPort, target: str, error: OSError) -> OhmykubeError:
    place = f"{port.host_address}:{port.host_port}/{port.protocol}"
    message = f"port {place} of this host cannot lead to {target}"
    if error.errno == errno.EADDRINUSE:
        return LockedError(
            message,
            why="another program listens there",
            hint=f"ss -lnp 'sport = :{port.host_port}'  (which one?), or name another port",
            id="OMK-P-526",
        )
    if error.errno == errno.EACCES:
        return PrerequisiteError(
            message,
            why="only root may listen on ports below net.ipv4.ip_unprivileged_port_start",
            hint="name a port from 1024 up",
            id="OMK-P-527",
        )
    return ConfigError(
        message,
        why=f"{port.host_address} is no address of this host"
        if error.errno == errno.EADDRNOTAVAIL
        else str(error.strerror),
        hint="ip address  (those of this host); without an address it is 127.0.0.1",
        id="OMK-C-521",
    )
