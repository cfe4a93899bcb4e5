from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ohmykube.errors import LockedError, PermissionDenied, ResourceError
from ohmykube.kit import files, process

# Forks one child for each effect that `files.write` has (a call into C at least), kills it there,
# and notes what an observer finds. Ends with the first child that came through.
CRASH_SWEEP = """
import json, os, pathlib, signal, sys
from ohmykube.kit import files

target = pathlib.Path(sys.argv[1])
new = b"new" * 1000
seen = []
for limit in range(1, 500):
    files.write(target, b"old")
    child = os.fork()
    if child == 0:
        calls = 0
        def profile(frame, event, argument):
            global calls
            if event == "c_call":
                calls += 1
                if calls == limit:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.setprofile(profile)
        files.write(target, new)
        sys.setprofile(None)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    content = target.read_bytes()
    seen.append("old" if content == b"old" else "new" if content == new else "torn")
    files.sweep(target.parent)
    assert [p.name for p in target.parent.iterdir()] == [target.name]
    if status == 0:
        break
print(json.dumps(seen))
"""

FULL_DISK = """
import pathlib, subprocess, sys
from ohmykube.errors import PermissionDenied, ResourceError
from ohmykube.kit import files, locks

disk = pathlib.Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], check=True)
target = disk / "file"
files.write(target, "old")
try:
    files.write(target, b"x" * (1 << 20))
except ResourceError as error:
    print(error.message)
    print(error.why)
print(target.read_text(), [p.name for p in disk.iterdir()])
(disk / "lock").touch()
try:
    (disk / "fill").write_bytes(b"x" * (1 << 20))
except OSError:
    pass
with locks.exclusive(disk / "lock", "it"):
    print("locked on a full disk")
subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
try:
    files.write(target, "new")
except PermissionDenied as error:
    print(error.why)
"""

MOUNTS = """
import pathlib, subprocess, sys
from ohmykube.errors import LockedError
from ohmykube.kit import files

top = pathlib.Path(sys.argv[1])
kept = top / "kept"
tree = top / "a tree"
for point in (tree / "bound dir", tree / "deep" / "er", tree / "file", tree):
    if point.name == "file":
        point.parent.mkdir(parents=True, exist_ok=True)
        point.touch()
        (top / "source").touch()
        subprocess.run(["mount", "--bind", str(top / "source"), str(point)], check=True)
    else:
        point.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "--bind", str(kept), str(point)], check=True)
    try:
        files.remove_tree(tree)
    except LockedError as error:
        print(error.message)
    assert (kept / "data").read_text() == "precious"
    subprocess.run(["umount", str(point)], check=True)
files.remove_tree(tree)
assert not tree.exists()
"""

NOBODY = """
import os, pathlib, sys
from ohmykube.errors import PermissionDenied
from ohmykube.kit import files, locks

b"x".decode("unicode_escape").encode("latin-1")  # Python's own files may be out of sight of nobody
os.setgroups([])
os.setuid(65534)
top = pathlib.Path(sys.argv[1])
def attempts():
    yield lambda: files.write(top / "file", "text")
    yield lambda: files.ensure_directory(top / "a" / "b")
    yield lambda: files.remove_tree(top / "tree")
    yield lambda: locks.exclusive(top / "lock", "it").__enter__()
for attempt in attempts():
    try:
        attempt()
    except PermissionDenied as error:
        print(error.hint)
"""


def script(text: str, *arguments: object, isolated: bool = False) -> process.Result:
    """Run it in a Python of its own, when ``isolated`` with mounts that nobody else sees."""
    prefix = ["unshare", "--mount", "--propagation", "private", "--"] if isolated else []
    argv = [*prefix, sys.executable, "-c", text, *map(str, arguments)]
    return process.run(argv, timeout=120)


def test_write_makes_and_replaces_with_the_mode_asked_for(tmp_path: Path) -> None:
    target = tmp_path / "file"
    files.write(target, "héllo")
    assert target.read_bytes() == "héllo".encode()
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    files.write(target, b"bytes", 0o644)
    assert target.read_bytes() == b"bytes"
    assert stat.S_IMODE(target.stat().st_mode) == 0o644
    assert list(tmp_path.iterdir()) == [target]


def test_the_mode_does_not_depend_on_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o777)
    try:
        files.write(tmp_path / "file", "x", 0o640)
        files.ensure_directory(tmp_path / "a" / "b", 0o750)
    finally:
        os.umask(old)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("file", "a", "a/b")]
    assert modes == [0o640, 0o750, 0o750]


def test_a_failing_block_leaves_the_old_content_and_no_temp_file(tmp_path: Path) -> None:
    target = tmp_path / "file"
    files.write(target, "old")

    def torn() -> None:
        with files.replacing(target) as stream:
            stream.write(b"half")
            raise ValueError("bad")

    with pytest.raises(ValueError, match="bad"):
        torn()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_killed_at_each_effect_the_file_is_old_or_new(tmp_path: Path) -> None:
    seen = json.loads(script(CRASH_SWEEP, tmp_path / "file").stdout)
    assert len(seen) > 10
    assert set(seen) == {"old", "new"}
    assert seen == sorted(seen, reverse=True), "once it is new it stays new"


def test_a_full_or_read_only_disk_is_explained(tmp_path: Path, as_root: None) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    lines = script(FULL_DISK, disk, isolated=True).stdout.splitlines()
    assert lines[0] == f"no space left for {disk}/file"
    assert lines[1].endswith("MiB are free on that file system")
    assert lines[2] == "old ['file']"
    assert lines[3] == "locked on a full disk"
    assert "Read-only file system" in lines[4]


def test_foreign_directories_are_explained(as_root: None) -> None:
    # pytest's own temporary directories cannot even be entered by others.
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        top = Path(name)
        top.chmod(0o755)
        (top / "tree" / "sub").mkdir(parents=True)
        lines = script(NOBODY, top).stdout.splitlines()
    assert lines == [f"ls -ld {top}  (who owns it?)"] * 4


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("mine")
    link = tmp_path / "link"
    link.symlink_to(elsewhere)
    files.write(link, "new")
    assert elsewhere.read_text() == "mine"
    assert not link.is_symlink()


def test_names_that_are_taken_are_explained(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "directory" / "full").mkdir(parents=True)
    for path in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / "dangling"):
        with pytest.raises(LockedError, match="is in the way"):
            files.ensure_directory(path)
    with pytest.raises(LockedError, match="is in the way"):
        files.write(tmp_path / "directory", "text")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["dangling", "directory", "file"]


def test_other_failures_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        files.write(tmp_path / "absent" / "file", "text")


def test_ensure_directory_by_many_at_once(tmp_path: Path) -> None:
    target = tmp_path.joinpath(*"abcdefgh")
    barrier = threading.Barrier(8)
    failures: list[BaseException] = []

    def make() -> None:
        barrier.wait()
        try:
            files.ensure_directory(target)
        except BaseException as error:  # noqa: BLE001 - looked at below
            failures.append(error)

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert files.ensure_directory(target) == target


def test_sweep_removes_temp_files_only(tmp_path: Path) -> None:
    (tmp_path / f"{files.TEMP_PREFIX}abc").touch()
    (tmp_path / "kept").touch()
    files.sweep(tmp_path)
    files.sweep(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["kept"]


def test_remove_tree_does_not_follow_links(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "data").touch()
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub" / "link").symlink_to(kept)
    files.remove_tree(tree)
    link = tmp_path / "link"
    link.symlink_to(kept)
    files.remove_tree(link)
    dangling = tmp_path / "dangling"
    dangling.symlink_to(tmp_path / "nowhere")
    files.remove_tree(dangling)
    files.remove_tree(tmp_path / "absent")
    (tmp_path / "file").touch()
    files.remove_tree(tmp_path / "file")
    assert [p.name for p in tmp_path.iterdir()] == ["kept"]
    assert (kept / "data").exists()


@pytest.mark.linux
def test_remove_tree_beside_another_that_removes_it_too(tmp_path: Path) -> None:
    """What is gone, the tree or a part of it, is what was wanted."""
    for _ in range(20):
        tree = tmp_path / "tree"
        for name in range(20):
            (tree / str(name) / "below").mkdir(parents=True)
        with ThreadPoolExecutor(4) as pool:
            for done in [pool.submit(files.remove_tree, tree) for _ in range(4)]:
                done.result()
        assert not tree.exists()


@pytest.mark.parametrize("for_ever", [False, True])
def test_remove_tree_beside_one_that_writes_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, for_ever: bool
) -> None:
    """By what a killed run had begun, and what ends soon; one that does not is told of."""
    tree, looks = tmp_path / "tree", iter(range(1000))
    remove = shutil.rmtree

    def beside(name: Path, **more: Any) -> None:
        if for_ever or next(looks) < 5:
            raise OSError(errno.ENOTEMPTY, "Directory not empty", str(name))
        remove(name, **more)

    monkeypatch.setattr(files.shutil, "rmtree", beside)
    (tree / "below").mkdir(parents=True)
    if for_ever:
        with pytest.raises(LockedError, match="is in the way"):
            files.remove_tree(tree)
    else:
        files.remove_tree(tree)
    assert tree.exists() == for_ever


def test_remove_tree_refuses_mounts_even_of_the_same_disk(tmp_path: Path, as_root: None) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "data").write_text("precious")
    lines = script(MOUNTS, tmp_path, isolated=True).stdout.splitlines()
    tree = tmp_path / "a tree"
    points = (tree / "bound dir", tree / "deep" / "er", tree / "file", tree)
    assert lines == [f"{point} is still mounted, so {tree} was not removed" for point in points]


def test_errors_have_the_classes_promised() -> None:
    with pytest.raises(PermissionDenied), files.explained(Path("/x")):
        raise PermissionError(13, "denied")
    absent = Path("/no/such/x")
    with pytest.raises(ResourceError, match=f"for {absent}"), files.explained(absent):
        raise OSError(122, "quota")


def test_only_links_of_others_are_a_strangers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    assert not files.is_strangers_link(link)
    assert not files.is_strangers_link(tmp_path)
    assert not files.is_strangers_link(tmp_path / "absent")
    os.lchown(link, 12345, -1) if os.geteuid() == 0 else monkeypatch.setattr(
        os, "geteuid", lambda: 12345
    )
    assert files.is_strangers_link(link)
    assert not files.is_strangers_link(tmp_path)


def test_nothing_is_appended_through_a_link(tmp_path: Path) -> None:
    file = tmp_path / "file"
    for _ in range(2):
        with files.appending(file) as stream:
            stream.write(b"x")
    assert file.read_bytes() == b"xx"
    (tmp_path / "link").symlink_to(file)
    with pytest.raises(OSError, match="symbolic links"):
        files.appending(tmp_path / "link")


@pytest.mark.parametrize("workers", [2, 4])
def test_remove_tree_of_what_others_remove_too(tmp_path: Path, workers: int) -> None:
    """What is gone is removed: nobody fails because somebody else was faster."""
    for number in range(20):
        tree = tmp_path / str(number)
        for name in range(30):
            (tree / f"d{name}" / "below").mkdir(parents=True)
            (tree / f"d{name}" / "file").touch()
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(files.remove_tree, [tree] * workers))
        assert not tree.exists()


@pytest.mark.parametrize("size", [0, 1, 99, 100])
def test_reading_what_is_within_the_limit(tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * size)
    assert files.read_at_most(path, 100) == b"x" * size


@pytest.mark.parametrize("name", ["/dev/zero", "/dev/full", "file"])
def test_reading_ends_at_the_limit(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_bytes(b"x" * 101)
    with pytest.raises(ValueError, match="more than 100 bytes"):
        files.read_at_most(tmp_path / name, 100)
