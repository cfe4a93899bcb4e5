"""Bring images that the user names into the store: from files, standard input or a program."""

from __future__ import annotations

import enum
import os
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from ohmykube.cache.archive import archive_reader, container_engines, image_names, images
from ohmykube.errors import NotFoundError, OhmykubeError, UsageError
from ohmykube.kit import amounts
from ohmykube.progress import item
from ohmykube.steps.step import Step

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Iterable, Sequence

    from ohmykube.cache.archive.archive_reader import ArchiveFiles
    from ohmykube.cache.store import Ref, Store
    from ohmykube.steps.context import Services

STDIN = "-"
_PATHS = ("/", "./", "../", "~")
_ENDINGS = (".tar", ".gz", ".tgz", ".zst")


class Origin(enum.StrEnum):
    """Where an image name is looked for."""

    AUTO = "auto"
    """A file or layout directory of that name, else the first program that has it."""
    DOCKER = "docker"
    PODMAN = "podman"
    NERDCTL = "nerdctl"


IMPORT_IMAGES = Step("import-images", "Read the images")


class ImageSources:
    """Where images that the user names are read from, and for which machines."""

    def __init__(
        self,
        store: Store,
        architectures: Iterable[str],
        *,
        origin: Origin = Origin.AUTO,
        reference: str = "",
        stdin: IO[bytes] | None = None,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Say how sources are read.

        Args:
            store: where images go.
            architectures: ``amd64``, ``arm64``: an image is taken for each that it has.
            origin: for image names.
            reference: name for an image that has none in its archive.
            stdin: what ``-`` reads; this process's standard input by default.
            tell: takes lines for the user.
        """
        self._store = store
        self._architectures = sorted(set(architectures))
        self._origin = origin
        self._reference = image_names.full(reference) if reference else ""
        self._stdin = stdin
        self._tell = tell

    def read(self, source: str) -> tuple[Ref, ...]:
        """Bring the images of one source into the store.

        Args:
            source: image name, path, or ``-`` for standard input.

        Raises:
            UsageError, NotFoundError: there is no such source.
            As ``archive.images`` and ``archive.container_engines``.
        """
        if not source:
            raise UsageError(
                "one SRC is empty",
                why="a shell makes an empty argument of a variable that is not set",
                hint="ohmykube image load app:dev  (or the path of an archive, or - for stdin)",
                id="OMK-I-526",
            )
        if source == STDIN:
            stream = self._stdin or os.fdopen(os.dup(sys.stdin.fileno()), "rb")
            return self._stream(cast("io.BufferedReader", stream), "standard input")
        path = Path(source)
        if self._origin is Origin.AUTO and _is_archive(path):
            with archive_reader.open_archive(path, self._store) as contents:
                return self._take(contents)
        if self._origin is Origin.AUTO and _looks_like_path(source):
            raise NotFoundError(
                f"there is no archive {source}",
                why="it is no file, and no directory with an oci-layout",
                hint="ls -l, or name an image of docker, podman or nerdctl",
                id="OMK-I-508",
            )
        image_names.full(source)  # refuses what no program could have, such as options
        wanted = (
            container_engines.PROGRAMS if self._origin is Origin.AUTO else (self._origin.value,)
        )
        program = container_engines.owner(source, wanted)
        return container_engines.save(program, source, lambda stream: self._stream(stream, source))

    def _stream(self, stream: io.BufferedReader, label: str) -> tuple[Ref, ...]:
        with archive_reader.read_stream(stream, label, self._store) as contents:
            return self._take(contents)

    def _take(self, contents: ArchiveFiles) -> tuple[Ref, ...]:
        """Take the images for each architecture that a node has."""
        refs: list[Ref] = []
        problems: list[OhmykubeError] = []
        told: list[str] = []
        for arch in self._architectures:
            try:
                found = images.read_images(contents, self._store, arch, told.append)
            except NotFoundError as error:
                problems.append(error)  # nodes of another architecture may still get theirs
                continue
            refs += images.import_images(contents, found, self._store, self._reference)
        for text in dict.fromkeys(told):
            self._tell(text)
        if not refs and problems:
            raise problems[0]
        return tuple(refs)


def import_images(
    services: Services, sources: Sequence[str], reader: ImageSources
) -> tuple[Ref, ...]:
    """Read every source before the next; return a reference for each image and architecture.

    Nothing of a bad one gets into the store; raises as ``ImageSources.read``.
    """
    found: dict[tuple[str, str], Ref] = {}
    with IMPORT_IMAGES.running(services) as result:
        for source in sources:
            label = "standard input" if source == STDIN else source
            with item(services.reporter, label, "read"):
                refs = reader.read(source)
            found |= {(ref.name, ref.arch): ref for ref in refs}
        size = sum({ref.digest: ref.size for ref in found.values()}.values())
        result.detail = (
            f"{amounts.count(len({name for name, _ in found}), 'image')}, {amounts.size(size)}"
        )
    return tuple(found.values())


def _is_archive(path: Path) -> bool:
    if path.is_dir():
        return (path / "oci-layout").is_file()
    return path.exists()


def _looks_like_path(source: str) -> bool:
    return source.startswith(_PATHS) or source.endswith(_ENDINGS)


def check_sources(sources: Sequence[str], reference: str) -> None:
    """Raise UsageError for sources that do not go together."""
    if not sources:
        raise UsageError("name an image or an archive", id="OMK-I-523")
    if sources.count(STDIN) > 1 or len(set(sources)) != len(sources):
        raise UsageError("a source is named twice", why=", ".join(sources), id="OMK-I-524")
    if reference and len(sources) != 1:
        raise UsageError("--ref names one image, and there are several sources", id="OMK-I-525")
