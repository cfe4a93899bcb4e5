"""``spec.registries`` where this host asks: at which places an image is, and with what."""

from __future__ import annotations

import urllib.parse
from typing import TYPE_CHECKING

from ohmykube.cache.registry_auth import Login
from ohmykube.cache.registry_client import Reference, RegistryClient, Repository
from ohmykube.cache.transport import Timing, Transport
from ohmykube.model.outside import HOST_NAME
from ohmykube.model.registry import behind, host_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ohmykube.cache.download import Downloader
    from ohmykube.model.proxy import ProxyUrls
    from ohmykube.model.registry import Registry

LOOPBACK = "127.0.0.1"


def transport(
    registries: Sequence[Registry],
    *,
    trust: tuple[str, ...] = (),
    proxy: ProxyUrls | None = None,
    timing: Timing | None = None,
) -> Transport:
    """Return how requests of a cluster are sent.

    Args:
        registries: those described; the authorities of each count for its own host and port.
        trust: authorities, in PEM, that count for all hosts.
        proxy: what counts instead of the variables of this process.
        timing: how long things may take.
    """
    own = {place: one.ca for place, one in _places(registries) if one.ca}
    return Transport(timing, trust=trust, proxy=proxy, authorities=own)


def client(downloader: Downloader, registries: Sequence[Registry]) -> RegistryClient:
    """Return who pulls images as it is described, with the logins that were found.

    Args:
        downloader: with a ``transport`` of the same registries.
        registries: those described; a registry that is not among them is asked itself, with the
            user's docker login.
    """
    logins = {
        place: Login(one.login.username, one.login.password.reveal())
        for place, one in _places(registries)
        if one.login is not None
    }
    known = {one.name: one for one in registries}

    def route(reference: Reference, first: Iterable[str]) -> tuple[Repository, ...]:
        return _route(reference, known.get(reference.registry), first)

    return RegistryClient(downloader, route=route, logins=logins)


def _route(
    reference: Reference, described: Registry | None, first: Iterable[str]
) -> tuple[Repository, ...]:
    own = Repository.upstream(reference)
    urls, last = [*first], [own]
    if described is not None:
        urls += described.mirrors
        last = [Repository(described.url, own.name)] if described.fallback else []
    mirrors = [Repository.below(seen_from_here(url), reference) for url in urls]
    return tuple(dict.fromkeys([*mirrors, *last]))


def seen_from_here(url: str) -> str:
    """Return a URL as this host asks it: the name that nodes have for it leads to its loopback."""
    parts = urllib.parse.urlsplit(url)
    if parts.hostname != HOST_NAME:
        return url
    port = f":{parts.port}" if parts.port else ""
    return parts._replace(netloc=f"{LOOPBACK}{port}").geturl()


def _places(registries: Sequence[Registry]) -> Iterator[tuple[str, Registry]]:
    """Give each host and port that is asked, with what is described of it."""
    known = {one.name: one for one in registries}
    for url in [*(one.url for one in registries), *(m for one in registries for m in one.mirrors)]:
        if (found := behind(url, known)) is not None:
            yield host_of(seen_from_here(url)), found
