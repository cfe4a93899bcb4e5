"""Machine images of Lima between hosts: one form of tar, and nothing seen that was not hashed."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ohmykube.errors import (
    IntegrityError,
    Interrupted,
    LockedError,
    PrerequisiteError,
    ResourceError,
)
from ohmykube.kit import files, interrupt, plain_tar
from ohmykube.providers.lima import download_cache
from ohmykube.providers.lima.download_cache import Download, locate
from ohmykube.providers.lima.image_files import Part
from ohmykube.providers.lima.machine_image_tar import MachineImage
from tests.fake_clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable

IMAGE, KERNEL, INITRD = b"image " * 3000, b"kernel " * 99, b""


def digest(data: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def part(role: str, data: bytes, algorithm: str = "sha256") -> Part:
    return Part(role=role, location=f"https://a.test/{role}", digest=digest(data, algorithm))


PARTS = (part("image", IMAGE, "sha512"), part("kernel", KERNEL, "sha384"), part("initrd", INITRD))
DATA = dict(zip(PARTS, (IMAGE, KERNEL, INITRD), strict=True))


def image(root: Path, *parts: Part) -> MachineImage:
    return MachineImage(parts=parts or PARTS, downloads=root / "lima" / "download")


def filled(root: Path, *parts: Part) -> MachineImage:
    """Return the files of a host that has them all."""
    made = image(root, *parts)
    for one in made.portable:
        with made.download(one).filling(one.digest) as stream:
            stream.write(DATA[one])
    return made


def member(name: str, data: bytes) -> bytes:
    return plain_tar.header(name, len(data)) + data + bytes(plain_tar.padding(len(data)))


def whole(*members: bytes) -> bytes:
    content = b"".join(members)
    return content + bytes(plain_tar.ending(len(content)))


RIGHT = (member("image", IMAGE), member("kernel", KERNEL), member("initrd", INITRD))


def left_in(root: Path) -> list[str]:
    return sorted(path.name for path in root.rglob("*") if not path.is_dir())


# -- there and back --------------------------------------------------------------------------------


def test_there_and_back(tmp_path: Path) -> None:
    one, two = filled(tmp_path / "a"), image(tmp_path / "b")
    one.export_tar(tmp_path / "a.tar")
    assert (tmp_path / "a.tar").read_bytes() == whole(*RIGHT)
    with tarfile.open(tmp_path / "a.tar") as archive:
        found = archive.getmembers()
    assert [info.name for info in found] == ["image", "kernel", "initrd"]
    assert {(i.mtime, i.uid, i.gid, i.uname, i.mode) for i in found} == {(0, 0, 0, "", 0o644)}
    assert (one.is_downloaded(), two.is_downloaded()) == (True, False)
    two.import_tar(tmp_path / "a.tar")
    assert two.is_downloaded()
    two.export_tar(tmp_path / "b.tar")
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    two.import_tar(tmp_path / "no such file: it is here already")


def test_one_address_is_carried_once(tmp_path: Path) -> None:
    twice = Part(role="kernel", location=PARTS[0].location, digest=PARTS[0].digest)
    assert image(tmp_path, PARTS[0], twice).portable == (PARTS[0],)
    made = filled(tmp_path, PARTS[0], twice)
    made.export_tar(tmp_path / "a.tar")
    image(tmp_path / "b", PARTS[0], twice).import_tar(tmp_path / "a.tar")


def test_nothing_to_carry(tmp_path: Path) -> None:
    mine = image(tmp_path, Part(role="image", location=str(tmp_path / "a.img")))
    assert (mine.portable, mine.version, mine.is_downloaded()) == ((), "", True)


# -- what limactl is shown -------------------------------------------------------------------------


def test_as_limactl_lays_it(tmp_path: Path) -> None:
    place = filled(tmp_path).download(PARTS[0])
    assert place.directory.name == hashlib.sha256(b"https://a.test/image").hexdigest()
    assert left_in(place.directory) == ["data", "sha512.digest", "url"]
    assert (place.directory / "url").read_text() == "https://a.test/image"
    assert (place.directory / "sha512.digest").read_text() == digest(IMAGE, "sha512")
    assert place.data.read_bytes() == IMAGE


def test_only_the_very_digest_counts(tmp_path: Path) -> None:
    place = filled(tmp_path).download(PARTS[0])
    assert place.has(digest(IMAGE, "sha512"))
    assert not place.has(digest(IMAGE))  # the same content, but limactl would have to ask
    assert not place.has(digest(KERNEL, "sha512"))
    (place.directory / "sha512.digest").write_bytes(b"\xff")
    assert not place.has(digest(IMAGE, "sha512"))
    place.data.unlink()
    assert not place.has(digest(IMAGE, "sha512"))


def test_what_was_there_before_is_replaced_with_all_that_was_said_of_it(tmp_path: Path) -> None:
    place = image(tmp_path).download(PARTS[0])
    (place.directory / "imgconv").mkdir(parents=True)
    for name in ("data", "sha256.digest", "sha512.digest", "time", "type", "imgconv/raw",
                 "data.tmp.77.1", f"{files.TEMP_PREFIX}x"):  # fmt: skip
        (place.directory / name).write_text("old")
    with pytest.raises(TypeError), place.filling(PARTS[0].digest) as stream:
        stream.write("no bytes")  # type: ignore[arg-type]
    assert place.data.read_text() == "old"
    assert "data.tmp.77.1" not in left_in(place.directory)
    with place.filling(PARTS[0].digest) as stream:
        stream.write(IMAGE)
    assert left_in(place.directory) == ["data", "sha512.digest", "url"]
    assert not (place.directory / "imgconv").exists()


def test_killed_in_the_last_step_there_is_nothing(tmp_path: Path) -> None:
    """Something in the way of a late file stands for a kill: no digest beside other data."""
    place = image(tmp_path).download(PARTS[0])
    (place.directory / "url").mkdir(parents=True)
    (place.directory / "data").write_text("old")
    (place.directory / "sha512.digest").write_text("old")
    with pytest.raises(LockedError), place.filling(PARTS[0].digest) as stream:
        stream.write(IMAGE)
    assert left_in(place.directory) == []


def test_a_limactl_that_works_there_is_waited_for(tmp_path: Path) -> None:
    clock = FakeClock()
    place = Download(tmp_path, "https://a.test/image", clock)
    place.directory.mkdir()
    (place.directory / "data.tmp.1.1").touch()
    descriptor = os.open(place.directory, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(LockedError) as caught, place.filling(PARTS[0].digest):
        pass
    assert caught.value.id == "OMK-P-571"
    assert clock.time >= download_cache.WAIT_SECONDS
    place.sweep()
    assert left_in(place.directory) == ["data.tmp.1.1"], "what it works on is its own"
    os.close(descriptor)
    place.sweep()
    assert left_in(place.directory) == []
    shutil.rmtree(place.directory)
    place.sweep()


@pytest.mark.parametrize(
    ("environ", "system", "wanted"),
    [
        ({"HOME": "/h"}, "linux", "/h/.cache"),
        ({"HOME": "/h", "XDG_CACHE_HOME": ""}, "linux", "/h/.cache"),
        ({"HOME": "/h", "XDG_CACHE_HOME": "/x"}, "linux", "/x"),
        ({"HOME": "/h", "XDG_CACHE_HOME": "/x"}, "darwin", "/h/Library/Caches"),
    ],
)
def test_where_downloads_are(environ: dict[str, str], system: str, wanted: str) -> None:
    assert locate(environ, system) == Path(wanted, "lima/download/by-url-sha256")


@pytest.mark.parametrize(
    ("environ", "system", "word"),
    [
        ({"HOME": "/h", "XDG_CACHE_HOME": "x"}, "linux", "XDG_CACHE_HOME is 'x'"),
        ({}, "linux", "HOME is None"),
        ({"XDG_CACHE_HOME": "/x"}, "darwin", "HOME is None"),
    ],
)
def test_no_place_for_downloads(environ: dict[str, str], system: str, word: str) -> None:
    with pytest.raises(PrerequisiteError) as caught:
        locate(environ, system)
    assert caught.value.id == "OMK-P-572"
    assert word in (caught.value.why or "")


# -- writing ---------------------------------------------------------------------------------------


def lost(place: Download) -> None:
    place.data.unlink()


def flipped(place: Download) -> None:
    place.data.write_bytes(b"x" + place.data.read_bytes()[1:])


def linked(place: Download) -> None:
    place.data.rename(place.data.with_name("other"))
    place.data.symlink_to("other")


@pytest.mark.parametrize("harm", [lost, flipped, linked])
def test_a_damaged_download_is_not_carried(
    tmp_path: Path, harm: Callable[[Download], None]
) -> None:
    made = filled(tmp_path)
    harm(made.download(PARTS[1]))
    with pytest.raises(IntegrityError, match="machine kernel among Lima's downloads") as caught:
        made.export_tar(tmp_path / "a.tar")
    assert caught.value.id == "OMK-P-573"
    assert str(made.download(PARTS[1]).directory) in (caught.value.hint or "")


def test_stopped_on_request(tmp_path: Path) -> None:
    made = filled(tmp_path / "a")
    made.export_tar(tmp_path / "a.tar")
    interrupt.requested.set()
    with pytest.raises(Interrupted):
        made.export_tar(tmp_path / "b.tar")
    other = image(tmp_path / "b")
    with pytest.raises(Interrupted):
        other.import_tar(tmp_path / "a.tar")
    assert left_in(tmp_path / "b") == []


# -- hostile tars ----------------------------------------------------------------------------------


def typed(name: str, kind: bytes, link: str = "", data: bytes = b"") -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode, info.size = kind, link, 0o644, len(data)
    return info.tobuf(tarfile.USTAR_FORMAT) + data + bytes(plain_tar.padding(len(data)))


def with_header(**fields: object) -> bytes:
    info = tarfile.TarInfo("image")
    info.mode, info.size = 0o644, len(IMAGE)
    for name, value in fields.items():
        setattr(info, name, value)
    return info.tobuf(tarfile.USTAR_FORMAT) + RIGHT[0][512:]


_GOOD = whole(*RIGHT)
_REST = RIGHT[1:]
HOSTILE = {
    "empty": b"",
    "no header": b"x" * 10240,
    "only an end": whole(),
    "one missing": whole(*RIGHT[:2]),
    "another order": whole(RIGHT[1], RIGHT[0], RIGHT[2]),
    "one too many": whole(*RIGHT, member("evil", b"x")),
    "one twice": whole(RIGHT[0], *RIGHT),
    "parent": whole(member("../image", IMAGE), *_REST),
    "absolute": whole(member("/image", IMAGE), *_REST),
    "dot": whole(member("./image", IMAGE), *_REST),
    "another name": whole(member("data", IMAGE), *_REST),
    "link": whole(typed("image", tarfile.SYMTYPE, "/etc/shadow"), *_REST),
    "hard link": whole(typed("image", tarfile.LNKTYPE, "/etc/shadow"), *_REST),
    "directory": whole(typed("image", tarfile.DIRTYPE), *_REST),
    "device": whole(typed("image", tarfile.CHRTYPE), *_REST),
    "sparse": whole(typed("image", tarfile.GNUTYPE_SPARSE, data=IMAGE), *_REST),
    "pax": whole(typed("x", tarfile.XHDTYPE, data=b"14 path=image\n"), *RIGHT),
    "long name": whole(typed("././@LongLink", tarfile.GNUTYPE_LONGNAME, data=b"image\0"), *RIGHT),
    "other mode": whole(with_header(mode=0o4755), *_REST),
    "other time": whole(with_header(mtime=1), *_REST),
    "other owner": whole(with_header(uid=1), *_REST),
    "a byte more": whole(member("image", IMAGE + b"x"), *_REST),
    "a byte less": whole(member("image", IMAGE[:-1]), *_REST),
    "a byte changed": whole(member("image", b"I" + IMAGE[1:]), *_REST),
    "the last one changed": whole(*RIGHT[:2], member("initrd", b"x")),
    "size beyond the end": plain_tar.header("image", 1 << 40) + RIGHT[0][512:],
    "size within what ustar cannot say": plain_tar.header("image", 9 << 30) + _GOOD[512:],
    "padding": _GOOD.replace(RIGHT[0], RIGHT[0][:-1] + b"x"),
    "ending": _GOOD[:-1] + b"x",
    "trailing": _GOOD + b"\0",
    "trailing record": _GOOD + bytes(plain_tar.RECORD),
    "cut in a header": _GOOD[:300],
    "cut in content": _GOOD[:9000],
    "cut in the end": _GOOD[:-512],
}
TRUNCATED = {label for label in HOSTILE if "cut" in label or "beyond" in label} | {"empty"}


def test_the_table_begins_with_what_is_right() -> None:
    assert len(HOSTILE) == len(set(HOSTILE.values()))
    assert _GOOD not in HOSTILE.values()
    assert with_header() == RIGHT[0]


@pytest.mark.parametrize("label", HOSTILE)
def test_hostile_tars(label: str, tmp_path: Path) -> None:
    (tmp_path / "bad.tar").write_bytes(HOSTILE[label])
    mine = image(tmp_path / "cache")
    with pytest.raises(IntegrityError, match="cannot be trusted") as caught:
        mine.import_tar(tmp_path / "bad.tar")
    assert caught.value.id == "OMK-P-574"
    if label in TRUNCATED:
        assert caught.value.why == "it is truncated"
    assert left_in(tmp_path / "cache") == []
    assert {path.name for path in tmp_path.iterdir()} == {"bad.tar", "cache"}
    (tmp_path / "good.tar").write_bytes(_GOOD)
    mine.import_tar(tmp_path / "good.tar")  # and no lock is left


def test_what_is_here_stays_when_a_tar_is_refused(tmp_path: Path) -> None:
    mine = filled(tmp_path / "cache", PARTS[0])
    (tmp_path / "bad.tar").write_bytes(HOSTILE["the last one changed"])
    with pytest.raises(IntegrityError):
        image(tmp_path / "cache").import_tar(tmp_path / "bad.tar")
    assert mine.is_downloaded()


def test_no_room(tmp_path: Path) -> None:
    size = shutil.disk_usage(tmp_path).free + (1 << 30)
    try:
        with (tmp_path / "large.tar").open("wb") as stream:
            stream.truncate(size)
    except OSError as error:
        pytest.skip(f"the file system takes no file larger than itself: {error}")
    with pytest.raises(ResourceError) as caught:
        image(tmp_path / "cache").import_tar(tmp_path / "large.tar")
    assert caught.value.id == "OMK-P-575"
    assert "are needed" in (caught.value.why or "")
    assert not (tmp_path / "cache").exists()
