"""Which cluster owns a name on this host: names of namespaces and cgroups are the machine's.

Namespaces and cgroups are named after the cluster for the whole host, while several users of
``OHMYKUBE_HOME`` may each have a cluster of that name in their files. The first one has the name
until the cluster is deleted; a reboot frees all names, as it ends all nodes.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ohmykube.errors import IntegrityError, LockedError
from ohmykube.kit import files, locks
from ohmykube.providers.nspawn import layout, network, records

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ohmykube.providers.nspawn.cgroups import Cgroups
    from ohmykube.providers.nspawn.host_system import HostSystem


@dataclass(frozen=True, slots=True)
class Claim:
    """Content of a claim file."""

    id: str
    """Id of the cluster."""
    directory: str
    """Directory that holds its ``cluster.json``."""

    @property
    def alive(self) -> bool:
        """Whether that cluster still exists in its owner's files."""
        try:
            marker = layout.ClusterFiles(Path(self.directory)).marker
            record = records.read(marker, records.ClusterRecord)
        except IntegrityError:
            return True
        return record is not None and record.id == self.id


class Claims:
    """The claim files in ``<run>/nspawn``."""

    def __init__(self, host: HostSystem, cgroups: Cgroups) -> None:
        self._host = host
        self._cgroups = cgroups

    def _path(self, cluster: str) -> Path:
        return self._host.run / "nspawn" / f"{cluster}.json"

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with locks.exclusive(self._host.run / "nspawn.lock", "the host's names", wait_seconds=60):
            yield

    def read(self, cluster: str) -> Claim | None:
        """Return who has the name, or None."""
        try:
            content = json.loads(self._path(cluster).read_text())
            return Claim(str(content["id"]), str(content["directory"]))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):
            return None

    def take(self, cluster: str, mine: Claim) -> None:
        """Claim the name for ``mine``; repeatable.

        Raises:
            LockedError: another living cluster has it.
        """
        with self._locked():
            theirs = self.read(cluster)
            if theirs == mine:
                return
            netns = layout.cluster_netns(cluster)
            if theirs is None:
                if network.exists(self._host, netns):
                    why = f"network namespace {netns} is there, and not of a cluster known here"
                    raise _taken(cluster, why, "choose another cluster name")
            elif theirs.alive and theirs.directory != mine.directory:
                why = f"a cluster of that name lives in {theirs.directory}"
                hint = "choose another cluster name, or delete that cluster first"
                raise _taken(cluster, why, hint)
            else:
                # Its files are gone without `down`: end what still runs of it.
                self._sweep(cluster)
            files.ensure_directory(self._path(cluster).parent)
            files.write(self._path(cluster), json.dumps(asdict(mine)))

    def orphaned(self, cluster: str, directory: Path) -> bool:
        """Tell whether the cluster's files, which were in ``directory``, are gone but it is not."""
        claim = self.read(cluster)
        return claim is not None and claim.directory == str(directory) and not claim.alive

    def release(self, cluster: str) -> None:
        """End what is left of the cluster's network and cgroups, and free the name.

        Only for who has the name.
        """
        with self._locked():
            if self.read(cluster) is None:
                return
            self._sweep(cluster)
            self._path(cluster).unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                self._path(cluster).parent.rmdir()

    def _sweep(self, cluster: str) -> None:
        group = layout.cluster_group(cluster)
        if self._cgroups.exists(group):
            self._cgroups.kill(group)
            self._cgroups.remove(group)
        self._cgroups.remove_if_empty(group[:-1])
        prefix = layout.node_netns(cluster, "")
        names = [path.name for path in self._host.netns.glob("omk-*")]
        for name in sorted(names):
            if name == layout.cluster_netns(cluster) or name.startswith(prefix):
                network.remove(self._host, name)


def _taken(cluster: str, why: str, hint: str) -> LockedError:
    return LockedError(
        f'the name "{cluster}" is taken on this host', why=why, hint=hint, id="OMK-P-161"
    )
