"""The machine image between hosts: out of limactl's downloads into a plain tar, and back.

The tar has the files by their role, in the form of ``kit.plain_tar``. Which bytes they must be is
not asked of it: the digests are those of the description on the host that reads it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from ohmykube.errors import IntegrityError, ResourceError
from ohmykube.kit import files, plain_tar, shell
from ohmykube.providers.base import OwnPart
from ohmykube.providers.lima import image_files as of
from ohmykube.providers.lima.download_cache import Download, copy

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ohmykube.providers.lima.image_files import Part


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineImage:
    """The files that machines boot from: those that can go into a tar, and those that cannot."""

    parts: tuple[Part, ...]
    downloads: Path
    """See ``download_cache.locate``."""
    template: Path | None = None
    """The user's own Lima template."""

    @property
    def portable(self) -> tuple[Part, ...]:
        """The files with a URL and a digest, each URL once; all others stay behind."""
        proved = {part.location: part for part in reversed(self.parts) if part.proved}
        return tuple(part for part in self.parts if proved.get(part.location) is part)

    @property
    def version(self) -> str:
        """The key of these files; empty for none."""
        return of.key(self.portable)

    def own_parts(self) -> list[OwnPart]:
        """Return the files that only the user can bring to another host."""
        found = [self._left(part) for part in self.parts if not part.proved]
        if self.template is None:
            return found
        name = f"machine template {self.template}"
        if not self.parts:
            needed = "its `base` names them, so they are not known; embed that with limactl"
            found.append(OwnPart(name=f"image of the {name}", needed=needed, here=True))
        needed = "bring it to that path on every host"
        return [OwnPart(name=name, needed=needed, here=self.template.is_file()), *found]

    def _left(self, part: Part) -> OwnPart:
        name, path = f"machine {part.role} {part.location}", part.path
        if path is not None:
            needed = "a file of your own; bring it to that path on every host"
            return OwnPart(name=name, needed=needed, here=path.is_file())
        # Even with the file in its cache, limactl asks the server, which an offline run cannot.
        needed = "set its digest, or bring it as a file of every host"
        return OwnPart(name=f"{name} without a digest", needed=needed, here=False)

    def download(self, part: Part) -> Download:
        """Return a part's place in limactl's cache of downloads."""
        return Download(self.downloads, part.location)

    def is_downloaded(self) -> bool:
        """Tell whether limactl has all portable files."""
        return all(self.download(part).has(part.digest) for part in self.portable)

    def export_tar(self, target: Path) -> None:
        """Write the portable files, all downloaded, to the tar ``target``.

        Raises:
            IntegrityError: one is not what limactl took it for.
            ResourceError: no space left.
        """
        position = 0
        with files.explained(target), target.open("wb") as sink:
            for part in self.portable:
                with self._reading(part) as stream:
                    size = os.fstat(stream.fileno()).st_size
                    sink.write(plain_tar.header(part.role, size))
                    if not copy(stream, sink, size, part.digest):
                        raise self._damaged(part, f"it does not have the digest {part.digest}")
                sink.write(bytes(plain_tar.padding(size)))
                position += plain_tar.room(size)
            sink.write(bytes(plain_tar.ending(position)))

    @contextlib.contextmanager
    def _reading(self, part: Part) -> Iterator[IO[bytes]]:
        try:
            stream = files.reading_plain(self.download(part).data)
        except OSError as error:
            raise self._damaged(part, str(error)) from error
        with stream:
            yield stream

    def _damaged(self, part: Part, why: str) -> IntegrityError:
        return IntegrityError(
            f"the machine {part.role} among Lima's downloads is damaged",
            why=f"{self.download(part).data}: {why}",
            hint=f"rm -r {shell.word(self.download(part).directory)}  "
            "(then the same command again)",
            id="OMK-P-573",
        )

    def import_tar(self, source: Path) -> None:
        """Give limactl the files of a tar of ``export_tar``, unless it has them; all or none.

        Raises:
            IntegrityError: they are not what this cluster's description demands.
            ResourceError, PermissionDenied, LockedError: they cannot be written.
        """
        if self.is_downloaded():
            return
        with source.open("rb") as stream, contextlib.ExitStack() as stack:
            size = os.fstat(stream.fileno()).st_size
            self._make_room(size)
            # Whoever takes several locks takes them in one order.
            wanted = sorted(self.portable, key=lambda part: self.download(part).directory)
            sinks = {
                p.role: stack.enter_context(self.download(p).filling(p.digest)) for p in wanted
            }
            _Reader(stream, size).into(self.portable, sinks)

    def _make_room(self, size: int) -> None:
        there = next(path for path in [self.downloads, *self.downloads.parents] if path.exists())
        free = shutil.disk_usage(there).free
        if free < size:
            raise ResourceError(
                f"not enough space for the machine image below {self.downloads}",
                why=f"{free >> 20} MiB are free, {size >> 20} MiB are needed",
                hint="free some space, then run the same command again",
                id="OMK-P-575",
            )


class _Reader:
    """Reads a tar that may be hostile: it has the expected members and nothing else.

    No member is larger than the tar, for which there is room.
    """

    def __init__(self, stream: IO[bytes], size: int) -> None:
        self._stream = stream
        self._left = size

    def into(self, parts: Sequence[Part], sinks: dict[str, IO[bytes]]) -> None:
        """Write each member to its sink; raise IntegrityError unless all of it is right."""
        position = 0
        for part in parts:
            found = plain_tar.named(self._exactly(plain_tar.BLOCK))
            if found is None or found[0] != part.role:
                raise _bad(f"there is no member `{part.role}` where it should be")
            size = found[1]
            self._take(size)
            if not copy(self._stream, sinks[part.role], size, part.digest):
                raise _bad(f"its {part.role} does not have the digest {part.digest}")
            self._zeros(plain_tar.padding(size))
            position += plain_tar.room(size)
        self._zeros(plain_tar.ending(position))
        if self._left:
            raise _bad("something follows its end")

    def _take(self, size: int) -> None:
        if size > self._left:
            raise _bad("it is truncated")
        self._left -= size

    def _exactly(self, size: int) -> bytes:
        self._take(size)
        return self._stream.read(size)

    def _zeros(self, size: int) -> None:
        if self._exactly(size).strip(b"\0"):
            raise _bad("there is something where nothing should be")


def _bad(why: str) -> IntegrityError:
    return IntegrityError(
        "the machine image of the bundle cannot be trusted",
        why=why,
        hint="ohmykube bundle verify F --allowed-signers A  (who made it?)",
        id="OMK-P-574",
    )
