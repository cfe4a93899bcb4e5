"""Files and charts out of Go modules: what a component's module holds beside its source.

A module is fetched by the go client and checked against the ``h1:`` sum in the catalog, what is
taken out of it against its digest. From then on the cache has it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ohmykube.cache import chart
from ohmykube.cache.sources import module_zip, toolchain
from ohmykube.cache.sources.go_command import GoCommand
from ohmykube.errors import IntegrityError
from ohmykube.kit import digest
from ohmykube.progress import item

if TYPE_CHECKING:
    from pathlib import Path

    from ohmykube.cache.catalog import ModuleFile
    from ohmykube.cache.sources.module_zip import ModuleZip
    from ohmykube.cache.sources.toolchain import Go
    from ohmykube.cache.store import Store
    from ohmykube.progress import Reporter

_SHOWN = 20


def take(file: ModuleFile, store: Store, reporter: Reporter) -> Path:
    """Return the blob of a file or a chart, taken out of its module now or before.

    Raises:
        NetworkError: the module cannot be fetched.
        PrerequisiteError: there is no go client.
        IntegrityError: the module, or what is in it, is not what the catalog says.
        ResourceError: no space left.
    """
    if not store.has(file.digest):
        module = f"{file.module}@{file.version}"
        with store.holding(f"module {module}"):
            if not store.has(file.digest):
                with item(reporter, file.name, "fetching"):
                    store.put_bytes(_read(file, module), expected=file.digest)
    return store.path(file.digest)


def _read(file: ModuleFile, module: str) -> bytes:
    fetched = GoCommand(go=_go(), name=module).download(file.sum)
    with module_zip.verified(fetched.zip, module, file.sum) as content:
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


def _go() -> Go:
    """Return a go client that fetches a newer one where a module is written for that."""
    local = toolchain.go()
    return replace(local, env={**local.env, "GOTOOLCHAIN": "auto"})


def _packed(file: ModuleFile, module: str, content: ModuleZip) -> bytes:
    files = content.directory(file.path)
    if chart.DESCRIPTION in files:
        return chart.archive(file.path.rpartition("/")[2], files)
    directory, names = content.around(f"{file.path}/{chart.DESCRIPTION}")
    shown = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
    raise IntegrityError(
        f"there is neither a file nor a chart {file.path} in the module {module}",
        why=f"in its directory {directory} are: {shown}",
        hint="correct the path in the catalog",
        id="OMK-I-300",
    )
