"""The base image as a tar: there and back, and everything hostile refused before it is unpacked."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ohmykube.errors import IntegrityError, ProviderError
from ohmykube.kit.paths import Paths
from ohmykube.progress import NullReporter
from ohmykube.providers.base import Portable, ProviderContext
from ohmykube.providers.nspawn import base_archive
from ohmykube.providers.nspawn.base_image import BaseImages, Recipe
from ohmykube.providers.nspawn.host_system import HostSystem
from ohmykube.providers.nspawn.provider import NspawnProvider

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.linux

LONG = "usr/" + "/".join(["d" * 60] * 3)


def paths_at(root: Path) -> Paths:
    return Paths(state=root / "s", data=root / "d", cache=root / "c")


def images(root: Path) -> BaseImages:
    return BaseImages(HostSystem(), paths_at(root), NullReporter(), Recipe())


@pytest.fixture
def made(tmp_path: Path) -> BaseImages:
    """A small base with what real ones have: links of both kinds, long names, odd modes."""
    found = images(tmp_path / "made")
    root = found.rootfs(found.recipe.key)
    for name in ("etc", "usr/bin", "var/log", "root", "dev", "run/lock", "tmp", LONG):
        (root / name).mkdir(parents=True)
    (root / "tmp").chmod(0o1777)
    (root / "usr/bin/perl").write_text("perl")
    (root / "usr/bin/perl").chmod(0o4755)
    os.link(root / "usr/bin/perl", root / "usr/bin/perl5")
    os.link(root / "usr/bin/perl", root / LONG / "link")
    (root / "bin").symlink_to("usr/bin")
    (root / "etc/localtime").symlink_to("/usr/" + "z" * 150)
    (root / LONG / "datei-ü").write_text("long")
    (root / "dev/null").write_text("")
    os.utime(root / "usr/bin/perl", (1_700_000_000.75, 1_700_000_000.75))
    return found


def test_there_and_back(made: BaseImages, tmp_path: Path) -> None:
    made.export_tar(tmp_path / "a.tar")
    other = images(tmp_path / "other")
    assert not other.has()
    other.import_tar(tmp_path / "a.tar")
    assert other.has()
    root = other.rootfs(other.recipe.key)
    perl = (root / "usr/bin/perl").stat()
    assert (perl.st_mode & 0o7777, perl.st_nlink, perl.st_mtime) == (0o4755, 3, 1_700_000_000)
    assert (root / "tmp").stat().st_mode & 0o7777 == 0o1777
    assert (root / "bin").readlink().name == "bin"
    assert list((root / "dev").iterdir()) == list((root / "run").iterdir()) == []
    other.export_tar(tmp_path / "b.tar")
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    other.import_tar(tmp_path / "no such file: it is there already")
    assert [p.name for p in (tmp_path / "other/c/nspawn").iterdir() if p.is_dir()] == [
        f"base-{other.recipe.key}"
    ]


def test_the_provider_hands_it_over(tmp_path: Path, made: BaseImages) -> None:
    def provider(root: Path) -> NspawnProvider:
        return NspawnProvider(ProviderContext(paths=paths_at(root), reporter=NullReporter()))

    one, two = provider(tmp_path / "made"), provider(tmp_path / "two")
    assert isinstance(one, Portable)
    assert one.base_version() == two.base_version() == made.recipe.key
    assert (one.has_base(), two.has_base()) == (True, False)
    one.export_base(tmp_path / "a.tar")
    two.import_base(tmp_path / "a.tar")
    assert two.has_base()
    two.prepare()  # finds it and builds nothing


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", data: bytes = b"") -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size, info.mode = kind, link, len(data), 0o755
    return info.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % 512)


DIRECTORIES = b"".join(
    member(name, tarfile.DIRTYPE) for name in ("./", "./etc", "./root", "./usr", "./var")
)
END = bytes(1024)


def pax(text: bytes) -> bytes:
    return member("PaxHeaders/x", tarfile.XHDTYPE, data=text)


HOSTILE = {
    "parent": member("./etc/../../evil"),
    "absolute": member("/etc/evil"),
    "empty part": member("./etc//evil"),
    "dot": member("./etc/./evil"),
    "no directory": member("./opt/evil"),
    "root is a file": member("./."),
    "through a symlink": member("./lib", tarfile.SYMTYPE, "/tmp") + member("./lib/evil"),
    "through a hard link": member("./a", data=b"x") + member("./a/evil"),
    "hard link outside": member("./shadow", tarfile.LNKTYPE, "/etc/shadow"),
    "hard link up": member("./shadow", tarfile.LNKTYPE, "../../etc/shadow"),
    "hard link to a symlink": member("./s", tarfile.SYMTYPE, "/etc/shadow")
    + member("./h", tarfile.LNKTYPE, "./s"),
    "hard link forward": member("./h", tarfile.LNKTYPE, "./later") + member("./later"),
    "twice": member("./x") + member("./x"),
    "directory again as a link": member("./etc", tarfile.SYMTYPE, "/etc"),
    "device": member("./mem", tarfile.CHRTYPE),
    "block device": member("./sda", tarfile.BLKTYPE),
    "fifo": member("./pipe", tarfile.FIFOTYPE),
    "sparse": member("./sparse", tarfile.GNUTYPE_SPARSE),
    "long name of GNU": member("././@LongLink", tarfile.GNUTYPE_LONGNAME, data=b"../../evil\0"),
    "global header": member("g", tarfile.XGLTYPE, data=b"20 path=../../evil\n"),
    "link with content": member("./l", tarfile.SYMTYPE, "x", b"data"),
    "pax path": pax(b"22 path=../../../evil\n") + member("./fine"),
    "pax link": pax(b"26 linkpath=../../shadow\n\n"[:26]) + member("./l", tarfile.LNKTYPE, "./x"),
    "pax size": pax(b"13 size=9999\n") + member("./fine"),
    "pax twice": pax(b"12 path=./a\n") + pax(b"12 path=./b\n") + member("./fine"),
    "pax key twice": pax(b"12 path=./a\n12 path=./b\n") + member("./fine"),
    "pax length": pax(b"99 path=./a\n") + member("./fine"),
    "pax no length": pax(b"path=./a\n") + member("./fine"),
    "pax zero length": pax(b"0 path=./a\n") + member("./fine"),
    "pax no line end": pax(b"12 path=./ab") + member("./fine"),
    "pax nul": pax(b"14 path=./a\0b\n") + member("./fine"),
    "pax alone": pax(b"12 path=./a\n"),
    "pax other attribute": pax(b"28 SCHILY.xattr.user.x=abcd\n"[:28]) + member("./fine"),
    "pax too large": member("x", tarfile.XHDTYPE, data=b"x" * (65 << 10)) + member("./fine"),
    "no header": b"x" * 512,
    "old format": member("./x")[:257] + b"ustar  \0" + member("./x")[265:],
}


@pytest.mark.parametrize("label", HOSTILE)
def test_hostile_bases(label: str, tmp_path: Path) -> None:
    (tmp_path / "bad.tar").write_bytes(DIRECTORIES + HOSTILE[label] + END)
    before = images(tmp_path / "target")
    with pytest.raises(IntegrityError, match="cannot be trusted"):
        before.import_tar(tmp_path / "bad.tar")
    left = [p for p in (tmp_path / "target").rglob("*") if p.name != "build.lock" and p.is_file()]
    assert left == []
    assert not before.has()
    assert {p.name for p in tmp_path.iterdir()} == {"bad.tar", "target"}


@pytest.mark.parametrize("without", ["./etc", "./usr", "./var", "./root"])
def test_where_files_of_nodes_go_must_be_a_directory(without: str, tmp_path: Path) -> None:
    names = [n for n in ("./", "./etc", "./root", "./usr", "./var") if n != without]
    parts = [member(name, tarfile.DIRTYPE) for name in names]
    parts.append(member(without, tarfile.SYMTYPE, "/" + without[2:]))
    (tmp_path / "bad.tar").write_bytes(b"".join(parts) + END)
    with pytest.raises(IntegrityError) as caught:
        base_archive.check(tmp_path / "bad.tar")
    assert f"/{without[2:]} is not a directory" in caught.value.why


@pytest.mark.parametrize(
    "data",
    [b"", member("./"), b"ustar" * 200, b"\0" * 100, DIRECTORIES[:700], DIRECTORIES + b"x" * 600],
)
def test_damaged_bases(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "bad.tar").write_bytes(data)
    with pytest.raises(IntegrityError):
        base_archive.check(tmp_path / "bad.tar")


def test_truncated_and_trailing(made: BaseImages, tmp_path: Path) -> None:
    made.export_tar(tmp_path / "a.tar")
    data = (tmp_path / "a.tar").read_bytes()
    base_archive.check(tmp_path / "a.tar")
    for cut in (513, 2048, 5000):
        (tmp_path / "b.tar").write_bytes(data[:cut])
        with pytest.raises(IntegrityError):
            base_archive.check(tmp_path / "b.tar")
    (tmp_path / "b.tar").write_bytes(data + b"x")
    with pytest.raises(IntegrityError) as caught:
        base_archive.check(tmp_path / "b.tar")
    assert "follows its end" in caught.value.why


def test_too_many_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base_archive, "MEMBERS", 3)
    (tmp_path / "a.tar").write_bytes(DIRECTORIES + END)
    with pytest.raises(IntegrityError) as caught:
        base_archive.check(tmp_path / "a.tar")
    assert "more than 3 members" in caught.value.why


def test_a_tar_that_cannot_be_unpacked_leaves_nothing(tmp_path: Path) -> None:
    name = b"path=./etc/" + b"x" * 300
    long = pax(f"{len(name) + 5} ".encode() + name + b"\n") + member("./short")
    (tmp_path / "a.tar").write_bytes(DIRECTORIES + long + END)
    target = images(tmp_path / "target")
    with pytest.raises(ProviderError, match="unpack the node base image"):
        target.import_tar(tmp_path / "a.tar")
    assert not target.has()
    assert list((tmp_path / "target/c/nspawn").glob("tmp-*")) == []


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.lists(
        st.text("ab./\\ \n*-", min_size=1, max_size=12) | st.just("etc/../../x"), max_size=4
    ),
    kinds=st.lists(
        st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE]),
        min_size=4,
        max_size=4,
    ),
)
def test_what_is_let_through_stays_inside(
    names: list[str], kinds: list[bytes], tmp_path: Path
) -> None:
    """Whatever the check lets pass, GNU tar unpacks below the target."""
    sink = io.BytesIO(DIRECTORIES)
    sink.seek(0, os.SEEK_END)
    for name, kind in zip(names, kinds, strict=False):
        sink.write(member(name, kind, "../../outside" if kind == tarfile.SYMTYPE else "./etc"))
    (tmp_path / "a.tar").write_bytes(sink.getvalue() + END)
    place = tmp_path / "place"
    target = images(place / "target")
    try:
        target.import_tar(tmp_path / "a.tar")
    except IntegrityError:
        assert not target.has()
    assert {p.name for p in tmp_path.iterdir()} == {"a.tar", "place"}
    assert {p.name for p in place.iterdir()} == {"target"}
    base = place / "target/c/nspawn" / f"base-{target.recipe.key}"
    if base.exists():
        base.rename(tmp_path / "place/gone")
        shutil.rmtree(tmp_path / "place/gone")
