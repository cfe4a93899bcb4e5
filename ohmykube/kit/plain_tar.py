"""Tars in one form only: a reader can know every header before it reads it.

Regular files of mode 0644, owner and times zero, padded with zeros to blocks; two zero blocks, then
zeros to a whole record. A member that is anything else differs from the header expected in its
place, so nothing has to be judged.
"""

from __future__ import annotations

import tarfile

BLOCK = tarfile.BLOCKSIZE
RECORD = tarfile.RECORDSIZE
_USTAR_BYTES = 8 << 30
"""From this size on the USTAR field is too short; GNU's way to write it is understood as widely."""


def header(name: str, size: int) -> bytes:
    """Return the only header that a member of that name and size in bytes may have."""
    info = tarfile.TarInfo(name)  # uid, gid, mtime are 0 and the owner's names empty
    info.mode, info.size = 0o644, size
    if size < _USTAR_BYTES:
        return info.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")
    return info.tobuf(tarfile.GNU_FORMAT, "ascii", "strict")


def named(block: bytes) -> tuple[str, int] | None:
    """Return name and size that a header gives when it is one of ours, else None."""
    try:
        info = tarfile.TarInfo.frombuf(block, "ascii", "strict")
        return (info.name, info.size) if header(info.name, info.size) == block else None
    except (tarfile.TarError, ValueError):
        return None


def padding(size: int) -> int:
    """Return the zero bytes that follow a member's content."""
    return -size % BLOCK


def room(size: int) -> int:
    """Return the bytes that a member takes: header, content, padding."""
    return BLOCK + size + padding(size)


def ending(end: int) -> int:
    """Return the zero bytes that follow the last member, which ends at the position ``end``."""
    return 2 * BLOCK + -(end + 2 * BLOCK) % RECORD
