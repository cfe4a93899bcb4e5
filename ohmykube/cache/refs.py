"""The list of references: what the blobs of the store are (``refs.json`` and ``index.json``)."""

from __future__ import annotations

import contextlib
import enum
import json
import time
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from ohmykube.errors import IntegrityError
from ohmykube.kit import files
from ohmykube.model.artifact import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ohmykube.cache.blobs import Pool
    from ohmykube.cache.layout import Layout

SCHEMA = 3
"""2 added what is known about the origin (sum, signature) and about the use (pin, times); 3 added
references of kind ``repacked``."""
_LOCK_SECONDS = 60.0


class Signature(enum.StrEnum):
    """What is known about a publisher's signature of an artifact."""

    UNCHECKED = "unchecked"
    VERIFIED = "verified"
    ABSENT = "absent"
    FAILED = "failed"


Key = tuple[Kind, str, str, str]


@dataclass(frozen=True, slots=True)
class Ref:
    """What a blob is. ``digest`` and ``size`` mean the same as in ``LockedArtifact``."""

    kind: Kind
    name: str
    version: str
    arch: str
    digest: str
    size: int
    source: str
    url: str = ""
    content_digest: str = ""
    upstream_sum: str = ""
    """The publisher's sum that the download was compared with, as ``sha256:<hex>``; of the archive,
    where the artifact was in one. Of what was built: module, its ``h1:`` sum, checksum database."""
    signature: Signature | str = ""
    """A value of ``Signature``; empty means nothing was recorded."""
    index: str = ""
    """For an image the digest of the index that its name led to, where the registry has one."""
    pinned: bool = False
    """``prune`` never takes it."""
    added_at: float = field(default=0, compare=False)
    """Unix time; ``set_ref`` fills it in."""
    last_used_at: float = field(default=0, compare=False)
    """Unix time of the last use that is known; 0 means none."""

    @property
    def key(self) -> Key:
        """Return what makes a reference unique."""
        return (self.kind, self.name, self.version, self.arch)


_NAMES = frozenset(one.name for one in fields(Ref))


class RefList:
    """``refs.json``, replaced in one step under its lock, and the ``index.json`` made from it."""

    def __init__(self, layout: Layout, pool: Pool) -> None:
        self._layout = layout
        self._pool = pool

    def read(self) -> dict[Key, Ref]:
        """Return all references by key; an unreadable file counts as empty.

        Raises:
            IntegrityError: a newer ohmykube wrote the file.
        """
        path = self._layout.refs
        try:
            with files.explained(self._layout.root), self._layout.reading():
                document = json.loads(path.read_bytes())
            schema = document["schema"]
            if schema > SCHEMA:
                raise IntegrityError(
                    "the cache was written by a newer ohmykube",
                    why=f"{path} has schema {schema}, this version knows {SCHEMA}",
                    hint="use that version, or another directory in OHMYKUBE_CACHE_DIR",
                    id="OMK-I-104",
                )
            refs = [_ref(entry) for entry in document["refs"]]
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError):
            return {}
        return {ref.key: ref for ref in refs}

    @contextlib.contextmanager
    def locked(self) -> Iterator[dict[Key, Ref]]:
        """Give all references to be changed; they are written when the block ends well."""
        self._layout.prepare()
        with self._layout.exclusive("refs", "the list of cached artifacts", _LOCK_SECONDS):
            refs = self.read()
            path = self._layout.refs
            if not refs and path.is_file() and path.stat().st_size:
                # Torn by something else than us: the blobs are still there, keep the evidence.
                self._layout.make(self._layout.quarantine)
                path.replace(self._layout.quarantine / f"refs-{int(time.time())}.json")
            yield refs
            ordered = sorted(refs.values(), key=lambda ref: ref.key)
            document = {"schema": SCHEMA, "refs": [asdict(ref) for ref in ordered]}
            self._layout.write(path, json.dumps(document, indent=1) + "\n")
            self._write_index(ordered)

    def rebuild(self, is_there: Callable[[str], bool]) -> tuple[int, int]:
        """Write both files anew; a lost list is made again from the images in ``index.json``.

        Args:
            is_there: tells whether a blob is there; references to others are dropped.

        Returns how many references were found again and how many were dropped.
        """
        found = 0
        with self.locked() as refs:
            if not refs:
                refs.update({ref.key: ref for ref in self._images_of_index()})
                found = len(refs)
            gone = [key for key, ref in refs.items() if not is_there(ref.digest)]
            for key in gone:
                del refs[key]
        return found, len(gone)

    def _images_of_index(self) -> list[Ref]:
        refs = []
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            document = json.loads((self._layout.oci / "index.json").read_bytes())
            for entry in document["manifests"]:
                name = entry["annotations"]["org.opencontainers.image.ref.name"]
                version = name.rpartition("/")[2].partition("@")[0].rpartition(":")[2]
                arch = entry["platform"]["architecture"]
                digest, size = entry["digest"], entry["size"]
                refs.append(
                    Ref(
                        Kind.IMAGE, name, version, arch, digest, size, "index", added_at=time.time()
                    )
                )
        return refs

    def _write_index(self, refs: list[Ref]) -> None:
        """Keep ``index.json`` in step, so that skopeo, crane and ctr can read the layout."""
        entries = []
        for ref in refs:
            blob = self._pool.find(ref.digest)
            if ref.kind is not Kind.IMAGE or blob is None:
                continue
            with contextlib.suppress(ValueError, AttributeError):
                media = json.loads(blob.path.read_bytes()).get("mediaType")
                entries.append(
                    {
                        "mediaType": media or "application/vnd.oci.image.manifest.v1+json",
                        "digest": ref.digest,
                        "size": blob.size,
                        "platform": {"os": "linux", "architecture": ref.arch},
                        "annotations": {
                            "io.containerd.image.name": ref.name,
                            "org.opencontainers.image.ref.name": ref.name,
                        },
                    }
                )
        media = "application/vnd.oci.image.index.v1+json"
        index = {"schemaVersion": 2, "mediaType": media, "manifests": entries}
        path = self._layout.oci / "index.json"
        self._layout.write(path, json.dumps(index, indent=1) + "\n", public=True)


def _ref(entry: dict[str, Any]) -> Ref:
    # Schema 1 does not have the later fields: they have defaults.
    known = {name: value for name, value in entry.items() if name in _NAMES}
    signature = known.get("signature", "")
    return Ref(
        **{
            **known,
            "kind": Kind(entry["kind"]),
            "signature": Signature(signature) if signature else "",
        }
    )
