"""Sockets of this host for what a cluster offers: which, where, and what becomes of them."""

from __future__ import annotations

import errno
import os
import socket
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ohmykube.kit.tcp_forward import TcpForward
from ohmykube.kit.udp_forward import UdpForward
from ohmykube.model.exposure import ANY_NODE, OWN_PORTS, PublishedPort

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from ohmykube.kit.dialer import Dialer, Target
    from ohmykube.model.exposure import Request

MOST_REMEMBERED = 500
"""Other ports of things that are not there now; the oldest are forgotten first."""
_WHY = {errno.EADDRINUSE: "is taken", errno.EACCES: "needs root"}


@dataclass(frozen=True, slots=True)
class _Refusal:
    """A port of this host that cannot be had, and why."""

    port: int
    reason: str


@dataclass(frozen=True, slots=True)
class _Held:
    """A port of this host that leads to a request."""

    request: Request
    place: str
    refusal: _Refusal | None
    """Of the port that it was to have instead."""
    forward: TcpForward | UdpForward


class Listeners:
    """Holds a port for each request, the same one again for the same request.

    Args:
        remembered: places that are not what was wished, by the keys of requests; ``places`` of
            before.
        promised: tells the places that other clusters have, also while they are stopped.
        outside: enters the network in which ports are held, for as long as the block runs.
        dialer: the way to the cluster's addresses.
    """

    def __init__(
        self,
        remembered: Mapping[str, str],
        promised: Callable[[], set[str]],
        outside: Callable[[], AbstractContextManager[None]],
        dialer: Dialer,
    ) -> None:
        self.places = dict(remembered)
        self._promised = promised
        self._outside = outside
        self._dialer = dialer
        self._held: dict[str, _Held] = {}

    async def bring_about(
        self, requests: Iterable[Request], nodes: Sequence[str]
    ) -> dict[str, PublishedPort]:
        """Hold ports for exactly these requests; return where each of them is, by its key.

        Args:
            requests: those with the same key are one.
            nodes: addresses of the cluster's nodes.
        """
        wanted = {request.key: request for request in requests}
        for key, held in tuple(self._held.items()):
            if not _same_place(held.request, wanted.get(key)):
                self._release(key)
        refusals: dict[str, _Refusal | None] = {}
        for request in sorted(wanted.values(), key=self._order):
            held_by = self._held.get(request.key)
            if held_by is None:
                refusals[request.key] = await self._hold(request, nodes)
            else:
                held_by.forward.lead_to(_targets(request, nodes))
        self._forget(wanted)
        return {
            key: self._published(request, refusals.get(key))
            for key, request in sorted(wanted.items())
        }

    def _published(self, request: Request, refusal: _Refusal | None) -> PublishedPort:
        held = self._held.get(request.key)
        refusal = held.refusal if held is not None else refusal
        return PublishedPort(
            name=request.name,
            target=request.target,
            place=held.place if held is not None else "",
            refused_port=refusal.port if refusal is not None else 0,
            reason=refusal.reason if refusal is not None else "",
        )

    def close(self) -> None:
        """Hold nothing any more."""
        for key in tuple(self._held):
            self._release(key)

    def _order(self, request: Request) -> tuple[bool, bool, str]:
        return not request.fixed, request.key not in self.places, request.key

    async def _hold(self, request: Request, nodes: Sequence[str]) -> _Refusal | None:
        """Listen somewhere for a request; return why that is not possible, or None."""
        refusal: _Refusal | None = None
        promised = set() if request.fixed else self._promised()
        if request.fixed:
            self._evict(request)
        for place in self._candidates(request):
            if f"{request.target.protocol}/{place}" in promised:
                refusal = refusal or _Refusal(_port(place), "is another cluster's")
                continue
            try:
                with self._outside():
                    listener = _listener(request.target.protocol, place)
            except OSError as error:
                said = _WHY.get(error.errno or 0)
                refusal = refusal or _Refusal(_port(place), said or _reason(error))
                if said is None:
                    break
                continue
            forward = _forward(request, listener, nodes, self._dialer)
            await forward.start()
            own = place.endswith(f":{request.place_port}")
            self._held[request.key] = _Held(request, place, None if own else refusal, forward)
            self.places.pop(request.key, None)
            if not own:
                self.places[request.key] = place
            return None
        return refusal

    def _candidates(self, request: Request) -> Iterator[str]:
        address, wished = request.place_address, request.place_port
        known = self.places.get(request.key, "")
        if request.fixed:
            yield f"{address}:{wished}"
            return
        if known.rpartition(":")[0] == address:
            yield known
        yield f"{address}:{wished}"
        # Things start at different ports, so that few of them ever want the same one.
        first = zlib.crc32(request.key.encode()) % len(OWN_PORTS)
        for port in (*OWN_PORTS[first:], *OWN_PORTS[:first]):
            yield f"{address}:{port}"

    def _evict(self, request: Request) -> None:
        """Let a thing that can be elsewhere make room for one that cannot."""
        for key, held in tuple(self._held.items()):
            port = held.place.rpartition(":")[2]
            same = (held.request.target.protocol, port) == (
                request.target.protocol,
                str(request.place_port),
            )
            if same and not held.request.fixed:
                self._release(key)
                self.places.pop(key, None)

    def _release(self, key: str) -> None:
        self._held.pop(key).forward.close()

    def _forget(self, wanted: Mapping[str, Request]) -> None:
        idle = [key for key in self.places if key not in wanted]
        for key in idle[: max(0, len(idle) - MOST_REMEMBERED)]:
            del self.places[key]


def _port(place: str) -> int:
    return int(place.rpartition(":")[2])


def _same_place(held: Request, wanted: Request | None) -> bool:
    if wanted is None:
        return False
    return (held.place_address, held.place_port, held.fixed, held.target.protocol) == (
        *(wanted.place_address, wanted.place_port, wanted.fixed, wanted.target.protocol),
    )


def _targets(request: Request, nodes: Sequence[str]) -> list[Target]:
    target = request.target
    addresses = nodes if target.address == ANY_NODE else (target.address,)
    return [(address, target.port) for address in addresses]


def _forward(
    request: Request, listener: socket.socket, nodes: Sequence[str], dialer: Dialer
) -> TcpForward | UdpForward:
    targets = _targets(request, nodes)
    if request.target.protocol == "tcp":
        return TcpForward(listener, targets, dialer)
    return UdpForward(listener, targets, dialer)


def _listener(protocol: str, place: str) -> socket.socket:
    """Return a socket that is bound to a place; raises OSError."""
    address, _, port = place.rpartition(":")
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    made = socket.socket(socket.AF_INET, kind)
    try:
        made.settimeout(0)
        if protocol == "tcp":  # for datagrams it would share a port that is taken
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((address, int(port)))
        if protocol == "tcp":
            made.listen(512)  # only now it is seen that others listen there
    except OSError:
        made.close()
        raise
    return made


def _reason(error: OSError) -> str:
    if error.errno == errno.EADDRNOTAVAIL:
        return "is at an address that this host does not have"
    return f"cannot be used: {os.strerror(error.errno or 0)}"
