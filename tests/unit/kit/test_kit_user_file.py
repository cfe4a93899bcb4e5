"""A file of the user's is rewritten with owner, group, mode, access control list and links kept."""

from __future__ import annotations

import os
import stat
import struct
import sys
from pathlib import Path

import pytest

from ohmykube.errors import LockedError, PermissionDenied
from ohmykube.kit import files, process, user_file

NOBODY = 65534
OLD, LONGER, SHORTER = b"old content", b"new content, longer than the old one", b"new"
ACL = "system.posix_acl_access"


def acl(*entries: tuple[int, int, int]) -> bytes:
    """Return an access control list of (tag, permissions, id), as the kernel keeps it."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


READABLE_BY_NOBODY = acl(
    (0x01, 6, 0xFFFFFFFF), (0x02, 4, NOBODY), (0x04, 0, 0xFFFFFFFF), (0x10, 4, 0xFFFFFFFF),
    (0x20, 0, 0xFFFFFFFF),
)  # fmt: skip

AS_NOBODY = """
import os, pathlib, sys
from ohmykube.kit import user_file
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
user_file.rewrite(pathlib.Path(sys.argv[1]), sys.argv[2].encode())
"""


def look(path: Path) -> tuple[int, int, int, dict[str, bytes]]:
    """Return owner, group, mode and extended attributes."""
    status = path.lstat()
    listed = os.listxattr(path, follow_symlinks=False) if sys.platform == "linux" else []
    found = {name: os.getxattr(path, name, follow_symlinks=False) for name in listed}
    return status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode), found


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "config"
    path.write_bytes(OLD)
    return path


@pytest.mark.parametrize("content", [LONGER, SHORTER, b""])
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o664, 0o400])
def test_the_mode_stays(target: Path, mode: int, content: bytes) -> None:
    target.chmod(mode)
    if mode == 0o400 and os.geteuid() != 0:
        with pytest.raises(PermissionDenied):
            user_file.rewrite(target, content)
        return
    user_file.rewrite(target, content)
    assert target.read_bytes() == content
    assert stat.S_IMODE(target.stat().st_mode) == mode
    assert [path.name for path in target.parent.iterdir()] == ["config"]


@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize(("uid", "gid"), [(NOBODY, NOBODY), (1, 0), (0, 4), (4242, 4343)])
def test_owner_and_group_stay(target: Path, uid: int, gid: int) -> None:
    os.chown(target, uid, gid)
    before = look(target)
    user_file.rewrite(target, LONGER)
    assert look(target) == before
    assert target.read_bytes() == LONGER


@pytest.mark.linux
@pytest.mark.parametrize("attributes", [{ACL: READABLE_BY_NOBODY}, {"user.note": b"mine"}, {}])
def test_extended_attributes_stay(target: Path, attributes: dict[str, bytes]) -> None:
    for name, value in attributes.items():
        os.setxattr(target, name, value)
    before = look(target)
    assert before[3] == attributes
    user_file.rewrite(target, LONGER)
    assert look(target) == before


@pytest.mark.linux
def test_nobody_gains_rights_by_the_directory(target: Path) -> None:
    """Its default list is for new files, and the file is none."""
    os.setxattr(target.parent, "system.posix_acl_default", READABLE_BY_NOBODY)
    before = look(target)
    user_file.rewrite(target, LONGER)
    assert look(target) == before
    assert ACL not in before[3]


def test_links_are_followed_and_stay(tmp_path: Path, target: Path) -> None:
    link, farther = tmp_path / "link", tmp_path / "farther"
    link.symlink_to("config")
    farther.symlink_to(link)
    user_file.rewrite(farther, LONGER)
    assert farther.is_symlink()
    assert link.is_symlink()
    assert target.read_bytes() == LONGER


def test_all_names_of_a_file_have_the_content(tmp_path: Path, target: Path) -> None:
    (tmp_path / "other").hardlink_to(target)
    user_file.rewrite(target, LONGER)
    assert (tmp_path / "other").read_bytes() == LONGER
    user_file.rewrite(target, SHORTER)
    assert (tmp_path / "other").read_bytes() == SHORTER


@pytest.mark.linux
@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize("content", [LONGER, SHORTER])
def test_a_mounted_file_is_written_in_place(tmp_path: Path, target: Path, content: bytes) -> None:
    """As ``docker run -v ~/.kube/config:...`` has it: a rename onto it fails (EBUSY)."""
    (tmp_path / "place").mkdir()
    mounted = tmp_path / "place" / "config"
    mounted.touch()
    code = (
        "import sys, pathlib; from ohmykube.kit import user_file; "
        "user_file.rewrite(pathlib.Path(sys.argv[1]), sys.argv[2].encode())"
    )
    script = 'mount --bind "$1" "$2" && "$3" -c "$4" "$2" "$5"'
    words = [str(target), str(mounted), sys.executable, code, content.decode()]
    process.run(["unshare", "-m", "sh", "-c", script, "sh", *words], timeout=60)
    assert target.read_bytes() == content
    assert [path.name for path in mounted.parent.iterdir()] == ["config"]


@pytest.mark.usefixtures("as_root")
def test_a_directory_that_takes_no_new_file(public: Path) -> None:
    target = public / "config"
    target.write_bytes(OLD)
    os.chown(target, NOBODY, 0)
    target.chmod(0o660)
    before = look(target)
    process.run([sys.executable, "-c", AS_NOBODY, str(target), LONGER.decode()], timeout=60)
    assert target.read_bytes() == LONGER
    assert look(target) == before


@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize("below", ["config", ".kube/config", "a/b/config"])
def test_what_root_makes_belongs_to_the_owner_of_the_directory(public: Path, below: str) -> None:
    os.chown(public, NOBODY, 4)
    user_file.rewrite(public / below, LONGER)
    made = [public / below, *(p for p in (public / below).parents if public in p.parents)]
    for path in made:
        status = path.stat()
        assert (status.st_uid, status.st_gid, status.st_mode & 0o077) == (NOBODY, 4, 0)


def test_a_new_file_is_private(tmp_path: Path) -> None:
    user_file.rewrite(tmp_path / "new" / "config", OLD)
    assert stat.S_IMODE((tmp_path / "new" / "config").stat().st_mode) == 0o600


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to(path)])
def test_what_is_no_file_is_in_the_way(tmp_path: Path, make) -> None:
    path = tmp_path / "config"
    make(path)
    with pytest.raises(LockedError, match="in the way"):
        user_file.rewrite(path, OLD)


@pytest.mark.linux
def test_where_there_is_no_space_the_file_is_as_it_was(
    tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").hardlink_to(target)  # so that it is written in place
    real = os.pwrite

    def full(descriptor: int, data: bytes, offset: int) -> int:
        if offset + len(data) > len(OLD) + 8:
            real(descriptor, data[:4], offset)
            raise OSError(28, "No space left on device")
        return real(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(files.ResourceError):
        user_file.rewrite(target, LONGER)
    assert target.read_bytes() == OLD
