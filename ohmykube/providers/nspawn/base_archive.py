"""The base image as one plain tar, for hosts that cannot build it.

GNU tar writes and unpacks it, because only it keeps owners, capabilities and links as they are.
Before anything is unpacked every header is read here, and what could reach beyond the directory of
unpacking is refused: GNU tar then gets an archive in which every name is plain, every parent is a
directory of the archive, and every hard link leads to a file of the archive.
"""

from __future__ import annotations

import tarfile
from pathlib import PurePosixPath
from typing import IO, TYPE_CHECKING

from ohmykube.errors import IntegrityError
from ohmykube.kit import interrupt
from ohmykube.providers.nspawn.host_system import run_checked

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ohmykube.providers.nspawn.host_system import HostSystem

SECONDS = 600
MEMBERS = 200_000
_BLOCK = tarfile.BLOCKSIZE
_EXTENDED = b"x"
_EXTENDED_BYTES = 64 << 10
_KEYS = ("path", "linkpath", "SCHILY.xattr.security.capability")
_KINDS = (tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE)
_NEEDED = ("etc", "usr", "var", "root")
"""Must be directories: files of each node are written below them from outside."""


def write(host: HostSystem, rootfs: Path, target: Path) -> None:
    """Write the tree to ``target``; devices are left out, the container brings its own.

    Raises:
        ProviderError: tar could not do it.
    """
    argv = [
        *("tar", "--create", f"--file={target}", f"--directory={rootfs}"),
        *("--sort=name", "--numeric-owner", "--format=posix"),
        # No sub-second times and no process id in the extended headers: the same tree, same bytes.
        "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime,delete=mtime",
        *("--xattrs", "--xattrs-include=security.capability"),
        *("--exclude=./dev/*", "--exclude=./run/*", "."),
    ]
    run_checked(host, "write the node base image to a file", argv, timeout=SECONDS)


def unpack(host: HostSystem, source: Path, target: Path) -> None:
    """Unpack a checked archive into the empty directory ``target``.

    Raises:
        IntegrityError: it has something that a base image does not have; nothing was written.
        ProviderError: tar could not do it.
    """
    check(source)
    argv = [
        *("tar", "--extract", f"--file={source}", f"--directory={target}", "--numeric-owner"),
        *("--same-owner", "--same-permissions", "--delay-directory-restore"),
        *("--xattrs", "--xattrs-include=security.capability"),
    ]
    run_checked(host, "unpack the node base image", argv, timeout=SECONDS, contained=True)


def check(source: Path) -> None:
    """Read all headers; raises IntegrityError when one could do harm."""
    kinds: dict[str, bytes] = {}
    with source.open("rb") as stream:
        size = source.stat().st_size
        for name, info in _members(stream, size):
            if len(kinds) >= MEMBERS:
                raise _bad(f"it has more than {MEMBERS} members")
            _check(name, info, kinds)
            kinds[name] = info.type
    for name in _NEEDED:
        if kinds.get(name) != tarfile.DIRTYPE:
            raise _bad(f"/{name} is not a directory in it")


def _check(name: str, info: tarfile.TarInfo, kinds: dict[str, bytes]) -> None:
    if info.type not in _KINDS:
        raise _bad(f"{name!r} is neither a file, a directory nor a link")
    if name in kinds:
        raise _bad(f"{name!r} is there twice")
    if name == ".":
        if info.type != tarfile.DIRTYPE:
            raise _bad("its root is not a directory")
        return
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts) or "\0" in name:
        raise _bad(f"{name!r} is not a plain name")
    if kinds.get(str(PurePosixPath(name).parent)) != tarfile.DIRTYPE:
        raise _bad(f"{name!r} comes without its directory")
    if info.type == tarfile.LNKTYPE and kinds.get(_plain(info.linkname)) not in (
        tarfile.REGTYPE,
        tarfile.LNKTYPE,
    ):
        raise _bad(f"{name!r} is a link to {info.linkname!r}, which is no file before it")


def _members(stream: IO[bytes], size: int) -> Iterator[tuple[str, tarfile.TarInfo]]:
    """Give name and header of each member; sizes are those by which tar goes on too."""
    more: dict[str, str] = {}
    while (block := stream.read(_BLOCK)) != bytes(_BLOCK):
        interrupt.check()
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.TarError as error:
            raise _bad(f"a header is broken: {error}") from error
        if block[257:265] != b"ustar\x0000":
            raise _bad("it has a format that base images do not have")
        has_content = info.type in (tarfile.REGTYPE, _EXTENDED)
        if info.size and not has_content:
            raise _bad(f"{info.name!r} has content and is no file")
        end = stream.tell() + info.size + -info.size % _BLOCK
        if end > size:
            raise _bad("it is truncated")
        if info.type == _EXTENDED:
            if more or info.size > _EXTENDED_BYTES:
                raise _bad(f"{info.name!r} is an extended header that base images do not have")
            more = _extended(stream.read(info.size))
        else:
            info.linkname = more.get("linkpath", info.linkname)
            yield _plain(more.get("path", info.name)), info
            more = {}
        stream.seek(end)
    if more or stream.read().strip(b"\0"):
        raise _bad("something follows its end")


def _extended(data: bytes) -> dict[str, str]:
    """Return the records ``<length> <key>=<value>\\n`` of an extended header."""
    found = {}
    while data:
        length, blank, _ = data.partition(b" ")
        if not blank or not length.isdigit() or not len(length) + 1 < int(length) <= len(data):
            raise _bad("an extended header is broken")
        record = data[len(length) + 1 : int(length)]
        key, equals, value = record[:-1].partition(b"=")
        name = key.decode("utf-8", "surrogateescape")
        if not equals or record[-1:] != b"\n" or name not in _KEYS or name in found:
            raise _bad(f"an extended header has {name!r}")
        found[name] = value.decode("utf-8", "surrogateescape")
        data = data[int(length) :]
    return found


def _plain(name: str) -> str:
    name = name.removeprefix("./")
    return name.removesuffix("/") or "."


def _bad(why: str) -> IntegrityError:
    return IntegrityError(
        "the node base image of the bundle cannot be trusted",
        why=why,
        hint="ohmykube bundle verify F --allowed-signers A  (who made it?)",
        id="OMK-I-440",
    )
