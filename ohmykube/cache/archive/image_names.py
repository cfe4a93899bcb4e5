"""Image names as people and programs write them, and the one full form that nodes know."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.cache.registry_client import Reference
from ohmykube.errors import UsageError
from ohmykube.model import docker_hub

if TYPE_CHECKING:
    from collections.abc import Mapping

_FULL_NAME = "io.containerd.image.name"
_REF_NAME = "org.opencontainers.image.ref.name"


def full(text: str) -> str:
    """Return ``registry/name:tag`` as docker, containerd and the kubelet complete a short name.

    ``app`` becomes ``docker.io/library/app:latest``; a digest at the end is kept.

    Raises:
        UsageError: it is no image name.
    """
    name, at, digest = text.partition("@")
    first, slash, rest = name.partition("/")
    if not slash or not (set(first) & set(".:") or first == "localhost"):
        first, rest = docker_hub.REGISTRY, name if slash else f"library/{name}"
    elif first == docker_hub.LEGACY:
        first = docker_hub.REGISTRY
    if first == docker_hub.REGISTRY and "/" not in rest:
        rest = f"library/{rest}"
    if ":" not in rest and not at:
        rest += ":latest"
    complete = f"{first}/{rest}{at}{digest}"
    try:
        if text.startswith("-"):
            raise ValueError("an option")  # noqa: TRY301 - the same mistake
        Reference.parse(complete)
    except ValueError:
        raise UsageError(
            f"{ascii(text)[:80]} is not an image name" if text else "an image's name is empty",
            why="an image name looks like app:dev or registry.example/team/app:1.2",
            hint="docker images  (names that there are; an archive is given by its path)",
            id="OMK-I-507",
        ) from None
    return complete


def tag_of(reference: str) -> str:
    """Return the tag of a full reference, or an empty string."""
    name = reference.partition("@")[0]
    return name.rpartition(":")[2] if ":" in name.rpartition("/")[2] else ""


def repository_of(reference: str) -> str:
    """Return a full reference without tag and digest."""
    name = reference.partition("@")[0]
    return name.removesuffix(f":{tag_of(reference)}") if tag_of(reference) else name


def of_annotations(annotations: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names in an entry of ``index.json``; none when it has only a tag."""
    for key in (_FULL_NAME, _REF_NAME):
        text = annotations.get(key, "")
        # docker and skopeo write a bare tag into the second one: that alone names nothing.
        if text and (key == _FULL_NAME or "/" in text or ":" in text):
            return (full(text),)
    return ()
