"""What flags change in a cluster file; light, so that the command line can import it."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class AddonChange:
    """What a command makes of one add-on of a cluster."""

    name: str
    remove: bool = False
    preferred: bool = False
    """Take the version that this release prefers, unless ``version`` names another."""
    version: str | None = None
    """None leaves the version as it is."""
    namespace: str | None = None
    values: Mapping[str, Any] | None = None
    """All of its values; None leaves them as they are."""
    settings: Mapping[tuple[str, ...], Any] = field(default_factory=dict)
    """Single values by the keys that lead to them, put among the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """Values from flags, as typed; None leaves the file's value. They are checked with the file."""

    name: str | None = None
    kubernetes_version: str | None = None
    provider: str | None = None
    control_planes: int | None = None
    workers: int | None = None
    cpus: float | None = None
    """For every node."""
    memory: str | None = None
    """For every node, with its unit."""
    disk: str | None = None
    """For every node, with its unit."""
    cni: str | None = None
    proxy_mode: str | None = None
    mirror: str | None = None
    sources: tuple[str, ...] | None = None
    template: str | None = None
    addons: tuple[AddonChange, ...] | None = None

    def __bool__(self) -> bool:
        """Tell whether any flag was given."""
        return any(getattr(self, one.name) is not None for one in fields(self))


FLAGS = {
    "name": "--name",
    "kubernetes_version": "--kubernetes",
    "provider": "--provider",
    "control_planes": "--control-planes",
    "workers": "--workers",
    "cpus": "--cpus",
    "memory": "--memory",
    "disk": "--disk",
    "cni": "--cni",
    "proxy_mode": "--proxy-mode",
    "mirror": "--mirror",
    "sources": "--sources",
    "template": "--template",
    "addons": "NAME",
}
"""The flag of each field, as problems name it."""
