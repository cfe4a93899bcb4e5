"""Packages: the same bytes always, and nothing but what ``pack`` writes is ever read."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import os
import random
import resource
import subprocess
import tarfile
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ohmykube.cache import pack as packing
from ohmykube.cache import unpack as unpacking
from ohmykube.cache.pack import Member, pack
from ohmykube.cache.unpack import Limits, extract, unpack, verify
from ohmykube.errors import IntegrityError, Interrupted, LockedError, OhmykubeError
from ohmykube.kit import digest as digests
from ohmykube.kit import interrupt

NAMES = st.from_regex(packing.NAME, fullmatch=True).filter(lambda name: len(name) < 40)
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
TREES = st.dictionaries(PATHS, st.tuples(st.binary(max_size=3000), st.sampled_from([0o644, 0o755])))


def without_clashes(tree: dict[str, tuple[bytes, int]]) -> dict[str, tuple[bytes, int]]:
    return {n: v for n, v in tree.items() if not any(o.startswith(n + "/") for o in tree)}


def members(directory: Path, tree: dict[str, tuple[bytes, int]]) -> dict[str, Member]:
    found = {}
    for number, (name, (data, mode)) in enumerate(tree.items()):
        path = directory / f"source-{number}"
        path.write_bytes(data)
        found[name] = Member(path, mode)
    return found


def contents(root: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(p.relative_to(root)): (p.read_bytes(), p.stat().st_mode & 0o7777)
        for p in root.rglob("*")
        if p.is_file()
    }


@given(tree=TREES.map(without_clashes))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_round_trip_and_determinism(
    tree: dict[str, tuple[bytes, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("pack")
    one = pack(members(root, tree), root / "1.tar.zst", threads=1)
    backwards = dict(reversed(members(root, tree).items()))
    two = pack(backwards, root / "2.tar.zst", threads=2)
    assert one == two
    assert one.digest == digests.of_file(root / "1.tar.zst")
    content = unpack(
        root / "1.tar.zst", root / "out", digest=one.digest, content_digest=one.content_digest
    )
    assert contents(root / "out") == tree
    assert (content.digest, content.size) == (one.content_digest, one.content_size)
    assert verify(root / "2.tar.zst") == content


def test_bytes_do_not_depend_on_the_number_of_threads(tmp_path: Path) -> None:
    """Large enough for several jobs of the compressor."""
    noise = random.Random(1).randbytes(1 << 20)
    tree = {"usr/bin/big": (noise * 20, 0o755), "usr/bin/small": (noise[:100], 0o755)}
    made = members(tmp_path, tree)
    results = {pack(made, tmp_path / f"{n}.tar.zst", threads=n) for n in (1, 2, 3, 0, 99)}
    assert len(results) == 1
    assert results.pop().size < 2 << 20  # the long window sees that the noise repeats


def test_gnu_tar_and_zstd_read_it(tmp_path: Path) -> None:
    tree = {"usr/local/bin/runc": (b"run" * 999, 0o755), "etc/x.conf": (b"", 0o644)}
    pack(members(tmp_path, tree), tmp_path / "p.tar.zst")
    plain = b"".join(unpacking.decompressed(tmp_path / "p.tar.zst"))
    listing = subprocess.run(["tar", "tvf", "-"], input=plain, capture_output=True, check=True)
    lines = [line.split() for line in listing.stdout.decode().splitlines()]
    assert [(line[0], line[1], line[-1]) for line in lines] == [
        ("drwxr-xr-x", "0/0", "etc/"),
        ("-rw-r--r--", "0/0", "etc/x.conf"),
        ("drwxr-xr-x", "0/0", "usr/"),
        ("drwxr-xr-x", "0/0", "usr/local/"),
        ("drwxr-xr-x", "0/0", "usr/local/bin/"),
        ("-rwxr-xr-x", "0/0", "usr/local/bin/runc"),
    ]


@pytest.mark.parametrize("name", ["", "/etc/x", "../x", "a/../b", "a//b", "a b", "-rf", "a\n", "é"])
def test_odd_names_are_not_packed(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="not a member"):
        pack(members(tmp_path, {name: (b"", 0o644)}), tmp_path / "p")
    assert not (tmp_path / "p").exists()


def test_setuid_and_a_file_as_directory_are_not_packed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="mode 4755"):
        pack(members(tmp_path, {"a": (b"", 0o4755)}), tmp_path / "p")
    with pytest.raises(ValueError, match="both"):
        pack(members(tmp_path, {"a": (b"", 0o755), "a/b": (b"", 0o755)}), tmp_path / "p")


class Changing(type(Path())):  # type: ignore[misc]
    """A file that says it has 5 bytes more than it gives."""

    def stat(self, *, follow_symlinks: bool = True) -> object:
        return os.stat_result((0o644, 0, 0, 1, 0, 0, 7, 0, 0, 0))


def test_a_file_that_shrinks_while_it_is_packed(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12")
    with pytest.raises(IntegrityError, match="changed or could not"):
        pack({"a": Member(Changing(tmp_path / "a"), 0o644)}, tmp_path / "p")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


class Growing(type(Path())):  # type: ignore[misc]
    """A file that says it has less than it gives."""

    def stat(self, *, follow_symlinks: bool = True) -> object:
        return os.stat_result((0o644, 0, 0, 1, 0, 0, 1, 0, 0, 0))


def test_a_file_that_grows_while_it_is_packed(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12")
    with pytest.raises(IntegrityError, match="changed or could not") as caught:
        pack({"a": Member(Growing(tmp_path / "a"), 0o644)}, tmp_path / "p")
    assert "has grown" in (caught.value.why or "")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    with pytest.raises(IntegrityError, match="could not be read") as caught:
        pack({"a": Member(tmp_path / "d", 0o644)}, tmp_path / "p")
    assert "Is a directory" in (caught.value.why or "")
    # Opens, has a size, and fails at the first byte.
    with pytest.raises(IntegrityError, match="could not be read") as caught:
        pack({"a": Member(Changing("/proc/self/mem"), 0o644)}, tmp_path / "p")
    assert "/proc/self/mem" in (caught.value.why or "")
    assert [p.name for p in tmp_path.iterdir()] == ["d"]


def test_a_full_disk_is_not_blamed_on_the_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12")
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "in-the-way").touch()
    with pytest.raises(LockedError, match="in the way"):
        pack({"a": Member(tmp_path / "a", 0o644)}, tmp_path / "p")
    (tmp_path / "noise").write_bytes(random.Random(5).randbytes(1 << 20))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            pack({"a": Member(tmp_path / "noise", 0o644)}, tmp_path / "q")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "noise", "p"]


def test_packing_stops_on_request(tmp_path: Path) -> None:
    interrupt.requested.set()
    try:
        with pytest.raises(Interrupted):
            pack(members(tmp_path, {"a": (b"", 0o644)}), tmp_path / "p")
    finally:
        interrupt.requested.clear()
    assert not (tmp_path / "p").exists()


# -- what must be refused ------------------------------------------------------------------------


def compress(tar: bytes, *, checksum: bool = True, size: bool = True) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=checksum, write_content_size=size).compress(tar)


def header(name: str, **fields: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.mode = 0o644
    for key, value in fields.items():
        setattr(info, key, value)
    return info


def tar_of(*entries: tuple[tarfile.TarInfo, bytes], form: int = tarfile.USTAR_FORMAT) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=form) as archive:
        for info, data in entries:
            if data:
                info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return sink.getvalue()


def raw(info: tarfile.TarInfo, *, form: int = tarfile.USTAR_FORMAT) -> bytes:
    return info.tobuf(form) + bytes(1024)


FIELDS = {"size": (124, 12), "magic": (257, 8), "prefix": (345, 155)}


def resealed(tar: bytes, **fields: bytes) -> bytes:
    """Overwrite fields of the first header and make its sum right again."""
    block = bytearray(tar[:512])
    for name, value in fields.items():
        start, length = FIELDS[name]
        block[start : start + length] = value.ljust(length, b"\0")
    return with_sum(block) + tar[512:]


def with_sum(block: bytearray) -> bytes:
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


GOOD = tar_of((header("a"), b"content"))
FRAME = compress(GOOD)
FIRST = header("a")
DIRECTORY = {"type": tarfile.DIRTYPE, "mode": 0o755}

HOSTILE_TARS = {
    "parent directory": tar_of((header("../evil"), b"x")),
    "parent inside": tar_of((header("d", **DIRECTORY), b""), (header("d/../../evil"), b"x")),
    "absolute": tar_of((header("/tmp/evil"), b"x")),
    "symlink": tar_of((header("a", type=tarfile.SYMTYPE, linkname="/etc"), b"")),
    "hard link": tar_of((header("a", type=tarfile.LNKTYPE, linkname="/etc/shadow"), b"")),
    "device": tar_of((header("a", type=tarfile.CHRTYPE, devmajor=1, devminor=3), b"")),
    "block device": tar_of((header("a", type=tarfile.BLKTYPE, devmajor=8), b"")),
    "contiguous file": raw(header("a", type=tarfile.CONTTYPE)),
    "volume label": raw(header("a", type=b"V")),
    "fifo": tar_of((header("a", type=tarfile.FIFOTYPE), b"")),
    "old sparse": raw(header("a", type=tarfile.GNUTYPE_SPARSE), form=tarfile.GNU_FORMAT),
    "sparse as pax": tar_of(
        (header("a", pax_headers={"GNU.sparse.major": "1"}), b"x"), form=tarfile.PAX_FORMAT
    ),
    "pax header": tar_of((header("ä" * 99), b"x"), form=tarfile.PAX_FORMAT),
    "long name": tar_of((header("n" * 199), b"x"), form=tarfile.GNU_FORMAT),
    "gnu format": tar_of((header("a"), b"x"), form=tarfile.GNU_FORMAT),
    "duplicate": tar_of((header("a"), b"1"), (header("a"), b"2")),
    "file as directory": tar_of((header("a"), b"1"), (header("a/b"), b"2")),
    "parent directory in the prefix": resealed(raw(header("a")), prefix=b"../.."),
    "root in the prefix": resealed(raw(header("a")), prefix=b"/"),
    "dot": tar_of((header("./a"), b"x")),
    "slash at the end": tar_of((header("a/"), b"x")),
    "backslash": tar_of((header("a\\..\\b"), b"x")),
    "right to left": tar_of((header("a\u202eb"), b"x")),
    "before ustar": resealed(raw(header("a")), magic=bytes(8)),
    "size in base 256": resealed(raw(header("a")), size=b"\x80" + bytes(10) + b"\1"),
    "negative size": resealed(raw(header("a")), size=b"\xff" * 12),
    "size that is no number": resealed(raw(header("a")), size=b"99999999999\0"),
    "no directory": tar_of((header("a/b"), b"1")),
    "control character": tar_of((header("a\x1b[2J"), b"1")),
    "newline": tar_of((header("a\nb"), b"1")),
    "not utf-8": raw(header("a")).replace(b"a", b"\xff", 1),
    "empty name": raw(header("")),
    "setuid": tar_of((header("a", mode=0o4755), b"1")),
    "owner": tar_of((header("a", uid=1000), b"1")),
    "oversize": raw(header("a", size=3 << 30)),
    "directory with size": raw(header("a", size=512, **DIRECTORY)),
    "ends in a body": raw(header("a", size=9000))[:700],
    "ends in a header": GOOD[:200],
    "ends without mark": GOOD[:1024],
    "ends in padding": GOOD[:600],
    "broken checksum": b"b" + GOOD[1:],
    "something after the end": GOOD + b"evil".ljust(512, b"\0"),
    "second archive": GOOD + GOOD,
    "text": b"hello",
    "nothing": b"",
}


@pytest.mark.parametrize("case", HOSTILE_TARS)
def test_hostile_tars_write_nothing(case: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    package = tmp_path / "in" / "p.tar.zst"
    package.write_bytes(compress(HOSTILE_TARS[case]))
    with pytest.raises(IntegrityError, match=r"p\.tar\.zst is not a package") as caught:
        unpack(package, tmp_path / "out" / "target")
    assert caught.value.id == "OMK-I-111"
    assert caught.value.why is not None
    assert caught.value.why.isprintable()
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")) == [
        "in",
        "in/p.tar.zst",
        "out",
    ]
    with pytest.raises(IntegrityError):
        verify(package)


HOSTILE_FRAMES = {
    "empty": b"",
    "no zstd": b"PK\x03\x04" + bytes(50),
    "header alone": FRAME[:4],
    "second frame": FRAME + FRAME,
    "skippable frame": FRAME + b"\x50\x2a\x4d\x18\x04\0\0\0evil",
    "garbage": FRAME + b"x",
    "no checksum": compress(GOOD, checksum=False),
    "no size": compress(GOOD, size=False),
    "wrong checksum": FRAME[:-1] + bytes([FRAME[-1] ^ 1]),
    "window of 256 MiB": zstandard.ZstdCompressor(
        compression_params=zstandard.ZstdCompressionParameters(
            window_log=28, write_checksum=True, write_content_size=True
        )
    )
    .compressobj(size=(1 << 29))
    .compress(bytes(1 << 23)),
}


@pytest.mark.parametrize("case", HOSTILE_FRAMES)
def test_hostile_frames_are_refused(case: str, tmp_path: Path) -> None:
    package = tmp_path / "p.tar.zst"
    package.write_bytes(HOSTILE_FRAMES[case])
    with pytest.raises(IntegrityError):
        unpack(package, tmp_path / "target")
    assert [p.name for p in tmp_path.iterdir()] == ["p.tar.zst"]


@given(end=st.integers(0, len(FRAME) - 1))
@settings(deadline=None, suppress_health_check=list(HealthCheck))
def test_every_truncation_is_found(end: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    package = tmp_path_factory.mktemp("cut") / "p.tar.zst"
    package.write_bytes(FRAME[:end])
    with pytest.raises(IntegrityError):
        verify(package)


@given(place=st.integers(0, len(FRAME) * 8 - 1))
@settings(deadline=None, suppress_health_check=list(HealthCheck))
def test_every_flipped_bit_is_found(place: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    """With a digest always; without one the result is at worst the right content."""
    package = tmp_path_factory.mktemp("flip") / "p.tar.zst"
    data = bytearray(FRAME)
    data[place // 8] ^= 1 << place % 8
    package.write_bytes(data)
    with pytest.raises(IntegrityError, match="not a package"):
        verify(package, digest=digests.of_bytes(FRAME))
    with contextlib.suppress(IntegrityError):
        assert verify(package).digest == digests.of_bytes(GOOD)


@given(
    changes=st.dictionaries(
        st.integers(0, 511).filter(lambda place: not 148 <= place < 156),
        st.integers(0, 255),
        max_size=6,
    ),
    body=st.binary(max_size=20),
    linkname=st.sampled_from(["", "/etc", "../..", "a"]),
    kind=st.sampled_from([b"0", b"5", b"1", b"2", b"3", b"L", b"x", b"g", b"S", b"7", b"\0"]),
)
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_header_whatever_leads_outside(
    changes: dict[int, int],
    body: bytes,
    linkname: str,
    kind: bytes,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """A valid sum over any header: what is unpacked is plain and below the target, or nothing."""
    root = tmp_path_factory.mktemp("fuzz")
    info = header("usr", type=kind, linkname=linkname, size=len(body))
    block = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
    for place, value in changes.items():
        block[place] = value
    tar = with_sum(block) + body.ljust(-(-len(body) // 512) * 512, b"\0") + bytes(1024)
    (root / "p.tar.zst").write_bytes(compress(tar))
    (root / "out").mkdir()
    with contextlib.suppress(IntegrityError):
        unpack(root / "p.tar.zst", root / "out" / "target")
    found = [path for path in root.rglob("*") if path.name not in {"p.tar.zst", "out", "target"}]
    assert all(path.is_relative_to(root / "out" / "target") for path in found)
    assert all(path.lstat().st_mode & 0o7000 == 0 for path in found)
    assert not any(path.is_symlink() or path.is_fifo() or path.is_socket() for path in found)
    assert all(path.lstat().st_nlink == 1 for path in found if path.is_file())


class Fading(type(Path())):  # type: ignore[misc]
    """A file that somebody shortens after it was looked at."""

    looked = False

    def open(self, mode: str = "r", *_: object, **__: object) -> object:
        data = self.read_bytes() if mode != "rb" else Path(self).read_bytes()
        short, Fading.looked = Fading.looked, True
        return io.BytesIO(data[:-9] if short else data)


def test_a_file_that_is_cut_after_the_first_look(tmp_path: Path) -> None:
    (tmp_path / "p.tar.zst").write_bytes(compress(random.Random(3).randbytes(900_000)))
    package = Fading(tmp_path / "p.tar.zst")
    with pytest.raises(IntegrityError, match="not a package") as caught:
        list(unpacking.decompressed(package))
    assert "bytes instead of 900000" in (caught.value.why or "")


def test_digests_and_limits_are_enforced(tmp_path: Path) -> None:
    package = tmp_path / "p.tar.zst"
    package.write_bytes(FRAME)
    zero = "sha256:" + "0" * 64
    for wrong in ({"digest": zero}, {"content_digest": zero}):
        with pytest.raises(IntegrityError, match="not a package"):
            unpack(package, tmp_path / "target", **wrong)
    for limits in (Limits(members=0), Limits(member_size=6), Limits(total_size=len(GOOD) - 1)):
        with pytest.raises(IntegrityError, match="not a package"):
            unpack(package, tmp_path / "target", limits=limits)
    assert not (tmp_path / "target").exists()


def test_a_bomb_is_refused_before_it_is_read(tmp_path: Path) -> None:
    """A claim of 5 GiB in some hundred bytes."""
    package = tmp_path / "p.tar.zst"
    context = zstandard.ZstdCompressor(write_checksum=True).compressobj(size=5 << 30)
    package.write_bytes(context.compress(bytes(1 << 22)) + b"\x01\0\0")
    with pytest.raises(IntegrityError, match="not a package"):
        verify(package)


def test_a_target_with_content_is_left_alone(tmp_path: Path) -> None:
    package = tmp_path / "p.tar.zst"
    package.write_bytes(FRAME)
    (tmp_path / "target").mkdir()
    unpack(package, tmp_path / "target")
    with pytest.raises(FileExistsError):
        unpack(package, tmp_path / "target")
    assert (tmp_path / "target/a").read_bytes() == b"content"


def release(path: Path, *entries: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for info, data in entries:
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def test_extract_takes_single_files_of_a_release(tmp_path: Path) -> None:
    archive = release(
        tmp_path / "r.tar.gz",
        (header("./bin", **DIRECTORY), b""),
        (header("./bin/ctr"), b"ctr"),
        (header("bin/containerd"), b"containerd"),
        (header("../evil"), b"evil"),
    )
    (tmp_path / "out").mkdir()
    extract(archive, {"bin/ctr": "ctr", "bin/containerd": "d"}, tmp_path / "out", limit=1 << 20)
    assert contents(tmp_path / "out") == {"ctr": (b"ctr", 0o755), "d": (b"containerd", 0o755)}
    wrong = ({"bin/runc": "r"}, 1 << 20), ({"bin/ctr": "c"}, 2), ({"bin": "b"}, 99)
    for wanted, limit in wrong:
        with pytest.raises(OhmykubeError, match=r"r\.tar\.gz"):
            extract(archive, wanted, tmp_path / "out", limit=limit)
    assert len(contents(tmp_path / "out")) == 2


def test_extract_reads_on_after_the_end_mark_to_check_the_sum(tmp_path: Path) -> None:
    plain = tar_of((header("a"), b"content")) + bytes(3 << 20)
    good, bad = tmp_path / "good.tgz", tmp_path / "bad.tgz"
    good.write_bytes(gzip.compress(plain))
    extract(good, {"a": "a"}, tmp_path, limit=1 << 20)
    assert (tmp_path / "a").read_bytes() == b"content"
    bad.write_bytes(gzip.compress(plain)[:-8] + bytes(8))
    with pytest.raises(IntegrityError, match="not a package"):
        extract(bad, {"a": "a"}, tmp_path, limit=1 << 20)


@pytest.mark.parametrize("how", ["truncated", "flipped", "text"])
def test_extract_refuses_a_damaged_release(how: str, tmp_path: Path) -> None:
    noise = hashlib.shake_256(b"x").digest(50_000)
    archive = release(tmp_path / "r.tar.gz", (header("a"), noise))
    data = bytearray(archive.read_bytes())
    if how == "flipped":
        data[len(data) // 2] ^= 0x10
    archive.write_bytes({"truncated": data[:-9000], "flipped": data, "text": b"hello"}[how])
    with pytest.raises(IntegrityError, match=r"r\.tar\.gz"):
        extract(archive, {"a": "a"}, tmp_path, limit=1 << 20)


def test_a_missing_release_is_not_called_damaged(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        extract(tmp_path / "none.tar.gz", {"a": "a"}, tmp_path, limit=1)
