"""Attached bundles: their blobs are used where they lie, without a copy."""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ohmykube.cache.blobs import Blob
from ohmykube.errors import NotFoundError
from ohmykube.kit import files, paths, shell

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ohmykube.cache.layout import Layout

_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class AttachedBundle:
    """One attached bundle, as the file was when it was attached."""

    path: Path
    size: int
    mtime_ns: int
    blobs: Mapping[str, tuple[int, int]]
    """Digest to offset and size, in bytes."""

    @property
    def intact(self) -> bool:
        """Tell whether the file is still the one that was attached."""
        try:
            status = self.path.stat()
        except OSError:
            return False
        return (status.st_size, status.st_mtime_ns) == (self.size, self.mtime_ns)


class AttachedBundles:
    """One small file for each attached bundle, below ``attached/``."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._known: dict[Path, tuple[tuple[int, int], AttachedBundle | None]] = {}

    def add(self, bundle: Path, blobs: Mapping[str, tuple[int, int]]) -> None:
        """Remember a bundle; replaces what was known about the same path.

        Raises:
            NotFoundError: no such file.
            ValueError: a blob does not lie within the file.
        """
        path = paths.absolute(bundle)
        try:
            status = path.stat()
        except FileNotFoundError as error:
            raise NotFoundError(
                f"{path} does not exist", hint=f"ls -l {shell.word(path.parent)}", id="OMK-I-301"
            ) from error
        for digest, (offset, size) in blobs.items():
            if offset < 0 or size < 0 or offset + size > status.st_size:
                raise ValueError(f"{digest} does not lie within {path}")
        self._layout.prepare()
        self._layout.make(self._layout.attached)
        document = {
            "schema": _SCHEMA,
            "path": str(path),
            "size": status.st_size,
            "mtime_ns": status.st_mtime_ns,
            "blobs": {digest: list(place) for digest, place in sorted(blobs.items())},
        }
        self._layout.write(self._note(path), json.dumps(document) + "\n")

    def remove(self, bundle: Path) -> None:
        """Forget a bundle; nothing happens when it was not attached."""
        note = self._note(paths.absolute(bundle))
        with files.explained(note), contextlib.suppress(FileNotFoundError):
            note.unlink()

    def drop(self, blob: Blob) -> None:
        """Forget one blob of a bundle, because it is damaged; the others stay."""
        for bundle in self.all():
            # One that has changed is ignored whole; noted again, it would count as it is now.
            if bundle.path == blob.path and bundle.intact:
                self.add(blob.path, {d: p for d, p in bundle.blobs.items() if d != blob.digest})

    def all(self) -> tuple[AttachedBundle, ...]:
        """Return all bundles that were attached, by path, changed and absent ones too."""
        directory = self._layout.attached
        with self._layout.reading():
            notes = sorted(directory.glob("*.json")) if directory.is_dir() else []
        found = [bundle for note in notes if (bundle := self._read(note)) is not None]
        return tuple(sorted(found, key=lambda bundle: bundle.path))

    def find(self, digest: str) -> Blob | None:
        """Return a blob of a bundle that is still what it was, or None."""
        for bundle in self.all():
            place = bundle.blobs.get(digest)
            if place is not None and bundle.intact:
                return Blob(digest, bundle.path, *place)
        return None

    def _note(self, path: Path) -> Path:
        return self._layout.attached / f"{hashlib.sha256(bytes(path)).hexdigest()[:16]}.json"

    def _read(self, note: Path) -> AttachedBundle | None:
        try:
            status = note.stat()
            stamp = (status.st_mtime_ns, status.st_ino)
            known = self._known.get(note)
            if known is None or known[0] != stamp:
                known = self._known[note] = (stamp, _parse(note.read_bytes()))
        except FileNotFoundError:
            return None
        return known[1]


def _parse(data: bytes) -> AttachedBundle | None:
    """Return what a note says; None when it is torn, as if the bundle were not attached."""
    with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
        document: dict[str, Any] = json.loads(data)
        if document["schema"] == _SCHEMA:
            blobs = {str(d): (int(p[0]), int(p[1])) for d, p in document["blobs"].items()}
            path = Path(document["path"])
            return AttachedBundle(path, int(document["size"]), int(document["mtime_ns"]), blobs)
    return None
