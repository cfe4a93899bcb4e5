"""limactl's own cache of downloads: looked into, and filled as limactl fills it.

Each file has a directory named after the sha256 of its URL. limactl holds a lock on the directory
itself while it works there. It takes ``data`` without a question to the server when
``<algorithm>.digest`` has the very digest that the template demands, and does not hash it again: so
nothing may be seen there that was not hashed before. True of limactl 2.0 to 2.2.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

from ohmykube.errors import LockedError, PrerequisiteError
from ohmykube.kit import files, interrupt, locks
from ohmykube.kit.digest import PIECE
from ohmykube.kit.retry import SystemClock

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ohmykube.kit.retry import Clock

WAIT_SECONDS = 900.0
"""For a limactl that downloads the same file."""
_READABLE = 0o644


def locate(environ: Mapping[str, str], system: str) -> Path:
    """Return where a limactl with this environment keeps its downloads.

    Raises:
        PrerequisiteError: nowhere; limactl would refuse to work.
    """
    variable = "HOME" if system == "darwin" else "XDG_CACHE_HOME"
    chosen = environ.get(variable) or ""
    if system == "darwin":
        place = Path(chosen) / "Library" / "Caches"
    elif chosen:
        place = Path(chosen)
    else:
        variable = "HOME"
        place = Path(environ.get("HOME") or "") / ".cache"
    if not place.is_absolute():
        raise PrerequisiteError(
            "Lima has no place for its downloads",
            why=f"{variable} is {environ.get(variable)!r}, and limactl takes absolute paths only",
            hint=f"set {variable} to an absolute path, then run the same command again",
            id="OMK-P-572",
        )
    return place / "lima" / "download" / "by-url-sha256"


def copy(source: IO[bytes], sink: IO[bytes], size: int, digest: str) -> bool:
    """Copy at most ``size`` bytes; tell whether they have the digest."""
    algorithm, _, wanted = digest.partition(":")
    state, left = hashlib.new(algorithm), size
    while left and (chunk := source.read(min(PIECE, left))):
        interrupt.check()
        state.update(chunk)
        sink.write(chunk)
        left -= len(chunk)
    return state.hexdigest() == wanted


@dataclass(frozen=True, slots=True)
class Download:
    """The place of one URL in the cache at ``root``; nothing is made by naming it."""

    root: Path
    url: str
    clock: Clock = field(default_factory=SystemClock, compare=False)

    @property
    def directory(self) -> Path:
        """Where limactl keeps it."""
        return self.root / hashlib.sha256(self.url.encode()).hexdigest()

    @property
    def data(self) -> Path:
        """The file itself."""
        return self.directory / "data"

    def _proof(self, digest: str) -> Path:
        return self.directory / f"{digest.partition(':')[0]}.digest"

    def has(self, digest: str) -> bool:
        """Tell whether limactl would take it without asking anybody."""
        try:
            return self.data.is_file() and self._proof(digest).read_text().strip() == digest
        except (OSError, UnicodeDecodeError):
            return False

    @contextlib.contextmanager
    def filling(self, digest: str) -> Iterator[IO[bytes]]:
        """Give a stream whose content becomes the file in one step when the block ends well.

        The caller has made sure by then that the content has the digest. limactl is kept out
        meanwhile, and what was there before stays until that step.

        Raises:
            LockedError: a limactl works there for too long.
            PermissionDenied, ResourceError: as ``files.explained``.
        """
        files.ensure_directory(self.directory)
        with self._held():
            self._sweep()
            with files.replacing(self.data, _READABLE) as stream:
                yield stream
                self._forget()
                files.write(self.directory / "url", self.url, _READABLE)
                # Without data it says nothing: limactl looks for the data first.
                files.write(self._proof(digest), digest, _READABLE)

    def sweep(self) -> None:
        """Remove what a limactl that was killed left of a download, unless another one works."""
        with contextlib.suppress(FileNotFoundError, LockedError), self._held(wait=0.0):
            self._sweep()

    @contextlib.contextmanager
    def _held(self, wait: float = WAIT_SECONDS) -> Iterator[None]:
        descriptor = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            if not locks.acquire(descriptor, wait, self.clock):
                raise LockedError(
                    "limactl is downloading the machine image just now",
                    why=f"it still held {self.directory} after {wait:g} s",
                    hint="wait until it has ended, then run the same command again",
                    id="OMK-P-571",
                )
            yield
        finally:
            os.close(descriptor)

    def _sweep(self) -> None:
        files.sweep(self.directory)
        for left in self.directory.glob("data.tmp.*"):
            left.unlink(missing_ok=True)

    def _forget(self) -> None:
        """Take the old file away with all that was said of it."""
        self.data.unlink(missing_ok=True)
        for told in (*self.directory.glob("*.digest"), self.directory / "time"):
            told.unlink(missing_ok=True)
        (self.directory / "type").unlink(missing_ok=True)
        files.remove_tree(self.directory / "imgconv")
