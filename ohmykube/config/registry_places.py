"""``spec.registries`` on this host: certificates are read, files and variables only named."""

from __future__ import annotations

import urllib.parse
from dataclasses import replace
from typing import TYPE_CHECKING

from ohmykube.config.nodes import absolute
from ohmykube.config.problems import dotted
from ohmykube.kit.loopback import is_loopback
from ohmykube.model.outside import HOST_NAME
from ohmykube.model.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from ohmykube.config.problems import Path as ValuePath
    from ohmykube.config.registries import Entry
    from ohmykube.config.trust import Reader
    from ohmykube.model.registry import LoginPlace

FIELD: ValuePath = ("spec", "registries")


def registries(
    entries: Mapping[str, Entry], base: Path, certificates: Reader
) -> tuple[Registry, ...]:
    """Return what is said of registries, by name.

    Args:
        entries: of the document.
        base: directory that relative paths are taken from.
        certificates: reads those of authorities, and collects what is wrong with them.
    """
    return tuple(
        Registry(
            name=name,
            mirrors=one.mirrors,
            fallback=one.fallback,
            plain_http=one.plain_http,
            ca=certificates.read_one(one.ca, (*FIELD, name, "ca")) if one.ca else (),
            auth=_place(one.auth, base) if one.auth is not None else None,
        )
        for name, one in sorted(entries.items())
    )


def _place(place: LoginPlace, base: Path) -> LoginPlace:
    if place.docker_config is None:
        return place
    return replace(place, docker_config=absolute(str(place.docker_config), base))


def warnings(entries: Mapping[str, Entry]) -> Iterator[str]:
    """Say of mirrors that nodes look for them on themselves."""
    for name, one in sorted(entries.items()):
        for url in one.mirrors:
            parts = urllib.parse.urlsplit(url)
            if is_loopback(parts):
                place = dotted((*FIELD, name))
                here = f"this host is {HOST_NAME} (hostAccess)"
                yield f"{place}: {parts.hostname} is each node itself; {here}"
