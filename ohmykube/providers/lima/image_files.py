"""The files that a machine is made from: its image, and a kernel and initrd of a template.

limactl takes the first image of the machine's architecture that it can get. Only that first one
counts here: what is behind it in a list is for when the publisher removed it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ohmykube.errors import ConfigError
from ohmykube.kit import paths
from ohmykube.providers.lima import images

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ohmykube.providers.lima.images import Image

ROLES = ("image", "kernel", "initrd")
_KEY_DIGITS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One file."""

    role: str
    """One of ``ROLES``."""
    location: str
    """URL, or path on this host."""
    digest: str = ""

    @property
    def path(self) -> Path | None:
        """The file of the user's own, None for what is at a URL."""
        if "://" in self.location and not self.location.startswith("file://"):
            return None
        return paths.expanded(self.location.removeprefix("file://"))

    @property
    def proved(self) -> bool:
        """Whether it is the same wherever it comes from."""
        return self.path is None and images.is_digest(self.digest)


def of_image(image: Image) -> tuple[Part, ...]:
    """Return the parts of a machine that boots from ``image``."""
    return (Part(role="image", location=image.location, digest=image.digest),)


def entry_of(template: Mapping[str, Any], arch: str) -> Mapping[str, Any] | None:
    """Return the entry of ``images`` that limactl tries first on a host of Lima's name ``arch``."""
    named = template.get("arch")
    machine = named if named and named != "default" else arch
    entries: Sequence[Mapping[str, Any]] = template.get("images") or ()
    return next((one for one in entries if (one.get("arch") or machine) == machine), None)


def of_template(template: Mapping[str, Any], arch: str) -> tuple[Part, ...]:
    """Return the parts of a machine of the user's own Lima template.

    None when the images are those of another template that it builds on.

    Raises:
        ConfigError: it has no image for this architecture.
    """
    entry = entry_of(template, arch)
    if entry is None and template.get("base"):
        return ()
    if entry is None:
        raise ConfigError(
            f"the machine template has no image for {arch}",
            why="`images` has entries for other architectures only",
            hint="add one to the file that spec.provider.options.template names",
            id="OMK-P-578",
        )
    found = {"image": entry, "kernel": entry.get("kernel"), "initrd": entry.get("initrd")}
    return tuple(
        Part(role=role, location=str(one["location"]), digest=str(one.get("digest") or ""))
        for role, one in found.items()
        if isinstance(one, Mapping) and one.get("location")
    )


def key(parts: Sequence[Part]) -> str:
    """Return what identifies the content of proved parts, short; empty for none.

    Where they come from is no part of it: another host may get the same from a mirror.
    """
    if not parts:
        return ""
    if [part.role for part in parts] == ["image"]:
        return parts[0].digest.partition(":")[2][:_KEY_DIGITS]
    text = "".join(f"{part.role} {part.digest}\n" for part in parts)
    return hashlib.sha256(text.encode()).hexdigest()[:_KEY_DIGITS]
