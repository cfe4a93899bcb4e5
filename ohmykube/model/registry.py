"""Image registries as the nodes of a cluster ask them."""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ohmykube.kit.secret import Secret
from ohmykube.model import docker_hub

_PORTS = {"https": ":443", "http": ":80"}


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginPlace:
    """Where this host finds a name and a password: in docker's configuration or in variables."""

    docker_config: Path | None = None
    """Absolute; None for the variables."""
    username: str = ""
    """The name itself, where ``username_env`` does not say it."""
    username_env: str = ""
    password_env: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """Who to be at a registry."""

    username: str
    password: Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """One registry, by its name in references of images (``host[:port]``)."""

    name: str
    mirrors: tuple[str, ...] = ()
    """URLs that are asked first, in this order."""
    fallback: bool = True
    """Whether the registry itself is asked after its mirrors."""
    plain_http: bool = False
    ca: tuple[str, ...] = ()
    """Certificates of authorities that sign for it, one in PEM each."""
    auth: LoginPlace | None = None
    login: Login | None = field(default=None, compare=False, repr=False)
    """What was found in ``auth``; None before somebody looked there: it stands in no record."""

    @property
    def url(self) -> str:
        """Where it is asked itself."""
        scheme = "http" if self.plain_http else "https"
        return f"{scheme}://{docker_hub.host_of(self.name)}"


def behind(url: str, registries: Mapping[str, Registry]) -> Registry | None:
    """Return what is said of the server at a URL, be it a mirror or a registry itself.

    Args:
        url: http or https.
        registries: by name.
    """
    asked = urllib.parse.urlsplit(url).netloc
    return registries.get(docker_hub.registry_of(host_of(url))) or registries.get(asked)


def host_of(url: str) -> str:
    """Return ``host[:port]`` of a URL, without a port that its scheme implies."""
    parts = urllib.parse.urlsplit(url)
    return parts.netloc.removesuffix(_PORTS[parts.scheme])


def concerned(names: Iterable[str], registries: Sequence[Registry]) -> frozenset[str]:
    """Return the names of those described that are asked for images of some registries.

    Args:
        names: of the registries.
        registries: all that are described.
    """
    known = {one.name: one for one in registries}
    first = [known[name] for name in set(names) & known.keys()]
    servers = [behind(url, known) for one in first for url in one.mirrors]
    return frozenset(one.name for one in (*first, *servers) if one is not None)
