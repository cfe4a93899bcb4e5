"""Writing files so that a crash leaves the old or the new content, never a torn one."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING

from ohmykube.errors import OhmykubeError, PermissionDenied, ResourceError

if TYPE_CHECKING:
    from collections.abc import Iterator

TEMP_PREFIX = ".omk-tmp-"
_ENOSPC = (28, 122)  # ENOSPC, EDQUOT


def _sync(descriptor: int) -> None:
    # On macOS fsync alone does not reach the disk (fcntl(2) F_FULLFSYNC).
    full = getattr(fcntl, "F_FULLFSYNC", None)
    if full is not None:  # pragma: no cover - macOS only
        fcntl.fcntl(descriptor, full)
    else:
        os.fsync(descriptor)


def sync_directory(path: Path) -> None:
    """Make a rename or unlink in ``path`` durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def ensure_directory(path: Path, mode: int = 0o700) -> Path:
    """Create ``path`` with parents, each new one with ``mode``; return it."""
    missing = [p for p in [path, *path.parents] if not p.exists()]
    for directory in reversed(missing):
        with contextlib.suppress(FileExistsError), explained(directory):
            directory.mkdir(mode=mode)
            directory.chmod(mode)
    return path


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn an OSError on ``path`` into an error that says what to do."""
    try:
        yield
    except PermissionError as error:
        raise PermissionDenied(
            f"cannot write {path}", why=str(error), hint=f"ls -ld {path.parent}  (who owns it?)"
        ) from error
    except OSError as error:
        if error.errno in _ENOSPC:
            free = shutil.disk_usage(_existing(path)).free
            raise ResourceError(
                f"no space left for {path}",
                why=f"{free // (1 << 20)} MiB are free on that file system",
                hint="free some space, then run the same command again",
            ) from error
        raise


def _existing(path: Path) -> Path:
    return next(p for p in [path, *path.parents] if p.exists())


@contextlib.contextmanager
def replacing(path: Path, mode: int = 0o600) -> Iterator[IO[bytes]]:
    """Give a stream whose content replaces ``path`` in one step when the block ends well.

    Temp file in the same directory, fsync, rename, fsync of the directory; an exception removes
    the temp file and leaves ``path`` as it was.

    Raises:
        ResourceError: no space left.
        PermissionDenied: the directory cannot be written.
    """
    with explained(path):
        descriptor, name = tempfile.mkstemp(prefix=TEMP_PREFIX, dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                yield stream
                stream.flush()
                os.fchmod(stream.fileno(), mode)
                _sync(stream.fileno())
            Path(name).replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(name).unlink()
            raise
        sync_directory(path.parent)


def write(path: Path, data: bytes | str, mode: int = 0o600) -> None:
    """Replace the content of ``path`` in one step (see ``replacing``)."""
    with replacing(path, mode) as stream:
        stream.write(data.encode() if isinstance(data, str) else data)


def sweep(directory: Path) -> None:
    """Remove temp files that a crash left in ``directory``; call it under the directory's lock."""
    for leftover in directory.glob(f"{TEMP_PREFIX}*"):
        with contextlib.suppress(FileNotFoundError):
            leftover.unlink()


def remove_tree(path: Path) -> None:
    """Remove a directory tree without following links and without crossing into a mount.

    Raises:
        OhmykubeError: something is still mounted below ``path``; nothing was removed.
    """
    if not path.exists():
        return
    device = path.lstat().st_dev
    for root, directories, _files in os.walk(path):
        for name in directories:
            entry = Path(root) / name
            status = entry.lstat()
            if stat.S_ISDIR(status.st_mode) and status.st_dev != device:
                raise OhmykubeError(
                    f"{entry} is still mounted, so {path} was not removed",
                    hint=f"umount {entry}, then run the same command again",
                )
    shutil.rmtree(path)
