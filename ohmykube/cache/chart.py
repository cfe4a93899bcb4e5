"""Archives of Helm charts that are the same bytes wherever they are made.

They are not compressed: what a compressor writes depends on its library and release, and a chart is
small. gzip's format has blocks for data as it is, and no other format is read by Helm.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

from ohmykube.kit import plain_tar

if TYPE_CHECKING:
    from collections.abc import Mapping

DESCRIPTION = "Chart.yaml"
"""The file that makes a directory a chart."""
_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
"""Of a gzip file (RFC 1952): no name, no time, no system."""
_LARGEST = 0xFFFF
"""Bytes of a block that is stored as it is (RFC 1951)."""


def archive(name: str, content: Mapping[str, bytes]) -> bytes:
    """Return the archive of a chart, laid out as ``helm package`` does it.

    Args:
        name: of the directory in it, which is the chart's name.
        content: path in the chart to bytes.

    Raises:
        ValueError: a path that a plain tar cannot hold: not ASCII, or too long.
    """
    parts: list[bytes] = []
    for path, data in sorted(content.items()):
        header = plain_tar.header(f"{name}/{path}", len(data))
        parts += [header, data, bytes(plain_tar.padding(len(data)))]
    end = sum(len(part) for part in parts)
    return _stored(b"".join([*parts, bytes(plain_tar.ending(end))]))


def _stored(data: bytes) -> bytes:
    """Return ``data`` as a gzip file of blocks that are not compressed."""
    blocks = [data[start : start + _LARGEST] for start in range(0, len(data), _LARGEST)]
    parts = [_HEADER]
    for number, block in enumerate(blocks, 1):
        size = len(block)
        parts += [struct.pack("<BHH", number == len(blocks), size, size ^ _LARGEST), block]
    parts.append(struct.pack("<II", zlib.crc32(data), len(data) & 0xFFFFFFFF))
    return b"".join(parts)
