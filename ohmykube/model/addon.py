"""What is told of add-ons, and what of them was applied: data that every room may read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

GROUP = "ohmykube.addons"
"""The entry-point group in which add-ons are registered by their names."""
CNI = "cni"
"""What an add-on provides that is a cluster's pod network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AddonFacts:
    """What an add-on is, before anything of it is resolved."""

    name: str
    """A DNS label, the name of its entry point."""
    summary: str
    """One line for people."""
    role: str
    """The Ansible role that installs and removes it: of a collection, or an absolute path."""
    versions: tuple[str, ...]
    """Those that can be installed, the preferred first."""
    provides: tuple[str, ...] = ()
    """What a cluster has once only, such as ``cni``."""
    needs: tuple[str, ...] = ()
    """Names of add-ons that must be there before it."""
    conflicts: tuple[str, ...] = ()
    """Names of add-ons that cannot be there beside it."""
    namespace: str = ""
    """Where its objects are when no other namespace is asked for; empty when that is fixed."""
    readiness: tuple[str, ...] = ()
    """What must be rolled out before it works: ``NAMESPACE/KIND/NAME``."""
    removal: Mapping[str, object] = field(default_factory=dict)
    """Variables with which its role removes it; none when it cannot be removed."""
    owns: tuple[str, ...] = ()
    """Data that is lost when it is removed, a phrase for each."""
    values: type[Any] | None = None
    """Schema of its values: a pydantic model; None when it takes none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirements:
    """What a cluster must be like."""

    oldest_kubernetes: str = ""
    """Oldest minor version, such as ``1.31``; empty for any."""
    newest_kubernetes: str = ""
    """Newest minor version; empty for any."""
    kernel: tuple[str, ...] = ()
    """Modules, loaded or built in, that nodes need."""
    memory_mib: int = 0
    """Of each node."""
    disks: int = 0
    """Unused disks of each node."""

    def fits(self, kubernetes: str) -> bool:
        """Tell whether a version such as ``1.36.3`` is within the range."""
        minor = _numbers(kubernetes)[:2]
        oldest, newest = _numbers(self.oldest_kubernetes), _numbers(self.newest_kubernetes)
        return (not oldest or minor >= oldest) and (not newest or minor <= newest)

    @property
    def range(self) -> str:
        """The versions of Kubernetes as they are read in a sentence; empty for any."""
        match self.oldest_kubernetes, self.newest_kubernetes:
            case "", "":
                return ""
            case oldest, "":
                return f"{oldest} or newer"
            case "", newest:
                return f"{newest} or older"
            case oldest, newest:
                return f"{oldest} to {newest}"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part)


class Requiring(Protocol):
    """A set of artifacts, as far as its requirements are asked for."""

    @property
    def requires(self) -> Requirements:
        """What a cluster must be like."""
        ...

    @property
    def end_of_life(self) -> str:
        """Last day on which its publisher mends it, ``YYYY-MM-DD``; empty when unknown."""
        ...


class Described(Protocol):
    """An add-on, as far as a description of a cluster is checked against it."""

    facts: AddonFacts

    def set(self, version: str) -> Requiring:
        """Return its artifacts in a version."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedAddon:
    """An add-on as it is handed to the playbook and written into the record: plain data."""

    name: str
    version: str
    role: str
    namespace: str = ""
    provides: tuple[str, ...] = ()
    variables: Mapping[str, Any] = field(default_factory=dict)
    """Variables of its role, those of its artifacts excepted; JSON types only."""
    removal: Mapping[str, Any] = field(default_factory=dict)
    """See ``AddonFacts``."""
    owns: tuple[str, ...] = ()
    """See ``AddonFacts``."""
