"""Files between a host and a node arrive as they were; what a node sends is not trusted."""

from __future__ import annotations

import io
import os
import shlex
import stat
import tarfile
from typing import TYPE_CHECKING

import pytest

from ohmykube.errors import IntegrityError, NodeError, NotFoundError, PermissionDenied, UsageError
from ohmykube.steps import copy_files
from ohmykube.steps.node_shell import NodeShell

if TYPE_CHECKING:
    from pathlib import Path

NAMES = [
    *("plain", "a b", "-rf", "--help", "co:lon", "q'uo\"te", "$HOME", "`id`", "back\\slash"),
    *("ümläut-日本", "new\nline", "*", "a" * 200, os.fsdecode(b"\xff\xfe")),
]


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NodeShell:
    """A node whose files are those of this host, after a greeting of its login shell."""
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nprintf "welcome"; echo; shift 4; exec sh -c "$*"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return NodeShell(tmp_path / "config", "w1")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory with files of every name and of many modes, links, and empty directories."""
    top = tmp_path / "here" / "tree"
    top.mkdir(parents=True)
    for number, name in enumerate(NAMES):
        (top / name).write_bytes(bytes([number]) * number * 5000)
        (top / name).chmod(0o400 | number * 7 & 0o777)
    (top / "empty").mkdir(mode=0o700)
    (top / "deep").mkdir()
    (top / "deep" / "er").write_text("x")
    (top / "deep" / "link").symlink_to("../plain")
    (top / "deep" / "dangling").symlink_to("none")
    os.link(top / "plain", top / "zz-same")
    (top / "deep").chmod(0o555)
    return top


def told(path: Path) -> dict[str, object]:
    """Return all that is to be kept of what is below a path."""
    found: dict[str, object] = {}
    for one in [path, *sorted(path.rglob("*"))]:
        mode = one.lstat().st_mode
        name = str(one.relative_to(path))
        if one.is_symlink():
            found[name] = str(one.readlink())
        else:
            content = one.read_bytes() if one.is_file() else b""
            found[name] = (stat.S_IFMT(mode), mode & 0o777, content)
    return found


WAYS = ["to", "from"]


def copy(way: str, shell: NodeShell, source: str, target: str) -> copy_files.Copied:
    if way == "to":
        return copy_files.to_node(source, shell, target)
    return copy_files.from_node(shell, source, target)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("end", ["", "/", "/."])
@pytest.mark.parametrize("there", [False, True])
def test_a_directory_arrives_as_it_was(
    shell: NodeShell, tree: Path, tmp_path: Path, *, way: str, end: str, there: bool
) -> None:
    """Inside of a directory that is there, else under the new name; or what is in it alone."""
    target = tmp_path / "there"
    if there:
        target.mkdir(mode=0o711)
    done = copy(way, shell, f"{tree}{end}", str(target))
    found = told(target / "tree" if there and end != "/." else target)
    expected = told(tree)
    if end == "/.":
        del found["."], expected["."]
    assert found == expected
    assert done.skipped == []
    assert done.count == len(NAMES) + 4
    if there:
        assert target.stat().st_mode & 0o777 == 0o711
    assert told(tree)["plain"] == told(tree)["zz-same"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_any_name_gets_the_name_that_is_asked_for(
    way: str, name: str, shell: NodeShell, tree: Path, tmp_path: Path
) -> None:
    target = tmp_path / "there"
    target.mkdir()
    assert copy(way, shell, str(tree / name), f"{target}/").count == 1
    assert copy(way, shell, str(tree / "plain"), str(target / f"{name}.new"[-250:])).count == 1
    expected = told(tree)
    found = told(target)
    assert found[name] == expected[name]
    assert found[f"{name}.new"[-250:]] == expected["plain"]
    assert len(found) == 3


@pytest.mark.parametrize("way", WAYS)
def test_a_copy_takes_the_place_of_a_file_and_goes_into_what_a_link_leads_to(
    way: str, shell: NodeShell, tree: Path, tmp_path: Path
) -> None:
    (tmp_path / "old").write_text("old")
    copy(way, shell, str(tree / "plain"), str(tmp_path / "old"))
    assert (tmp_path / "old").read_bytes() == (tree / "plain").read_bytes()
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "link-to-tree").symlink_to(tree)
    copy(way, shell, str(tmp_path / "link-to-tree"), str(tmp_path / "link"))
    assert told(tmp_path / "real" / "link-to-tree") == told(tree)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("source", "target", "error"),
    [
        ("none", "there", NotFoundError),
        ("none/.", "there", NotFoundError),
        ("tree/plain/.", "there", NotFoundError),
        ("tree/plain", "none/there", NotFoundError),
        ("tree", "none/there", NotFoundError),
        ("tree/.", "none/there", NotFoundError),
        ("tree/plain", "none/", NotFoundError),
        ("tree/plain", "file/", NotFoundError),
        ("tree/plain", "file/there", NotFoundError),
        ("tree", "file", UsageError),
        ("tree/.", "file", UsageError),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_written(
    shell: NodeShell, tree: Path, *, way: str, source: str, target: str, error: type[Exception]
) -> None:
    (tree.parent / "file").write_text("kept")
    before = told(tree.parent)
    with pytest.raises(error) as caught:
        copy(way, shell, f"{tree.parent}/{source}", f"{tree.parent}/{target}")
    assert told(tree.parent) == before
    where = {("to", "none"): "this host", ("from", "none"): "node w1"}
    assert where.get((way, source), "") in str(caught.value)


@pytest.mark.parametrize("way", WAYS)
def test_what_is_no_file_is_passed_over_and_told(
    way: str, shell: NodeShell, tmp_path: Path
) -> None:
    source = tmp_path / "d"
    source.mkdir()
    os.mkfifo(source / "fifo")
    (source / "file").write_text("x")
    done = copy(way, shell, str(source), str(tmp_path / "new"))
    assert (done.count, [line.endswith("fifo: no file") for line in done.skipped]) == (1, [True])
    assert [one.name for one in (tmp_path / "new").iterdir()] == ["file"]


def test_relative_paths_of_a_node_start_at_the_home_of_root(
    shell: NodeShell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copy_files, "HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "file").write_text("x")
    for target in ("", "new", "."):
        copy_files.to_node(str(tmp_path / "file"), shell, target)
    assert {one.name for one in (tmp_path / "home").iterdir()} == {"file", "new"}
    copy_files.from_node(shell, "new", str(tmp_path / "back"))
    assert (tmp_path / "back").read_text() == "x"


def sending(shell: NodeShell, place: Path, *members: tuple[str, bytes, str]) -> None:
    """Let the node send this archive instead of what it is asked for."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name, kind, rest in members:
            info = tarfile.TarInfo(name)
            info.type = kind
            info.mode = 0o6777
            if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
                info.linkname = rest
            info.size = len(rest) if kind == tarfile.REGTYPE else 0
            tar.addfile(info, io.BytesIO(rest.encode()))
    archive = place / "sent.tar"
    archive.write_bytes(made.getvalue())
    program = place / "bin" / "ssh"
    answer = "echo directory"
    program.write_text(
        "#!/bin/sh\necho 'ohmykube: output of the command'\n"
        f'case "$*" in *tar*) cat {shlex.quote(str(archive))};; *) {answer};; esac\n'
    )


FILE, DIRECTORY, LINK, HARD = tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE
TOP = ("./", DIRECTORY, "")


@pytest.mark.parametrize("source", ["/node/d", "/node/d/."])
@pytest.mark.parametrize(
    "member",
    [
        ("../evil", FILE, "x"),
        ("./a/../../evil", FILE, "x"),
        ("/evil", FILE, "x"),
        ("//evil", FILE, "x"),
        ("./link/../../../evil", FILE, "x"),
        ("..", DIRECTORY, ""),
    ],
)
def test_a_node_writes_nothing_outside_of_the_place(
    source: str, member: tuple[str, bytes, str], shell: NodeShell, tmp_path: Path
) -> None:
    sending(shell, tmp_path, TOP, member)
    outer = tmp_path / "outer"
    (outer / "place").mkdir(parents=True)
    with pytest.raises(IntegrityError) as caught:
        copy_files.from_node(shell, source, str(outer / "place"))
    assert caught.value.id == "OMK-N-551"
    assert [str(one.relative_to(outer)) for one in outer.rglob("*evil*")] == []


@pytest.mark.parametrize("leads", ["/etc/passwd", "../../out", "../../../etc", "/"])
@pytest.mark.parametrize("kind", [LINK, HARD])
def test_links_that_lead_out_are_not_made(
    leads: str, kind: bytes, shell: NodeShell, tmp_path: Path
) -> None:
    sending(shell, tmp_path, TOP, ("./link", kind, leads), ("./file", FILE, "x"))
    place = tmp_path / "place"
    place.mkdir()
    if kind == HARD:  # no program sends such a one
        with pytest.raises(IntegrityError):
            copy_files.from_node(shell, "/node/d", str(place))
        return
    done = copy_files.from_node(shell, "/node/d", str(place))
    assert done.skipped == [f"./link: a link to {leads}, outside"]
    assert sorted(one.name for one in place.rglob("*")) == ["d", "file"]


def test_nothing_is_written_through_a_link_that_was_sent_before(
    shell: NodeShell, tmp_path: Path
) -> None:
    sending(shell, tmp_path, TOP, ("./a", LINK, "b"), ("./a", FILE, "x"), ("./b", FILE, "kept"))
    place = tmp_path / "place"
    place.mkdir()
    copy_files.from_node(shell, "/node/d", str(place))
    assert (place / "d" / "b").read_text() == "kept"
    assert (place / "d" / "a").is_symlink()


def test_a_link_that_is_here_and_leads_out_is_not_followed(
    shell: NodeShell, tmp_path: Path
) -> None:
    sending(shell, tmp_path, TOP, ("./f", FILE, "x"))
    (tmp_path / "out").mkdir()
    (tmp_path / "place").mkdir()
    (tmp_path / "place" / "d").symlink_to("../out")
    with pytest.raises(IntegrityError):
        copy_files.from_node(shell, "/node/d", str(tmp_path / "place"))
    assert list((tmp_path / "out").iterdir()) == []


def test_no_file_of_a_node_sets_a_user(shell: NodeShell, tmp_path: Path) -> None:
    sending(shell, tmp_path, TOP, ("./f", FILE, "x"))
    copy_files.from_node(shell, "/node/d", str(tmp_path / "new"))
    found = (tmp_path / "new" / "f").stat()
    assert (stat.S_IMODE(found.st_mode), found.st_uid) == (0o777, os.getuid())


@pytest.mark.parametrize("cut", [0, 100, -1])
def test_half_an_archive_is_an_error(shell: NodeShell, tmp_path: Path, cut: int) -> None:
    sending(shell, tmp_path, TOP, ("./f", FILE, "x" * 100_000))
    whole = (tmp_path / "sent.tar").read_bytes()
    (tmp_path / "sent.tar").write_bytes(whole[: cut if cut >= 0 else 50_000])
    with pytest.raises(NodeError) as caught:
        copy_files.from_node(shell, "/node/d", str(tmp_path / "new"))
    assert "w1" in caught.value.message


@pytest.mark.parametrize("way", WAYS)
def test_a_node_that_fails_says_why(way: str, shell: NodeShell, tree: Path, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "ssh"
    answer = "echo 'ohmykube: output of the command'; echo directory"
    refused = "echo disk is full >&2; exit 2"
    program.write_text(f'#!/bin/sh\ncase "$*" in *tar*) {refused};; *) {answer};; esac\n')
    with pytest.raises(NodeError) as caught:
        copy(way, shell, str(tree), str(tmp_path / "new"))
    assert "`tar` failed on node w1" in caught.value.message
    assert "disk is full" in (caught.value.why or "")


def test_a_file_of_this_host_that_cannot_be_read_is_named(
    shell: NodeShell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: object, *_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    (tmp_path / "f").write_text("x")
    monkeypatch.setattr(tarfile, "bltn_open", refuse)
    with pytest.raises(PermissionDenied, match="cannot read "):
        copy_files.to_node(str(tmp_path / "f"), shell, str(tmp_path / "new"))


def test_all_is_read_that_a_node_sends(tmp_path: Path) -> None:
    """Also what stands after the end of an archive: a sender that is left alone with it fails."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("a"))
    sent = io.BufferedReader(io.BytesIO(buffer.getvalue() + bytes(1 << 20)))  # type: ignore[arg-type]
    copy_files._Receiver(tmp_path, "a", "a", None).take(sent)
    assert (tmp_path / "a").is_file()
    assert sent.read() == b""
