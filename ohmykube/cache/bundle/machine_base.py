"""The base of machines as a blob: a provider's plain tar, packed with zstd.

Packed without zstd's long distances: unpacking takes a few MiB of memory then, not 128.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING

import zstandard

from ohmykube.cache.store import Ref
from ohmykube.errors import IntegrityError
from ohmykube.kit import failures, files, interrupt
from ohmykube.model.artifact import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ohmykube.cache.store import Store

LEVEL = 10
MAX_BYTES = 16 << 30
"""Of a base after unpacking."""
_CHUNK = 1 << 20
_WINDOW_LOG = 23


def stored(
    store: Store, provider: str, version: str, arch: str, export: Callable[[Path], None]
) -> Ref:
    """Return the reference of a base, packed when it is not in the store.

    Args:
        store: the cache.
        provider: name of the provider whose base it is.
        version: what identifies the base there.
        arch: of the machines.
        export: writes the base as a plain tar to the file that it is given.

    Raises:
        ResourceError: no space left; what ``export`` raises.
    """
    with store.holding(f"machine image {provider} {version} {arch}"):
        found = store.ref(Kind.MACHINE_IMAGE, provider, version, arch)
        if found is not None:
            return found
        with _scratch(store) as plain, _scratch(store) as packed:
            export(plain)
            content = _pack(plain, packed)
            digest, size = store.adopt(packed)
        ref = Ref(
            kind=Kind.MACHINE_IMAGE,
            name=provider,
            version=version,
            arch=arch,
            digest=digest,
            size=size,
            source="host",
            content_digest=content,
        )
        store.set_ref(ref)
        return ref


def _pack(plain: Path, target: Path) -> str:
    """Return the digest of what was packed."""
    size = plain.stat().st_size
    parameters = zstandard.ZstdCompressionParameters.from_level(
        LEVEL,
        source_size=size,
        window_log=_WINDOW_LOG,
        write_checksum=True,
        write_content_size=True,
        # At least one: without workers zstd does not cut its input, and gives other bytes.
        threads=max(1, os.cpu_count() or 1),
    )
    compressor = zstandard.ZstdCompressor(compression_params=parameters)
    state = hashlib.sha256()
    with (
        files.explained(target),
        plain.open("rb") as source,
        target.open("wb") as sink,
        compressor.stream_writer(sink, size=size, closefd=False) as writer,
    ):
        while chunk := source.read(_CHUNK):
            interrupt.check()
            state.update(chunk)
            writer.write(chunk)
    return "sha256:" + state.hexdigest()


def unpacked(store: Store, ref: Ref, take: Callable[[Path], None]) -> None:
    """Hand the plain tar of a base to ``take``, in a file that is gone afterwards.

    Raises:
        IntegrityError: the blob is damaged, or not what the reference says.
        NotFoundError: it is not in the store.
        ResourceError: no space left; what ``take`` raises.
    """
    blob = store.trusted(ref.digest)
    with store.using(), _scratch(store) as plain:
        state = hashlib.sha256()
        with files.explained(plain), blob.open() as source, plain.open("wb") as sink:
            for chunk in _chunks(source, ref):
                interrupt.check()
                state.update(chunk)
                sink.write(chunk)
        if "sha256:" + state.hexdigest() != ref.content_digest:
            raise _bad(ref, f"its content does not have the digest {ref.content_digest}")
        take(plain)


def _chunks(source: IO[bytes], ref: Ref) -> Iterator[bytes]:
    decompressor = zstandard.ZstdDecompressor(max_window_size=1 << _WINDOW_LOG)
    left = MAX_BYTES
    try:
        with decompressor.stream_reader(source, closefd=False) as reader:
            while chunk := reader.read(_CHUNK):
                left -= len(chunk)
                if left < 0:
                    raise _bad(ref, f"it unpacks to more than {MAX_BYTES >> 30} GiB")
                yield chunk
    except zstandard.ZstdError as error:
        raise _bad(ref, f"it cannot be unpacked: {error}") from error


def _bad(ref: Ref, why: str) -> IntegrityError:
    return IntegrityError(
        f"the machine image {ref.name} {ref.version} cannot be used",
        why=why,
        hint="ohmykube bundle verify F  (then get the bundle again)",
        id="OMK-I-441",
    )


@contextlib.contextmanager
def _scratch(store: Store) -> Iterator[Path]:
    with files.explained(store.ingest):
        descriptor, name = tempfile.mkstemp(prefix="machine-", dir=store.ingest)
    os.close(descriptor)
    path = Path(name)
    with failures.closing(lambda: path.unlink(missing_ok=True)):
        yield path
