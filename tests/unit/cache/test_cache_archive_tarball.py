"""Hostile, damaged and merely strange tars."""

from __future__ import annotations

import gzip
import io
import tarfile

import pytest
import zstandard

from ohmykube.cache.archive import tarball
from ohmykube.errors import IntegrityError, UsageError

BLOCK = 512


def header(name: str, size: int = 0, kind: bytes = b"0", link: str = "") -> bytes:
    """Return one ustar header, whatever nonsense it says."""
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = size, kind, link
    return info.tobuf(tarfile.GNU_FORMAT)[-BLOCK:]


def file(name: str, data: bytes = b"x") -> bytes:
    return header(name, len(data)) + data + bytes(-len(data) % BLOCK)


def extended(kind: bytes, data: bytes) -> bytes:
    return header("ext", len(data), kind) + data + bytes(-len(data) % BLOCK)


def pax(**records: str) -> bytes:
    data = b""
    for key, value in records.items():
        body = f" {key.replace('__', '.')}={value}\n".encode()
        length = len(body) + 1
        while len(str(length)) + len(body) != length:
            length = len(str(length)) + len(body)
        data += str(length).encode() + body
    return extended(b"x", data)


END = bytes(2 * BLOCK)


def read(data: bytes, **options: bool) -> dict[str, bytes | str]:
    """Return name to content, or to the target of a link."""
    tar = tarball.Tar(io.BytesIO(data), "a.tar", **options)
    found: dict[str, bytes | str] = {}
    for member in tar.members():
        body = b""
        while not member.link and (chunk := tar.read(1000)):
            body += chunk
        found[member.name] = member.link or body
    return found


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("seekable", [True, False])
def test_files_and_links_of_every_form(form: int, seekable: bool) -> None:
    sink = io.BytesIO()
    long = "d/" * 40 + "é" * 30 if form != tarfile.USTAR_FORMAT else "d/é"
    with tarfile.open(fileobj=sink, mode="w", format=form) as archive:
        for name, data in (("./a", b"1" * 3_000_000), (long, b"2" * 512), ("empty", b"")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        folder = tarfile.TarInfo("dir/")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        link = tarfile.TarInfo("dir/link")
        link.type, link.linkname = tarfile.SYMTYPE, "../a"
        archive.addfile(link)
    found = read(sink.getvalue(), seekable=seekable)
    assert found == {"a": b"1" * 3_000_000, long: b"2" * 512, "empty": b"", "dir/link": "a"}


def test_bodies_that_nobody_reads_are_skipped() -> None:
    data = file("a", b"1" * 5_000_000) + file("b", b"2") + END
    for seekable in (True, False):
        tar = tarball.Tar(io.BytesIO(data), "a.tar", seekable=seekable)
        assert [(m.name, m.offset) for m in tar.members()] == [("a", 512), ("b", 5_001_216)]


HOSTILE = {
    "up": (file("../a") + END, "not a name"),
    "up inside": (file("a/../../b") + END, "not a name"),
    "absolute": (file("/etc/passwd") + END, "not a name"),
    "long name": (extended(b"L", b"a" * 2000) + file("a") + END, "not a name"),
    "zero in a name": (pax(path="a\0b") + file("a") + END, "not a name"),
    "no utf-8": (extended(b"L", b"\xff\xfe\0") + file("a") + END, "not UTF-8"),
    "twice": (file("a") + file("./a") + END, "there twice"),
    "hard link with a size": (header("a", 1, kind=b"1", link="b") + END, "neither a file"),
    "hard link up": (header("a", kind=b"1", link="../b") + END, "not a name"),
    "absolute hard link": (header("a", kind=b"1", link="/etc/passwd") + END, "not a name"),
    "device": (header("a", kind=b"3") + END, "neither a file"),
    "fifo": (header("a", kind=b"6") + END, "neither a file"),
    "sparse": (header("a", kind=b"S") + END, "neither a file"),
    "pax sparse": (pax(GNU__sparse__major="1") + file("a") + END, "sparse"),
    "absolute link": (header("a", kind=b"2", link="/etc/passwd") + END, "leads out"),
    "link up": (header("a/b", kind=b"2", link="../../c") + END, "leads out"),
    "link to all": (header("a", kind=b"2", link=".") + END, "leads out"),
    "link with a body": (header("a", 5, kind=b"2", link="b") + END, "neither a file"),
    "directory with a body": (header("a/", 5, kind=b"5") + END, "has a size"),
    "large extension": (header("e", 1 << 30, kind=b"x") + END, "extension header has"),
    "negative size": (pax(size="-1") + file("a") + END, "size"),
    "immense size": (pax(size="9" * 15) + file("a") + END, "size"),
    "size in words": (pax(size="ten") + file("a") + END, "size"),
    "global path": (extended(b"g", b"11 path=ab\n") + file("a") + END, "for all files"),
    "malformed pax": (extended(b"x", b"99999 path=a\n") + file("a") + END, "malformed"),
    "pax without length": (extended(b"x", b"path=a\n") + file("a") + END, "malformed"),
    "checksum": (b"a" + file("a")[1:].replace(b"0000", b"1111", 1) + END, "cannot be read"),
    "cut in a header": (file("a")[:300], "ends in the middle"),
    "cut in a body": (file("a", b"1" * 5000)[:2000], "ends in the middle"),
    "no end": (file("a"), "ends in the middle"),
    "garbage behind": (file("a") + END + b"garbage", "follows its end"),
    "nothing": (b"", "it is empty"),
}


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.parametrize("seekable", [True, False])
def test_hostile_tars_are_refused(case: str, seekable: bool) -> None:
    data, why = HOSTILE[case]
    with pytest.raises(IntegrityError) as caught:
        read(data, seekable=seekable)
    assert why in (caught.value.why or "")
    assert caught.value.id == "OMK-I-501"


def test_a_body_cut_off_is_noticed_when_it_is_skipped() -> None:
    data = (file("a", b"1" * 5_000_000) + END)[:4_000_000]
    with pytest.raises(IntegrityError, match="not an image archive"):
        list(tarball.Tar(io.BytesIO(data), "a.tar", seekable=True).members())


def test_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tarball, "MAX_MEMBERS", 2)
    with pytest.raises(IntegrityError, match="image archive"):
        read(file("a") + file("b") + file("c") + END)
    monkeypatch.setattr(tarball, "MAX_TOTAL_BYTES", 5000)
    for data in (file("a", b"1" * 6000) + END, file("a") + END + bytes(1 << 22)):
        with pytest.raises(IntegrityError) as caught:
            read(data)
        assert "GiB" in (caught.value.why or "")


def packed(form: str, data: bytes) -> bytes:
    if form == "gzip":
        return gzip.compress(data, mtime=0)
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


@pytest.mark.parametrize("form", ["gzip", "zstd"])
def test_compressed_streams(form: str) -> None:
    data = file("a", b"1" * 200_000) + file("b") + END
    half = len(data) // 2
    for whole in (packed(form, data), packed(form, data[:half]) + packed(form, data[half:])):
        assert tarball.compression(whole, "a") == form
        stream = tarball.plain(io.BytesIO(whole), form)
        assert [m.name for m in tarball.Tar(stream, "a").members()] == ["a", "b"]


@pytest.mark.parametrize("form", ["gzip", "zstd"])
def test_compressed_streams_that_are_damaged(form: str) -> None:
    whole = packed(form, file("a", bytes(range(256)) * 4000) + END)
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 255
    for data in (whole[: len(whole) // 2], bytes(flipped), whole[:-6]):
        stream = tarball.plain(io.BytesIO(data), form)
        try:
            found = [m.name for m in tarball.Tar(stream, "a").members()]
        except IntegrityError:
            continue
        # Only a zstd frame without its checksum reads to the end of the tar; digests hold then.
        assert (form, data, found) == ("zstd", whole[:-6], ["a"])


@pytest.mark.parametrize("magic", [b"BZh91AY", b"\xfd7zXZ\0", b"\x04\x22\x4d\x18", b"PK\x03\x04"])
def test_other_forms_are_named(magic: bytes) -> None:
    with pytest.raises(UsageError, match="which is not read"):
        tarball.compression(magic, "a.tar.xz")


def test_a_plain_tar_has_no_compression() -> None:
    assert tarball.compression(file("a")[:8], "a") == ""
