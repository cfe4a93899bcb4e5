"""Records of the hosts that were set up: enough to find them again and to reset them."""

from __future__ import annotations

import contextlib
import json
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ohmykube.errors import IntegrityError
from ohmykube.kit import files, locks
from ohmykube.model.cluster import Host

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """A node as it was set up, or was about to be."""

    host: Host
    address: str
    """Address for other nodes; empty until it was set up."""
    marked: bool
    """The host may have our marker. It was noted before the marker was put there."""


class Records:
    """``<data>/ssh/<cluster>``: ``cluster.json``, ``known_hosts`` and ``nodes/<node>.json``."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def directory(self, cluster: str) -> Path:
        """Return the path of a cluster's files; it need not exist."""
        return self._root / cluster

    def known_hosts(self, cluster: str) -> Path:
        """Return the file with the pinned host keys."""
        return self.directory(cluster) / "known_hosts"

    def clusters(self) -> list[str]:
        """Return the names of clusters with at least one node, sorted."""
        if not self._root.is_dir():
            return []
        return sorted(p.name for p in self._root.iterdir() if self.nodes(p.name))

    def nodes(self, cluster: str) -> list[str]:
        """Return the names of nodes that are or were about to be set up, sorted."""
        return sorted(path.stem for path in (self.directory(cluster) / "nodes").glob("*.json"))

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold these files."""
        with locks.exclusive(self._root / "lock", "the list of hosts", wait_seconds=30):
            yield

    def identity(self, cluster: str) -> str | None:
        """Return the cluster's id, None when it has none yet."""
        path = self.directory(cluster) / "cluster.json"
        content = _read(path)
        return None if content is None else str(content.get("id", ""))

    def register(self, cluster: str, node: str, host: Host) -> str:
        """Remember a node that is about to be set up; return the cluster's id, made if need be."""
        with self.locked():
            identity = self.identity(cluster)
            if not identity:
                identity = uuid.uuid4().hex
                files.ensure_directory(self.directory(cluster) / "nodes")
                content = json.dumps({"schema": 1, "cluster": cluster, "id": identity})
                files.write(self.directory(cluster) / "cluster.json", content)
            if self.get(cluster, node) is None:
                self.put(cluster, node, Remembered(host=host, address="", marked=False))
            return identity

    def write_known_hosts(self, cluster: str, text: str) -> None:
        """Write the pinned host keys."""
        with self.locked():
            path = self.known_hosts(cluster)
            if not path.exists() or path.read_text() != text:
                files.ensure_directory(path.parent)
                files.write(path, text)

    def _node(self, cluster: str, node: str) -> Path:
        return self.directory(cluster) / "nodes" / f"{node}.json"

    def put(self, cluster: str, node: str, known: Remembered) -> None:
        """Remember a node."""
        content = {
            "schema": 1,
            "address": known.address,
            "host": _plain(known.host),
            "marked": known.marked,
        }
        text = json.dumps(content, sort_keys=True)
        path = self._node(cluster, node)
        if not path.exists() or path.read_text() != text:
            files.ensure_directory(path.parent)
            files.write(path, text)

    def get(self, cluster: str, node: str) -> Remembered | None:
        """Return what is remembered of a node."""
        content = _read(self._node(cluster, node))
        if content is None:
            return None
        fields = dict(content["host"])
        if fields.get("identity_file"):
            fields["identity_file"] = Path(fields["identity_file"])
        # Releases that did not say whether it is marked wrote this down before they put the marker.
        marked = bool(content.get("marked", True))
        return Remembered(host=Host(**fields), address=str(content["address"]), marked=marked)

    def forget(self, cluster: str, node: str) -> None:
        """Forget a node; with the last one, the cluster."""
        directory = self.directory(cluster)
        if not directory.exists():
            return
        with self.locked():
            self._node(cluster, node).unlink(missing_ok=True)
            if not self.nodes(cluster):
                files.remove_tree(directory)


def _plain(host: Host) -> dict[str, Any]:
    content = asdict(host)
    content["identity_file"] = str(host.identity_file) if host.identity_file else None
    return content


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content: Any = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(content, dict) or content.get("schema") != 1:
        raise _damaged(path, "not a file of this version")
    return content


def _damaged(path: Path, why: str) -> IntegrityError:
    return IntegrityError(
        f"{path} is damaged", why=why, hint=f"look at {path}; ohmykube up", id="OMK-V-130"
    )
