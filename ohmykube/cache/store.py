"""Content-addressed store of artifacts, shared by all clusters and all runs of this user.

    oci/oci-layout, oci/index.json   a valid OCI image layout: other tools read it in place
    oci/blobs/sha256/<hex>           every blob of every kind, mode 0444, written once
    refs.json                        what the blobs are: kind, name, version, arch -> digest
    ingest/                          files on their way in; a crash leaves them here
    locks/                           a lock file for each key; never unlinked: two could hold it
    quarantine/                      what did not have the digest it should have

Only a rename makes a blob visible, after its bytes were hashed and reached the disk.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import json
import os
import re
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from ohmykube.cache import ingest
from ohmykube.errors import IntegrityError, LockedError, NotFoundError
from ohmykube.kit import digest as digests
from ohmykube.kit import files, locks
from ohmykube.model.artifact import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SCHEMA = 1
HOLD_SECONDS = 2 * 3600.0
"""How long ``holding`` waits for another run: longer than the slowest build."""
_KEY = re.compile(r"[^A-Za-z0-9._-]")


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

    @property
    def key(self) -> tuple[Kind, str, str, str]:
        """Return what makes a reference unique."""
        return (self.kind, self.name, self.version, self.arch)


class Store:
    """Blobs by sha256 and references to them below ``root`` (the cache directory).

    Every method may be called from several threads and processes at once. Directories are made by
    the first write, so a store that is only read may be on a read-only file system.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.layout = root / "oci"
        self.ingest = root / "ingest"
        self.quarantine = root / "quarantine"
        self._blobs = self.layout / "blobs" / "sha256"
        self._locks = root / "locks"
        self._refs = root / "refs.json"

    # -- blobs ---------------------------------------------------------------------------------

    def has(self, digest: str) -> bool:
        """Tell whether the blob is there; raises ValueError on a malformed digest."""
        return self._blob(digest).is_file()

    def path(self, digest: str) -> Path:
        """Return the file of a blob, to be read only.

        Raises:
            NotFoundError: it is not in the store.
            ValueError: malformed digest.
        """
        path = self._blob(digest)
        if not path.is_file():
            raise NotFoundError(
                f"{digest} is not in the cache",
                why=f"{path} does not exist",
                hint="run `ohmykube up` again to fetch it",
                id="OMK-I-101",
            )
        return path

    def put_bytes(self, data: bytes, *, expected: str | None = None) -> str:
        """Store ``data`` and return its digest; raises as ``put_stream``."""
        return self.put_stream(io.BytesIO(data), expected=expected)[0]

    def put_file(self, path: Path, *, expected: str | None = None) -> tuple[str, int]:
        """Store a copy of a file, return digest and size in bytes; raises as ``put_stream``."""
        with path.open("rb") as stream:
            return self.put_stream(stream, expected=expected)

    def put_stream(self, stream: IO[bytes], *, expected: str | None = None) -> tuple[str, int]:
        """Store everything that ``stream`` gives; return digest and size in bytes.

        A blob that is there already is replaced by the same bytes: a put heals a rotten blob.

        Raises:
            IntegrityError: the digest is not ``expected``; the bytes went to quarantine.
            ResourceError: no space left.
            PermissionDenied: the cache cannot be written.
        """
        self._prepare()
        with files.explained(self.ingest):
            descriptor, name = tempfile.mkstemp(prefix=ingest.PUT_PREFIX, dir=self.ingest)
        temp = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as target, files.explained(temp):
                # Held until the file is in place: ``sweep`` takes it for abandoned otherwise.
                fcntl.flock(target, fcntl.LOCK_EX)
                found, size = digests.copy(stream, target)
                target.flush()
                self._check(temp, found, expected)
                self._publish(temp, found)
        except BaseException:
            with contextlib.suppress(OSError):
                temp.unlink()
            raise
        return found, size

    def adopt(self, path: Path, *, expected: str | None = None) -> tuple[str, int]:
        """Move a finished file of ``ingest`` into the store without a copy.

        Returns digest and size in bytes; the file is gone afterwards whatever happens.

        Raises:
            IntegrityError: the digest is not ``expected``; the file went to quarantine.
        """
        with files.explained(path):
            found = digests.of_file(path)
            size = path.stat().st_size
            self._check(path, found, expected)
            self._publish(path, found)
        return found, size

    def verify(self, digest: str) -> int:
        """Hash a blob again and return its size in bytes.

        Raises:
            IntegrityError: it is not what its name says; it is in quarantine now.
            NotFoundError: it is not in the store.
        """
        path = self.path(digest)
        found = digests.of_file(path)
        if found == digest:
            return path.stat().st_size
        self._isolate(path, digest)
        hit = sorted({f"{r.kind} {r.name} {r.version}" for r in self.refs() if r.digest == digest})
        raise IntegrityError(
            f"the cached {', '.join(hit) or 'blob'} is damaged",
            why=f"{digest} hashes to {found}; it was moved to {self.quarantine}",
            hint="run `ohmykube up` again to fetch it anew; check the disk if this comes back",
            id="OMK-I-102",
        )

    def digests(self) -> tuple[str, ...]:
        """Return the digests of all blobs, sorted."""
        if not self._blobs.is_dir():
            return ()
        names = sorted(entry.name for entry in self._blobs.iterdir())
        return tuple(f"sha256:{n}" for n in names if digests.is_digest(f"sha256:{n}"))

    def discard(self, digest: str) -> int:
        """Remove a blob if it is there and return the bytes freed; for ``prune`` alone."""
        path = self._blob(digest)
        try:
            size = path.stat().st_size
            path.unlink()
        except FileNotFoundError:
            return 0
        return size

    def _blob(self, digest: str) -> Path:
        if not digests.is_digest(digest):
            raise ValueError(f"not a sha256 digest: {digest!r}")
        return self._blobs / digest.removeprefix("sha256:")

    def _check(self, path: Path, found: str, expected: str | None) -> None:
        if expected is None or found == expected:
            return
        self._isolate(path, found)
        raise IntegrityError(
            "an artifact does not have the digest it should have",
            why=f"expected {expected}\nfound    {found}, kept in {self.quarantine}",
            hint="run the same command again; if it stays, the source serves another file",
            id="OMK-I-103",
        )

    def _publish(self, temp: Path, digest: str) -> None:
        final = self._blob(digest)
        temp.chmod(0o444)
        files.sync_file(temp)
        temp.replace(final)
        files.sync_directory(final.parent)

    def _isolate(self, path: Path, digest: str) -> None:
        files.ensure_directory(self.quarantine)
        stamp = f"{int(time.time())}-{os.getpid()}"
        with contextlib.suppress(FileNotFoundError):  # another run was quicker
            path.replace(self.quarantine / f"{digest.removeprefix('sha256:')}-{stamp}")

    # -- references ----------------------------------------------------------------------------

    def refs(self) -> tuple[Ref, ...]:
        """Return all references, sorted; an unreadable file counts as empty.

        Raises:
            IntegrityError: a newer ohmykube wrote the file.
        """
        return tuple(sorted(self._read_refs().values(), key=lambda ref: ref.key))

    def ref(self, kind: Kind, name: str, version: str, arch: str) -> Ref | None:
        """Return one reference whose blob is there, or None."""
        found = self._read_refs().get((kind, name, version, arch))
        return found if found is not None and self.has(found.digest) else None

    def set_ref(self, ref: Ref) -> None:
        """Add or replace a reference; raises NotFoundError when its blob is not in the store."""
        self.path(ref.digest)
        with self._refs_locked() as refs:
            refs[ref.key] = ref

    def drop_ref(self, ref: Ref) -> None:
        """Remove a reference if it is there; the blob stays until ``prune``."""
        with self._refs_locked() as refs:
            refs.pop(ref.key, None)

    def _read_refs(self) -> dict[tuple[Kind, str, str, str], Ref]:
        try:
            document = json.loads(self._refs.read_bytes())
            schema = document["schema"]
            if schema > SCHEMA:
                raise IntegrityError(
                    "the cache was written by a newer ohmykube",
                    why=f"{self._refs} has schema {schema}, this version knows {SCHEMA}",
                    hint="use that version, or another directory in OHMYKUBE_CACHE_DIR",
                    id="OMK-I-104",
                )
            refs = [Ref(**{**entry, "kind": Kind(entry["kind"])}) for entry in document["refs"]]
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError):
            return {}
        return {ref.key: ref for ref in refs}

    @contextlib.contextmanager
    def _refs_locked(self) -> Iterator[dict[tuple[Kind, str, str, str], Ref]]:
        self._prepare()
        with self._exclusive("refs", "the list of cached artifacts", 60.0):
            refs = self._read_refs()
            if not refs and self._refs.is_file() and self._refs.stat().st_size:
                # Torn by something else than us: the blobs are still there, keep the evidence.
                files.ensure_directory(self.quarantine)
                self._refs.replace(self.quarantine / f"refs-{int(time.time())}.json")
            yield refs
            ordered = sorted(refs.values(), key=lambda ref: ref.key)
            document = {"schema": SCHEMA, "refs": [asdict(ref) for ref in ordered]}
            files.write(self._refs, json.dumps(document, indent=1) + "\n")
            self._write_index(ordered)

    def _write_index(self, refs: list[Ref]) -> None:
        """Keep ``index.json`` in step, so that skopeo, crane and ctr can read the layout."""
        entries = []
        for ref in refs:
            path = self._blob(ref.digest)
            if ref.kind is not Kind.IMAGE or not path.is_file():
                continue
            with contextlib.suppress(ValueError, AttributeError):
                media = json.loads(path.read_bytes()).get("mediaType")
                entries.append(
                    {
                        "mediaType": media or "application/vnd.oci.image.manifest.v1+json",
                        "digest": ref.digest,
                        "size": path.stat().st_size,
                        "platform": {"os": "linux", "architecture": ref.arch},
                        "annotations": {
                            "io.containerd.image.name": ref.name,
                            "org.opencontainers.image.ref.name": ref.name,
                        },
                    }
                )
        media = "application/vnd.oci.image.index.v1+json"
        index = {"schemaVersion": 2, "mediaType": media, "manifests": entries}
        files.write(self.layout / "index.json", json.dumps(index, indent=1) + "\n", 0o644)

    # -- locks and leftovers -------------------------------------------------------------------

    @contextlib.contextmanager
    def holding(self, key: str, waiting: Callable[[str], None] | None = None) -> Iterator[None]:
        """Be the only one, of all runs, that fetches or builds ``key`` while the block runs.

        Look again after entering: another run may have finished the work meanwhile.

        Args:
            key: what is fetched or built; any text.
            waiting: called once, with who holds it, when another run does.

        Raises:
            LockedError: another run held it for ``HOLD_SECONDS``.
        """
        name = _lock_name(key)
        with self.using(), contextlib.ExitStack() as stack:
            try:
                stack.enter_context(self._exclusive(name, key, 0.0))
            except LockedError as error:
                if waiting is not None:
                    waiting(error.why or "another run")
                stack.enter_context(self._exclusive(name, key, HOLD_SECONDS))
            yield

    @contextlib.contextmanager
    def using(self) -> Iterator[None]:
        """Keep ``prune`` away while the block relies on blobs that nothing refers to yet."""
        self._prepare()
        with self._users_file() as stream:
            fcntl.flock(stream, fcntl.LOCK_SH)
            yield

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep everybody away who is ``using`` the store; raises LockedError at once."""
        self._prepare()
        with self._users_file() as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise LockedError(
                    "the cache is in use by another run",
                    hint="wait until it has ended, then run the same command again",
                    id="OMK-I-105",
                ) from None
            yield

    def sweep(self) -> int:
        """Remove what crashed runs left in ``ingest`` and return the bytes freed."""
        return ingest.sweep(self.ingest)

    def _users_file(self) -> IO[str]:
        path = self._locks / "users.lock"
        with files.explained(path):
            return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+")

    def _exclusive(
        self, name: str, what: str, seconds: float
    ) -> contextlib.AbstractContextManager[int]:
        return locks.exclusive(self._locks / f"{name}.lock", what, wait_seconds=seconds)

    def _prepare(self) -> None:
        marker = self.layout / "oci-layout"
        if marker.is_file() and self.ingest.is_dir() and self._locks.is_dir():
            return
        for directory in (self._blobs, self.ingest, self._locks):
            files.ensure_directory(directory)
        tag = "Signature: 8a477f597d28d172789f06886806bc55\n# Made by ohmykube; safe to delete.\n"
        files.write(self.root / "CACHEDIR.TAG", tag, 0o644)
        files.write(marker, '{"imageLayoutVersion":"1.0.0"}', 0o644)


def _lock_name(key: str) -> str:
    short = hashlib.sha256(key.encode()).hexdigest()[:16]
    return f"{_KEY.sub('_', key)[:80]}-{short}"
