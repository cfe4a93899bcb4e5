"""The front door of the cache: blobs by sha256, and references that say what they are.

Shared by all clusters and all runs of this user. Only a rename makes a blob visible, after its
bytes were hashed and reached the disk. ``layout`` lists what is where.
"""

from __future__ import annotations

import contextlib
import io
import os
import time
from dataclasses import replace
from typing import IO, TYPE_CHECKING

from ohmykube.cache import unfinished_files
from ohmykube.cache.attached_bundles import AttachedBundle, AttachedBundles
from ohmykube.cache.blobs import Blob, Pool
from ohmykube.cache.index import Index, Stamp
from ohmykube.cache.layout import HOLD_SECONDS, Layout
from ohmykube.cache.leases import Lease, Leases
from ohmykube.cache.refs import SCHEMA, Ref, RefList, Signature
from ohmykube.errors import IntegrityError, NotFoundError
from ohmykube.kit import shell
from ohmykube.kit.retry import SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from ohmykube.kit.retry import Clock
    from ohmykube.model.artifact import Kind

__all__ = ["HOLD_SECONDS", "SCHEMA", "AttachedBundle", "Blob", "Lease", "Ref", "Signature", "Store"]


class Store:
    """Blobs by sha256 and references to them below ``root`` (the cache directory).

    Every method may be called from several threads and processes at once. Directories are made by
    the first write, so a store that is only read may be on a read-only file system.
    """

    def __init__(self, root: Path) -> None:
        self._layout = Layout(root)
        self.root = root
        self.layout = self._layout.oci
        self.ingest = self._layout.ingest
        self.quarantine = self._layout.quarantine
        self._pool = Pool(self._layout)
        self._attached = AttachedBundles(self._layout)
        self._leases = Leases(self._layout)
        self._refs = RefList(self._layout, self._pool)
        self._index = Index(self._layout)

    # -- finding blobs -------------------------------------------------------------------------

    def locate(self, digest: str) -> Blob:
        """Return where a blob's bytes are: the pool first, then attached bundles.

        Raises:
            NotFoundError: it is in neither.
            ValueError: malformed digest.
        """
        blob = self._find(digest)
        if blob is None:
            raise self._absent(digest)
        return blob

    def _absent(self, digest: str) -> NotFoundError:
        return NotFoundError(
            f"{digest} is not in the cache",
            why=f"{self._pool.file(digest)} does not exist",
            hint="run `ohmykube up` again to fetch it",
            id="OMK-I-101",
        )

    def has(self, digest: str) -> bool:
        """Tell whether the blob is there, in the pool or attached; ValueError when malformed."""
        return self._find(digest) is not None

    def present(self, digests: Iterable[str]) -> dict[str, Blob]:
        """Return those of ``digests`` that are there now; others may be pruned at any time."""
        found = ((digest, self._find(digest)) for digest in digests)
        return {digest: blob for digest, blob in found if blob is not None}

    def path(self, digest: str) -> Path:
        """Return a file that holds exactly this blob, to be read only.

        A blob that lies in an attached bundle alone is copied into the pool first.

        Raises:
            NotFoundError: it is not in the store.
            IntegrityError: the bundle does not hold what it says.
            ValueError: malformed digest.
        """
        blob = self.locate(digest)
        if blob.path != self._pool.file(digest):
            with blob.open() as stream:
                self._pool.put(stream, digest)
        return self._pool.file(digest)

    def trusted(self, digest: str) -> Blob:
        """Return a blob whose bytes were hashed, now or when the file was last looked at.

        The record of the last hash counts while size, inode and modification time of the file
        are the same, for 30 days.

        Raises:
            IntegrityError: it is not what its name says; it is in quarantine now.
            NotFoundError: it is not in the store.
        """
        blob = self.locate(digest)
        try:
            stamp = Stamp.of(blob)
        except FileNotFoundError as error:  # pruned meanwhile
            raise self._absent(digest) from error
        if not self._index.is_verified(digest, stamp):
            self.verify(digest)
        self._index.touch((digest,))
        return blob

    def verify(self, digest: str, tell: Callable[[int], None] | None = None) -> int:
        """Hash a blob again and return its size in bytes.

        Args:
            digest: of the blob.
            tell: called now and then with the number of further bytes that were hashed. Who wants
                to know has much to check: it is read from the disk then, past the kernel's cache.

        Raises:
            IntegrityError: it is not what its name says. It is in quarantine now; in an attached
                bundle it is ignored from now on.
            NotFoundError: it is not in the store.
        """
        blob = self.locate(digest)
        try:
            stamp = Stamp.of(blob)
            found = blob.hash() if tell is None else blob.hash_disk(tell)
        except FileNotFoundError as error:  # pruned meanwhile
            raise self._absent(digest) from error
        if found == digest:
            self._index.verified(digest, stamp)
            return blob.size
        hit = sorted({f"{r.kind} {r.name} {r.version}" for r in self.refs() if r.digest == digest})
        names = ", ".join(hit) or "blob"
        self._index.forget((digest,))
        if blob.path != self._pool.file(digest):
            self._attached.drop(blob)
            raise IntegrityError(
                f"{names} is damaged in {blob.path}",
                why=f"{digest} hashes to {found} there; this blob is not used any more",
                hint=f"copy the bundle again, then: ohmykube bundle verify {shell.word(blob.path)}",
                id="OMK-I-302",
            )
        self._pool.isolate(blob.path, digest)
        raise IntegrityError(
            f"the cached {names} is damaged",
            why=f"{digest} hashes to {found}; it was moved to {self.quarantine}",
            hint="run `ohmykube up` again to fetch it anew; check the disk if this comes back",
            id="OMK-I-102",
        )

    def digests(self) -> tuple[str, ...]:
        """Return the digests of all blobs of the pool, sorted; attached ones are not among them."""
        return self._pool.digests()

    def _find(self, digest: str) -> Blob | None:
        return self._pool.find(digest) or self._attached.find(digest)

    # -- storing blobs -------------------------------------------------------------------------

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
        return self._arrived(*self._pool.put(stream, expected))

    def adopt(self, path: Path, *, expected: str | None = None) -> tuple[str, int]:
        """Move a finished file of ``ingest`` into the store without a copy.

        Returns digest and size in bytes; the file is gone afterwards whatever happens.

        Raises:
            IntegrityError: the digest is not ``expected``; the file went to quarantine.
        """
        return self._arrived(*self._pool.adopt(path, expected))

    def partial(self, digest: str) -> Path:
        """Return where a download of a blob is to be written, until ``adopt``.

        The name is the same for all runs, so that one goes on where another was ended; only the
        file of another user that this one cannot write is left alone.
        """
        path = self.ingest / (digest.removeprefix("sha256:") + unfinished_files.PART_SUFFIX)
        if path.exists() and not os.access(path, os.W_OK):
            return path.with_name(f"{path.stem}-{os.geteuid()}{unfinished_files.PART_SUFFIX}")
        return path

    def discard(self, digest: str) -> int:
        """Remove a blob if it is there and return the bytes freed; for ``prune`` alone."""
        self._index.forget((digest,))
        return self._pool.discard(digest)

    def _arrived(self, digest: str, size: int) -> tuple[str, int]:
        with contextlib.suppress(FileNotFoundError):  # another run has removed it already
            self._index.verified(digest, Stamp.of(Blob(digest, self._pool.file(digest), 0, size)))
        return digest, size

    # -- bundles read in place -----------------------------------------------------------------

    def attach(self, bundle: Path, blobs: Mapping[str, tuple[int, int]]) -> None:
        """Use the blobs of a bundle where they lie, in this run and later ones.

        They are ignored as soon as size or modification time of the file changes.

        Args:
            bundle: an uncompressed tar.
            blobs: digest to offset and size in that file, in bytes.

        Raises:
            NotFoundError: no such file.
            ValueError: a blob does not lie within the file.
        """
        self._attached.add(bundle, blobs)

    def detach(self, bundle: Path) -> None:
        """Forget an attached bundle; the file stays."""
        self._attached.remove(bundle)

    def attached(self) -> tuple[AttachedBundle, ...]:
        """Return all attached bundles, those whose files have changed or gone too."""
        return self._attached.all()

    # -- references ----------------------------------------------------------------------------

    def refs(self) -> tuple[Ref, ...]:
        """Return all references, sorted; an unreadable file counts as empty.

        Raises:
            IntegrityError: a newer ohmykube wrote the file.
            PermissionDenied: this user may not read the cache.
        """
        used = self._index.used()
        found = sorted(self._refs.read().values(), key=lambda ref: ref.key)
        return tuple(
            replace(ref, last_used_at=max(ref.last_used_at, used.get(ref.digest, 0.0)))
            for ref in found
        )

    def ref(self, kind: Kind, name: str, version: str, arch: str) -> Ref | None:
        """Return one reference whose blob is there, or None."""
        found = self._refs.read().get((kind, name, version, arch))
        if found is None or not self.has(found.digest):
            return None
        self._index.touch((found.digest,))
        return found

    def set_ref(self, ref: Ref) -> None:
        """Add or replace a reference.

        Raises:
            NotFoundError: its blob is not in the store.
            LockedError: another run kept the list for a minute.
        """
        self.set_refs((ref,))

    def set_refs(self, new: Iterable[Ref]) -> None:
        """Add or replace references in one step; raises as ``set_ref``, and sets none then."""
        # ``using``: between the look at the blob and the reference to it nobody may prune.
        with self.using(), self._refs.locked() as refs:
            for ref in new:
                self.locate(ref.digest)
                refs[ref.key] = ref if ref.added_at else replace(ref, added_at=time.time())

    def drop_refs(self, gone: Iterable[Ref]) -> None:
        """Remove references in one step; the blobs stay until ``prune``."""
        with self._refs.locked() as refs:
            for ref in gone:
                refs.pop(ref.key, None)

    def rebuild(self) -> tuple[int, int]:
        """Make ``index.db``, ``index.json`` and, as far as it can be, ``refs.json`` anew.

        Returns how many references were found again in ``index.json`` because the list was lost,
        and how many were dropped because their blobs are gone.
        """
        self._index.rebuild()
        return self._refs.rebuild(self.has)

    @property
    def trouble(self) -> str:
        """Return why nothing is remembered between runs (``index.db``); empty when it is."""
        return self._index.trouble

    def counters(self) -> dict[str, dict[str, int]]:
        """Return day (``2026-01-31``, UTC) to metric to sum."""
        return self._index.counters()

    # -- locks, leases and counters ------------------------------------------------------------

    @contextlib.contextmanager
    def lease(self, owner: str, digests: Iterable[str]) -> Iterator[None]:
        """Keep blobs from ``prune`` while the block runs, or until this process dies.

        What an image manifest among them leads to is kept too. Whoever serves for a long time
        takes a lease instead of ``using``: it stands in nobody's way.

        Args:
            owner: who needs them, for people, such as ``cluster dev``.
            digests: they need not be in the store yet.
        """
        with contextlib.ExitStack() as stack:
            wanted = tuple(digests)
            with self.using():  # prune looks at the leases while nobody is using the store
                if self._layout.writable:  # nobody prunes what cannot be written
                    stack.enter_context(self._leases.hold(owner, wanted))
            self._index.touch(wanted)
            yield

    def leases(self) -> tuple[Lease, ...]:
        """Return the leases of living processes."""
        return self._leases.living()

    def count(self, metric: str, n: int = 1) -> None:
        """Add to today's counter of ``hits``, ``misses``, ``bytes_in``, ``bytes_out`` and such.

        Counters are a courtesy: where the cache cannot be written they are not kept.
        """
        self._index.count(metric, n)

    def holding(
        self, key: str, waiting: Callable[[str], None] | None = None
    ) -> contextlib.AbstractContextManager[None]:
        """Be the only one, of all runs, that fetches or builds ``key`` while the block runs.

        Look again after entering: another run may have finished the work meanwhile.

        Args:
            key: what is fetched or built; any text.
            waiting: called once, with who holds it, when another run does.

        Raises:
            LockedError: another run held it for ``HOLD_SECONDS``.
        """
        return self._layout.holding(key, waiting)

    def using(self) -> contextlib.AbstractContextManager[None]:
        """Keep ``prune`` away while the block relies on blobs that nothing refers to yet."""
        return self._layout.using()

    def alone(
        self, wait_seconds: float = 0.0, clock: Clock | None = None
    ) -> contextlib.AbstractContextManager[None]:
        """Keep everybody away who is ``using`` the store; raises LockedError after the wait."""
        return self._layout.alone(wait_seconds, clock or SystemClock(), self._users)

    def _users(self) -> str:
        return "\n".join(f"{lease.owner}, pid {lease.pid}" for lease in self.leases())

    def sweep(self) -> int:
        """Remove what crashed runs left in ``ingest`` and return the bytes freed."""
        return sum(
            unfinished_files.remove(path) for path in unfinished_files.leftovers(self.ingest)
        )
