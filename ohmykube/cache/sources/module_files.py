"""Files and charts out of Go modules: what a component's module holds beside its source.

A module is fetched by the go client or from Go's public proxy and checked against the ``h1:`` sum
in the catalog; what is taken out of it is checked against its digest. From then on the cache has
it.
"""

from __future__ import annotations

import contextlib
import fnmatch
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ohmykube.cache import chart, oci
from ohmykube.cache.sources import module_zip, toolchain
from ohmykube.cache.sources.go_command import GoCommand
from ohmykube.errors import IntegrityError
from ohmykube.kit import digest, files
from ohmykube.progress import item

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ohmykube.cache.catalog import ModuleFile, ModuleTree
    from ohmykube.cache.download import Downloader
    from ohmykube.cache.sources.module_zip import ModuleZip
    from ohmykube.cache.store import Store
    from ohmykube.progress import Reporter

    Fetch = Callable[[ModuleFile, Path], Path]

MODULE_BYTES = 500 << 20
"""The zip of a Go module may not be larger (https://go.dev/ref/mod#zip-path-size-constraints)."""
_SHOWN = 20


def take(file: ModuleFile, store: Store, reporter: Reporter, fetch: Fetch | None = None) -> Path:
    """Return the blob of a file or a chart, taken out of its module now or before.

    Args:
        file: what is wanted.
        store: the cache.
        reporter: told that it is being fetched.
        fetch: returns the zip of the module; it may write that into the directory it is given.
            Without it the go client of this host is asked.

    Raises:
        NetworkError: the module cannot be fetched.
        PrerequisiteError: there is no go client.
        IntegrityError: the module, or what is in it, is not what the catalog says.
        ResourceError: no space left.
    """
    if not store.has(file.digest):
        with store.holding(f"module {file.module}@{file.version}"):
            if not store.has(file.digest):
                with item(reporter, file.name, "fetching"), _work(store) as directory:
                    archive = (fetch or _by_go)(file, directory)
                    store.put_bytes(_read(file, archive), expected=file.digest)
    return store.path(file.digest)


def tree(wanted: ModuleTree, reporter: Reporter) -> dict[str, oci.Entry]:
    """Return files of a module by their absolute path in an image.

    Raises:
        NetworkError: the module cannot be fetched.
        PrerequisiteError: there is no go client.
        IntegrityError: the module is not what the catalog says, or lacks what is wanted.
    """
    found: dict[str, oci.Entry] = {}
    with item(reporter, wanted.name, "fetching"):
        archive = _zip(wanted)
    with module_zip.verified(archive, wanted.name, wanted.sum) as content:
        for place, path in wanted.places.items():
            mode = 0o755 if place in wanted.programs else 0o644
            data = content.file(path)
            files = {"": data} if data is not None else content.directory(path)
            if not files:
                raise _missing("a file nor a directory", path, wanted.name, content, path)
            found |= {
                f"{place}/{name}".rstrip("/"): oci.Entry(data=data, mode=mode)
                for name, data in files.items()
                if not _left_out(name, wanted.without)
            }
    return found


def _left_out(path: str, names: Sequence[str]) -> bool:
    return any(fnmatch.fnmatch(part, name) for part in path.split("/") for name in names)


def from_proxy(downloader: Downloader) -> Fetch:
    """Return what fetches the zip of a module from Go's public proxy."""

    def fetch(file: ModuleFile, directory: Path) -> Path:
        target = directory / "module.zip"
        downloader.save(file.zip_url, target, limit=MODULE_BYTES)
        return target

    return fetch


@contextlib.contextmanager
def _work(store: Store) -> Iterator[Path]:
    with files.explained(store.ingest):
        directory = Path(tempfile.mkdtemp(prefix=files.TEMP_PREFIX, dir=store.ingest))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _by_go(file: ModuleFile, _: Path) -> Path:
    return _zip(file)


def _zip(module: ModuleFile | ModuleTree) -> Path:
    """Return the zip in the cache of the go client, which fetches a newer one if it must."""
    local = toolchain.go()
    go = replace(local, env={**local.env, "GOTOOLCHAIN": "auto"})
    return GoCommand(go=go, name=f"{module.module}@{module.version}").download(module.sum).zip


def _read(file: ModuleFile, archive: Path) -> bytes:
    module = f"{file.module}@{file.version}"
    with module_zip.verified(archive, module, file.sum) as content:
        data = content.file(file.path)
        if data is None:
            data = _packed(file, module, content)
    found = digest.of_bytes(data)
    if found != file.digest:
        raise IntegrityError(
            f"{file.name} is not what was reviewed",
            why=f"expected {file.digest}\nfound    {found}",
            hint="if the module's sum in the catalog is right, correct this digest there",
            id="OMK-I-203",
        )
    return data


def _packed(file: ModuleFile, module: str, content: ModuleZip) -> bytes:
    files = content.directory(file.path)
    if chart.DESCRIPTION in files:
        return chart.archive(file.path.rpartition("/")[2], files)
    near = f"{file.path}/{chart.DESCRIPTION}"
    raise _missing("a file nor a chart", file.path, module, content, near)


def _missing(kinds: str, path: str, module: str, content: ModuleZip, near: str) -> IntegrityError:
    directory, names = content.around(near)
    shown = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
    return IntegrityError(
        f"there is neither {kinds} {path} in the module {module}",
        why=f"in its directory {directory} are: {shown}",
        hint="correct the path in the catalog",
        id="OMK-I-300",
    )
