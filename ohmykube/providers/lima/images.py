"""Machine images: by name from ``images.yaml``, or the user's own, always with what proves them.

A remote image is taken only with its digest; ``allowUnverifiedImage`` is the user's word for one
without. A file on this host is the user's own and needs none.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ohmykube.errors import ConfigError
from ohmykube.kit import architecture, paths, plain_yaml

if TYPE_CHECKING:
    from collections.abc import Mapping

CATALOG = Path(__file__).with_name("images.yaml")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """What a machine boots from."""

    location: str
    """https URL, or absolute path on this host."""
    arch: str
    """Lima's name of the architecture."""
    digest: str = ""
    """``sha256:…``, ``sha384:…`` or ``sha512:…``; empty for a file, or where the user allows it."""


@functools.cache
def catalog() -> Mapping[str, Any]:
    """Return what ``images.yaml`` holds."""
    found: Mapping[str, Any] = plain_yaml.load(CATALOG.read_text())
    return found


def known() -> tuple[str, ...]:
    """Return the names of our images."""
    return tuple(catalog()["images"])


def is_digest(text: str) -> bool:
    """Tell whether ``text`` is a digest that limactl can check."""
    return _DIGEST.fullmatch(text) is not None


def choose(name: str, arch: str, *, digest: str = "", unverified: bool = False) -> Image:
    """Return the image that the user asked for.

    Args:
        name: one of ``known()``, an https URL or an absolute path; empty for the default.
        arch: ``amd64`` or ``arm64``.
        digest: of a URL.
        unverified: take an image without digest.

    Raises:
        ConfigError: there is none like that, or it has no digest.
    """
    entries = catalog()["images"]
    name = name or catalog()["default"]
    if name in entries:
        entry = entries[name].get(arch)
        if entry is None:
            raise _wrong(f"image {name} is not made for {arch}")
        found = Image(
            location=entry["url"], arch=architecture.KERNEL_NAMES[arch], digest=entry["digest"]
        )
        return verified(found, unverified=unverified)
    if arch not in architecture.KERNEL_NAMES:
        raise _wrong(f"machines of architecture {arch} cannot be made")
    if name.startswith(("https://", "http://")):
        if digest and not is_digest(digest):
            raise _wrong(f"digest {digest!r} is none of sha256:HEX, sha384:HEX, sha512:HEX")
        mine = Image(location=name, arch=architecture.KERNEL_NAMES[arch], digest=digest)
        return verified(mine, unverified=unverified)
    path = paths.expanded(name) if name.startswith("~") else Path(name)
    if path.is_absolute():
        if not path.is_file():
            raise _wrong(f"the image {path} is not there")
        return Image(location=str(path), arch=architecture.KERNEL_NAMES[arch])
    raise _wrong(f"there is no image {name!r}", f"known: {', '.join(known())}, a URL, or a path")


def verified(image: Image, *, unverified: bool) -> Image:
    """Return ``image`` if it is proved by a digest, a file of this host, or the user's word.

    Raises:
        ConfigError: it is not.
    """
    if image.digest or unverified or image.location.startswith("/"):
        return image
    raise ConfigError(
        f"the machine image {image.location} has no digest",
        why="whoever can change what is behind that address would be root on every node",
        hint="set `digest: sha256:…` in spec.provider.options, or allowUnverifiedImage: true",
        id="OMK-P-511",
    )


def _wrong(message: str, why: str = "") -> ConfigError:
    return ConfigError(message, why=why or None, hint="ohmykube config validate", id="OMK-P-512")
