"""What the collection consists of, as one digest of the parts that count for something."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from ohmykube.errors import OhmykubeError
from ohmykube.kit import paths

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def digest(names: Iterable[str], collection: Path | None = None) -> str:
    """Return one hash over names and bytes of files and of all that is below directories.

    Args:
        names: paths in the collection.
        collection: its root; ours by default.

    Raises:
        OhmykubeError: one of them is not there.
    """
    root = collection or paths.collections_root() / "ansible_collections/ohmykube/cluster"
    total = hashlib.sha256()
    for name in names:
        top = root / name
        files = [top] if top.is_file() else sorted(p for p in top.rglob("*") if p.is_file())
        if not files:
            raise OhmykubeError(
                f"the collection has no {name}",
                why=f"looked below {root}",
                hint="install ohmykube again",
                id="OMK-P-304",
            )
        for path in files:
            if path.suffix == ".pyc":
                continue
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            total.update(f"{path.relative_to(root)} {content}\n".encode())
    return total.hexdigest()
