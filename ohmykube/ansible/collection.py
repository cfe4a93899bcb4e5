"""What the collection consists of, as one digest of the parts that count for something."""

from __future__ import annotations

import functools
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ohmykube.errors import OhmykubeError
from ohmykube.kit import paths

if TYPE_CHECKING:
    from collections.abc import Iterable


def digest(names: Iterable[str], collection: Path | None = None) -> str:
    """Return one hash over names and bytes of files and of all that is below directories.

    Args:
        names: paths in the collection.
        collection: its root; ours by default, whose digest is that of when it was first asked for:
            of what is exchanged in the middle of a run nobody knows which nodes got it.

    Raises:
        OhmykubeError: one of them is not there.
    """
    return _own(tuple(names)) if collection is None else _read(names, collection)


@functools.cache
def _own(names: tuple[str, ...]) -> str:
    return _read(names, paths.collections_root() / "ansible_collections/ohmykube/cluster")


def _read(names: Iterable[str], root: Path) -> str:
    total = hashlib.sha256()
    for name in names:
        files = _files(root / name)
        if not files:
            raise OhmykubeError(
                f"the collection has no {name}",
                why=f"looked below {root}",
                hint="install ohmykube again",
                id="OMK-P-304",
            )
        for path in files:
            content = hashlib.sha256(Path(path).read_bytes()).hexdigest()
            total.update(f"{path.removeprefix(f'{root}/')} {content}\n".encode())
    return total.hexdigest()


def _files(top: Path) -> list[str]:
    """Return a file, or the files below a directory, in a fixed order; as text, which is quick."""
    if top.is_file():
        return [str(top)]
    found = (f"{place}/{name}" for place, _, names in os.walk(top) for name in names)
    return sorted(path for path in found if not path.endswith(".pyc"))
