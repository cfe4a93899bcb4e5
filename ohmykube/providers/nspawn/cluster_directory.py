"""The directory of all nspawn clusters: what is in it, read and never changed."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from ohmykube.kit import files
from ohmykube.model.names import HIDDEN
from ohmykube.providers.nspawn import records
from ohmykube.providers.nspawn.layout import ClusterFiles
from ohmykube.providers.nspawn.records import ClusterRecord, MachineRecord
from ohmykube.providers.nspawn.subnet import Subnet

if TYPE_CHECKING:
    from pathlib import Path

    from ohmykube.model.networks import IpNetwork


class ClusterDirectory:
    """The clusters below one data directory."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def files(self, cluster: str) -> ClusterFiles:
        """Return the paths of a cluster's files; they need not exist."""
        return ClusterFiles(self.root / cluster)

    def record(self, cluster: str) -> ClusterRecord | None:
        """Return the record of exactly this cluster, or None.

        Raises:
            IntegrityError: the file is not ours, or is of another cluster.
        """
        record = records.read(self.files(cluster).marker, ClusterRecord)
        return record if record is not None and record.cluster == cluster else None

    def machine(self, cluster: str, node: str) -> MachineRecord | None:
        """Return the record of exactly this machine; None when there is none or it is not ours."""
        record = records.read(self.files(cluster).node(node).marker, MachineRecord)
        owner = self.record(cluster)
        if record is None or owner is None:
            return None
        ours = (record.cluster, record.node, record.id) == (cluster, node, owner.id)
        return record if ours else None

    def subnet(self, cluster: str) -> Subnet:
        """Return the networks of a cluster's machines."""
        record = self.record(cluster)
        if record is None:
            return Subnet.of((records.NETWORK,))
        return Subnet.of(record.networks, record.mtu)

    def nodes(self, cluster: str) -> list[str]:
        """Return the names of all node directories, sorted."""
        with contextlib.suppress(FileNotFoundError):
            return sorted(p.name for p in self.files(cluster).nodes.iterdir() if p.is_dir())
        return []

    def directory(self, cluster: str, node: str) -> Path:
        """Return the paths of a node's files; they need not exist."""
        return self.files(cluster).node(node).root_dir

    @staticmethod
    def foreign(directory: Path) -> bool:
        """Tell whether a directory without a marker of ours holds anything.

        An empty one, or one with nothing but an unfinished marker, is what a crash of ours leaves.
        """
        if not directory.is_dir():
            return False
        return any(not p.name.startswith(files.TEMP_PREFIX) for p in directory.iterdir())

    def names(self) -> list[str]:
        """Return the names of all clusters here, sorted."""
        if not self.root.is_dir():
            return []
        found = [p.name for p in self.root.iterdir() if (p / "cluster.json").is_file()]
        return sorted(name for name in found if self.record(name) is not None)

    def hidden(self) -> list[str]:
        """Return the names of the directories of clusters that are made for ohmykube itself."""
        return sorted(path.name for path in self.root.glob(f"{HIDDEN}*"))

    def networks_of_others(self, cluster: str) -> list[IpNetwork]:
        """Return the networks of the machines of all other clusters here."""
        names = [one for one in self.names() if one != cluster and not one.startswith(HIDDEN)]
        return [network for one in names for network in self.subnet(one).networks]
