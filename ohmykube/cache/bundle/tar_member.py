"""Copying one file out of a package, without unpacking the rest."""

from __future__ import annotations

import tarfile
from typing import IO, TYPE_CHECKING

import zstandard

from ohmykube.cache.pack import WINDOW_LOG
from ohmykube.errors import NotFoundError
from ohmykube.kit import digest as digests

if TYPE_CHECKING:
    from ohmykube.cache.store import Store


def copy_to(store: Store, package: str, name: str, sink: IO[bytes]) -> None:
    """Copy a regular file of a package to ``sink``.

    Args:
        store: the cache.
        package: digest of the package.
        name: of the member, such as ``usr/local/bin/kubectl``.
        sink: an open file.

    Raises:
        NotFoundError: the package is not in the store, or the file not in it.
        IntegrityError: it is damaged.
    """
    # Its digest is right, so it is what `pack` wrote: nothing about its form has to be doubted.
    with (
        store.trusted(package).open() as packed,
        zstandard.ZstdDecompressor(max_window_size=1 << WINDOW_LOG).stream_reader(packed) as plain,
        tarfile.open(fileobj=plain, mode="r|", bufsize=digests.CHUNK) as archive,
    ):
        for header in archive:
            if header.name == name and header.isreg():
                source = archive.extractfile(header)
                if source is not None:
                    digests.copy(source, sink)
                    return
    raise NotFoundError(f"{name} is not in the package {package}", id="OMK-I-432")
