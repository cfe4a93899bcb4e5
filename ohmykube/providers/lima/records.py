"""What a cluster has here besides its machines: its network, and the ports that lead into it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from ohmykube.errors import IntegrityError
from ohmykube.kit import files
from ohmykube.model import names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ohmykube.providers.lima.lima_home import Home

SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterRecord:
    """``_omk/clusters/<cluster>.json``."""

    cluster: str
    network: str
    number: int
    """Third octet of the network's addresses."""
    endpoints: Mapping[str, int] = field(default_factory=dict)
    """``address:port`` of a node -> port on 127.0.0.1; for the cluster's life."""
    schema: int = SCHEMA

    @property
    def gateway(self) -> str:
        """The gateway that limactl is given; the real one, also for DNS, is .2."""
        return f"192.168.{self.number}.1"


def read(home: Home, cluster: str) -> ClusterRecord | None:
    """Return the record of a cluster; None when there is none.

    Raises:
        IntegrityError: it is not what we wrote, or a newer version did.
    """
    path = home.clusters / f"{cluster}.json"
    try:
        text = path.read_text()
    except OSError:
        return None
    try:
        raw: dict[str, Any] = json.loads(text)
        known = {f.name for f in fields(ClusterRecord)}
        found = ClusterRecord(**{key: value for key, value in raw.items() if key in known})
        _checked(found, cluster)
    except (ValueError, TypeError, AttributeError) as error:
        raise IntegrityError(
            f"{path} is not a record of ours",
            why=f"{type(error).__name__}: {error}",
            hint=f"use the version that wrote it; or remove {path}, and the cluster with it",
            id="OMK-P-521",
        ) from error
    return found


def _checked(found: ClusterRecord, cluster: str) -> None:
    if found.schema != SCHEMA or found.cluster != cluster or not 0 < found.number < 255:
        raise ValueError(f"schema {found.schema}, cluster {found.cluster!r}")


def write(home: Home, record: ClusterRecord) -> None:
    """Write a record in one step; the home is held alone."""
    files.ensure_directory(home.clusters)
    text = json.dumps(asdict(record), indent=1, sort_keys=True) + "\n"
    files.write(home.clusters / f"{record.cluster}.json", text)


def remove(home: Home, cluster: str) -> None:
    """Remove a record; none is fine."""
    (home.clusters / f"{cluster}.json").unlink(missing_ok=True)


def every(home: Home) -> tuple[ClusterRecord, ...]:
    """Return all records, by cluster."""
    if not home.clusters.is_dir():
        return ()
    stems = sorted(path.stem for path in home.clusters.glob("*.json"))
    found = (read(home, stem) for stem in stems if names.is_name(stem))
    return tuple(record for record in found if record is not None)
