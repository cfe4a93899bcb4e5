"""Which repository of which registry a request means."""

from __future__ import annotations

import http
import re
import urllib.parse
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ohmykube.cache.registry_client import Repository
from ohmykube.cache.serve.responses import NotServed
from ohmykube.errors import UsageError
from ohmykube.model import docker_hub

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

REGISTRIES = (docker_hub.REGISTRY, "registry.k8s.io", "quay.io", "ghcr.io")
"""What a pull-through cache answers for by default."""
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_REGISTRY = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::[0-9]{1,5})?")


@dataclass(frozen=True, slots=True)
class Upstream:
    """A registry whose images are served, and where its API is."""

    registry: str
    """As image references name it, such as ``docker.io``."""
    endpoint: str
    """Such as ``https://registry-1.docker.io``; may hold a path, not credentials."""

    def repository(self, name: str) -> Repository:
        """Return where the repository ``name`` is asked for."""
        parts = urllib.parse.urlsplit(self.endpoint)
        prefix = parts.path.strip("/")
        return Repository(
            f"{parts.scheme}://{parts.netloc}", f"{prefix}/{name}" if prefix else name
        )


def upstreams(wanted: Iterable[str]) -> dict[str, Upstream]:
    """Return the registries to answer for, by name: the usual four and those of ``wanted``.

    Args:
        wanted: ``REGISTRY`` or ``REGISTRY=URL``, where the URL is another place that has it.

    Raises:
        UsageError: one of them is neither.
    """
    found = {name: _upstream(name, "") for name in REGISTRIES}
    for text in wanted:
        registry, equals, url = text.partition("=")
        registry = docker_hub.registry_of(registry)
        if _REGISTRY.fullmatch(registry) is None or (equals and not _is_endpoint(url)):
            raise UsageError(
                f'"{text}" is no registry to answer for',
                why="it is REGISTRY or REGISTRY=URL; a URL holds no name and no password",
                hint="ohmykube cache serve --mirror docker.io=https://hub.example\n"
                "log in with `docker login`",
                id="OMK-I-604",
            )
        found[registry] = _upstream(registry, url.rstrip("/"))
    return found


def _upstream(registry: str, url: str) -> Upstream:
    return Upstream(registry, url or f"https://{docker_hub.host_of(registry)}")


def _is_endpoint(url: str) -> bool:
    try:
        parts = urllib.parse.urlsplit(url)
        whole = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False
    extra = parts.query or parts.fragment or "@" in parts.netloc
    return whole and parts.scheme in ("http", "https") and not extra


@dataclass(frozen=True, slots=True)
class RequestedRepository:
    """One repository as a client asked for it."""

    upstream: Upstream
    name: str

    @property
    def full(self) -> str:
        """Registry and name, as in an image reference."""
        return f"{self.upstream.registry}/{self.name}"

    @property
    def repository(self) -> Repository:
        """Where it is asked for."""
        return self.upstream.repository(self.name)


def requested_repository(
    known: Mapping[str, Upstream], registry: str, name: str
) -> RequestedRepository:
    """Return the repository that a request names.

    A registry is named by ``?ns=`` (containerd), or is the first part of the path (a mirror of
    everything below one host); without either it is Docker Hub, as the Docker daemon means it.

    Raises:
        NotServed: it is not mirrored, or no name at all.
    """
    if not registry:
        first, _, rest = name.partition("/")
        if rest and (first in known or re.search(r"[.:]", first) or first == "localhost"):
            registry, name = first, rest
        else:
            registry = docker_hub.REGISTRY
    upstream = known.get(docker_hub.registry_of(registry))
    if upstream is None:
        raise NotServed(
            http.HTTPStatus.NOT_FOUND, "NAME_UNKNOWN", f"{registry} is not mirrored here"
        )
    if len(name) > 255 or _NAME.fullmatch(name) is None:
        raise NotServed(
            http.HTTPStatus.BAD_REQUEST, "NAME_INVALID", f"{name} is no repository name"
        )
    return RequestedRepository(upstream, name)


def is_tag(text: str) -> bool:
    """Tell whether ``text`` can be a tag."""
    return _TAG.fullmatch(text) is not None
