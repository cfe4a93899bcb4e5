"""The two marker files: who owns a cluster's directory and each machine in it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ohmykube.errors import IntegrityError
from ohmykube.kit import files
from ohmykube.model.cluster import Mount

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CLONES = 2
"""Schema of a machine that is a clone: who knows 1 alone would start it without its programs."""
MOUNTS = 3
"""Schema of a machine that sees directories of its host: who knows 2 alone would start it without
them."""
NETWORKS = 4
"""Schema of clusters whose machines have other networks than ``NETWORK``, and of such machines."""
SCHEMA = NETWORKS
"""The newest one known."""
NETWORK = "10.88.0.0/24"
"""Of the machines of clusters that do not record it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterRecord:
    """``cluster.json``."""

    cluster: str
    id: str
    """Random, new for each life of a cluster."""
    forwards: Mapping[str, int] = field(default_factory=dict)
    """``address:port`` inside -> port on 127.0.0.1 of the host."""
    networks: tuple[str, ...] = (NETWORK,)
    """Of the machines, one for each IP family, that of the primary one first."""
    mtu: int | None = None
    """Bytes of the largest packet between machines; None for the provider's own."""
    schema: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineRecord:
    """``machine.json``."""

    cluster: str
    node: str
    id: str
    """The cluster's id."""
    address: str
    """Of the primary IP family."""
    base: str
    """Key of the base image."""
    cpus: float | None = None
    memory_mib: int | None = None
    host_key: str = ""
    """Public ssh host key; empty until made."""
    complete: bool = False
    """False while it is being made for the first time."""
    template: str = ""
    """Key of the template that it is a clone of; empty for none."""
    mounts: tuple[Mount, ...] = ()
    secondary_address: str = ""
    """Of the other IP family, in a cluster of two."""
    schema: int = 1


def schema_of(template: str, mounts: Sequence[Mount], networks: Sequence[str]) -> int:
    """Return the least schema of a machine, so that who does not know it leaves it alone."""
    if tuple(networks) != (NETWORK,):
        return NETWORKS
    if mounts:
        return MOUNTS
    return CLONES if template else 1


R = TypeVar("R", ClusterRecord, MachineRecord)


def read(path: Path, kind: type[R]) -> R | None:
    """Return the record in ``path``; None when there is no such file.

    Raises:
        IntegrityError: it is not what we wrote, or was written by a newer version.
    """
    try:
        text = path.read_text()
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        content: Any = json.loads(text)
        if content["schema"] > SCHEMA:
            raise IntegrityError(
                f"{path} was written by a newer ohmykube",
                why=f"schema {content['schema']}, this version knows {SCHEMA}",
                hint="use the newer version",
                id="OMK-P-111",
            )
        known = {f.name for f in fields(kind)}
        values = {key: value for key, value in content.items() if key in known}
        if "mounts" in values:
            values["mounts"] = tuple(_mount(one) for one in values["mounts"])
        if "networks" in values:
            values["networks"] = tuple(values["networks"])
        return kind(**values)
    except (ValueError, TypeError, KeyError) as error:
        raise IntegrityError(
            f"{path} is not a marker of ours",
            why=f"{type(error).__name__}: {error}",
            hint=f"look at {path}; nothing beside it is touched while it is like this",
            id="OMK-P-112",
        ) from error


def write(path: Path, record: ClusterRecord | MachineRecord) -> None:
    """Write a record in one step, readable by root alone."""
    content = json.dumps(asdict(record), indent=1, sort_keys=True, default=str)
    files.write(path, content + "\n")


def _mount(content: Mapping[str, Any]) -> Mount:
    return Mount(**{**content, "host": Path(content["host"])})


def remove(path: Path) -> None:
    """Remove a record; none is fine."""
    path.unlink(missing_ok=True)
