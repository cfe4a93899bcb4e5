"""Texts of the user's files for nodes, which may be secret: the record has their sums alone.

They are kept as long as the cluster has the files, so that it can be configured without its file.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ohmykube.errors import IntegrityError
from ohmykube.kit import files
from ohmykube.state import layout

if TYPE_CHECKING:
    from pathlib import Path

    from ohmykube.model.cluster import Cluster, NodeFile


def read(directory: Path) -> dict[str, str]:
    """Return the texts of a cluster's files by their sha256.

    Args:
        directory: the cluster's.

    Raises:
        IntegrityError: what is kept is damaged.
        PermissionDenied: it cannot be read.
    """
    path = directory / layout.FILE_CONTENTS
    with files.explained(path):
        if not path.exists():
            return {}
        text = path.read_text()
    try:
        found = json.loads(text)
        return {str(digest): str(content) for digest, content in found.items()}
    except (ValueError, AttributeError) as error:
        raise IntegrityError(
            f"{path} is damaged",
            why=str(error),
            hint="run up with the cluster's file, which writes it anew",
            id="OMK-H-490",
        ) from error


def keep(directory: Path, cluster: Cluster, recorded: Cluster | None) -> None:
    """Keep the texts of a cluster's files, and those that it was recorded with; forget others.

    Raises:
        PermissionDenied, ResourceError: as ``kit.files``.
    """
    path = directory / layout.FILE_CONTENTS
    known = {one.sha256: one.content for one in _of(cluster) if one.content is not None}
    needed = {one.sha256 for each in (cluster, recorded) if each for one in _of(each)}
    if needed - known.keys():
        known = {**read(directory), **known}
    kept = {digest: known[digest] for digest in sorted(needed & known.keys())}
    if kept:
        files.write(path, json.dumps(kept))
    else:
        path.unlink(missing_ok=True)


def _of(cluster: Cluster) -> list[NodeFile]:
    return [*(one for node in cluster.nodes for one in node.files), *cluster.kubeadm.patches]
