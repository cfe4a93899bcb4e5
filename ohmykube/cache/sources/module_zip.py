"""The zip of a Go module: checked as a whole against its ``h1:`` sum, then read by path.

A zip holds the files of one module: nothing of the modules nested in it, no links, and of
``vendor`` at most its list of modules (https://go.dev/ref/mod#zip-files).
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import zipfile
import zlib
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from ohmykube.errors import IntegrityError
from ohmykube.kit import interrupt

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path


class ModuleZip:
    """The files of one module, by their path in it; to be had from ``verified``."""

    def __init__(self, archive: zipfile.ZipFile, module: str) -> None:
        self._archive = archive
        prefix = f"{module}/"
        self._members = {
            info.filename.removeprefix(prefix): info
            for info in archive.infolist()
            if info.filename.startswith(prefix)
        }

    def file(self, path: str) -> bytes | None:
        """Return the content of a file, or None."""
        info = self._members.get(path)
        return None if info is None else self._archive.read(info)

    def directory(self, path: str) -> Mapping[str, bytes]:
        """Return the files at and below a directory by their path in it; empty without any."""
        prefix = f"{path}/"
        return {
            name.removeprefix(prefix): self._archive.read(info)
            for name, info in sorted(self._members.items())
            if name.startswith(prefix)
        }

    def around(self, path: str) -> tuple[str, tuple[str, ...]]:
        """Return the nearest directory above ``path`` that there is, and what lies in it."""
        above = (str(parent) for parent in PurePosixPath(path).parents)
        directory = next(parent for parent in above if parent == "." or self._names_in(parent))
        return directory, self._names_in(directory)

    def _names_in(self, directory: str) -> tuple[str, ...]:
        prefix = "" if directory == "." else f"{directory}/"
        below = (name.removeprefix(prefix) for name in self._members if name.startswith(prefix))
        return tuple(sorted({name.partition("/")[0] for name in below}))


@contextlib.contextmanager
def verified(path: Path, module: str, sum_: str) -> Iterator[ModuleZip]:
    """Open the zip of a module and hash all of its files.

    Args:
        path: the zip, such as ``go mod download`` leaves it in its cache.
        module: ``path@version``, as every name in the zip begins.
        sum_: the module's ``h1:`` sum.

    Raises:
        IntegrityError: it is not the module that the sum is of, or no zip.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            found = _sum_of(archive)
            if found != sum_:
                raise _other(module, f"expected {sum_}\nfound    {found}\nin {path}")
            yield ModuleZip(archive, module)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise _other(module, f"{path}: {error}") from error


def file_sum(name: str, data: bytes) -> str:
    """Return the ``h1:`` sum of a single file, as go.sum has it of a go.mod."""
    return _h1({name: hashlib.sha256(data).hexdigest()}.items())


def _sum_of(archive: zipfile.ZipFile) -> str:
    hashes = {}
    for info in archive.infolist():
        interrupt.check()
        hashes[info.filename] = hashlib.sha256(archive.read(info)).hexdigest()
    return _h1(hashes.items())


def _h1(hashes: Iterable[tuple[str, str]]) -> str:
    """Hash names and hashes of files as ``Hash1`` of golang.org/x/mod/sumdb/dirhash does."""
    lines = "".join(f"{sha256}  {name}\n" for name, sha256 in sorted(hashes))
    return "h1:" + base64.b64encode(hashlib.sha256(lines.encode()).digest()).decode()


def _other(module: str, why: str) -> IntegrityError:
    return IntegrityError(
        f"the module {module} is not the one that was reviewed",
        why=why,
        hint="run the same command again; if this comes back: go clean -modcache",
        id="OMK-I-205",
    )
