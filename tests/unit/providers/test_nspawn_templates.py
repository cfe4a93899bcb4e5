"""Templates of the nspawn provider on a simulated host, and the copies that clones are made of."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import socket
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from simulated_host import Simulation
from test_nspawn_provider import files_left, provider_at

from ohmykube.errors import IntegrityError, NotFoundError, ProviderError, ResourceError
from ohmykube.kit import digest
from ohmykube.model.machine import MachineSpec, MachineState
from ohmykube.providers.base import NO_TEMPLATE, NewTemplate
from ohmykube.providers.nspawn import templates, tree_copy
from ohmykube.providers.nspawn.host_system import HostSystem
from ohmykube.providers.nspawn.layout import NodeFiles
from ohmykube.providers.nspawn.templates import TemplateStore
from ohmykube.testing.conformance import BUILDING, Subject, TemplatesConformance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ohmykube.providers.nspawn.provider import NspawnProvider

pytestmark = pytest.mark.linux

KEY = "00112233445566ff"
NEW = NewTemplate(key=KEY, role="worker", summary="kubernetes 1.36.3")
LAYER = "io.containerd.snapshotter.v1.overlayfs/snapshots/7/fs/bin/tool"
BLOB = "io.containerd.content.v1.content/blobs/sha256/aa"
DATABASE = "io.containerd.metadata.v1.bolt/meta.db"


@pytest.fixture
def simulation(tmp_path: Path) -> Simulation:
    return Simulation(root=tmp_path / "host", version=2)


@pytest.fixture
def provider(simulation: Simulation, tmp_path: Path) -> NspawnProvider:
    return provider_at(simulation, tmp_path)


class TestConformance(TemplatesConformance):
    @pytest.fixture
    def subject(self, simulation: Simulation, tmp_path: Path) -> Iterator[Subject]:
        def etc(cluster: str, node: str) -> Path:
            return tmp_path / f"d/nspawn/{cluster}/nodes/{node}/root/etc"

        yield Subject(
            open=lambda _cluster: provider_at(simulation, tmp_path),
            cluster="dev",
            other="dev-2",
            nodes=("cp1", "w1"),
            mark=lambda cluster, node: (etc(cluster, node) / "mark").touch(),
            marked=lambda cluster, node: (etc(cluster, node) / "mark").exists(),
        )
        provider = provider_at(simulation, tmp_path)
        for node in ("cp1", "w1"):
            provider.delete("dev", node)
        provider.sweep_templates()
        for template in provider.templates():
            provider.remove_template(template.key)
        assert simulation.traces() == []
        assert files_left(tmp_path) == []


def machine(node: str, cluster: str = "dev", template: str = "") -> MachineSpec:
    return MachineSpec(cluster=cluster, node=node, template=template)


def node_files(home: Path, cluster: str, node: str) -> NodeFiles:
    return NodeFiles(home / f"d/nspawn/{cluster}/nodes/{node}")


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def prepared(provider: NspawnProvider, home: Path) -> NodeFiles:
    """Make a machine on which programs and images are, and what makes it itself."""
    provider.prepare()
    provider.create(machine("worker", BUILDING))
    files = node_files(home, BUILDING, "worker")
    for name in ("usr/local/bin/kubelet", "var/lib/ohmykube/artifacts.json"):
        write(files.root / name, name)
    for name in ("var/log/journal/x/system.journal", "tmp/left", "root/.ssh/known_hosts"):
        write(files.root / name, "of this node")
    for name in (BLOB, LAYER, DATABASE):
        write(files.root_dir / "containerd" / name, name)
    write(files.root_dir / "containerd/io.containerd.content.v1.content/ingest/1/data", "half")
    write(files.root_dir / "containerd/io.containerd.grpc.v1.introspection/uuid", "me")
    return files


def sums(root: Path) -> dict[str, tuple[int, str]]:
    """Return mode and content of every file below."""
    return {
        str(path.relative_to(root)): (path.lstat().st_mode, digest.of_file(path))
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != "template.json"
    }


@pytest.fixture
def template(provider: NspawnProvider, tmp_path: Path) -> Path:
    """Freeze a prepared machine; return where the template is."""
    prepared(provider, tmp_path)
    provider.freeze(BUILDING, "worker", NEW)
    return tmp_path / "d/nspawn-templates" / KEY


def test_a_template_has_the_programs_and_nothing_of_the_node(template: Path) -> None:
    found = sums(template)
    assert "lower/usr/local/bin/kubelet" in found
    assert "lower/var/lib/ohmykube/artifacts.json" in found
    assert {f"containerd/{name}" for name in (BLOB, LAYER, DATABASE)} <= set(found)
    own = ("hostname", "hosts", "machine-id", "machine.json", "ssh_host_", "journal/", "uuid")
    assert [name for name in found if any(part in name for part in (*own, "ingest/", "tmp/"))] == []
    assert not (template / "lower/root/.ssh").exists()


def test_a_clone_shares_what_is_never_written_and_nothing_else(
    provider: NspawnProvider, template: Path, tmp_path: Path
) -> None:
    before = sums(template)
    for node in ("w1", "w2"):
        provider.create(machine(node, template=KEY))
    first, second = (node_files(tmp_path, "dev", node) for node in ("w1", "w2"))
    for name, shared in ((BLOB, True), (LAYER, True), (DATABASE, False)):
        inodes = {(files.root_dir / "containerd" / name).stat().st_ino for files in (first, second)}
        inodes.add((template / "containerd" / name).stat().st_ino)
        assert len(inodes) == (1 if shared else 3), name
    kubelet = (template / "lower/usr/local/bin/kubelet").stat().st_ino
    assert (first.lower / "usr/local/bin/kubelet").stat().st_ino == kubelet
    (first.root_dir / "containerd" / DATABASE).write_text("changed")
    (first.root_dir / "containerd" / BLOB).unlink()
    assert sums(template) == before
    assert (second.root_dir / "containerd" / DATABASE).read_text() == DATABASE
    assert (second.root_dir / "containerd" / BLOB).read_text() == BLOB
    for node in ("w1", "w2"):
        provider.delete("dev", node)
    assert sums(template) == before


def test_clones_have_identities_of_their_own(
    provider: NspawnProvider, template: Path, tmp_path: Path
) -> None:
    assert template.is_dir()
    roots = []
    for node in ("w1", "w2"):
        provider.create(machine(node, template=KEY))
        roots.append(node_files(tmp_path, "dev", node).root)
    for name in ("etc/hostname", "etc/machine-id", "etc/ssh/ssh_host_ed25519_key.pub"):
        first, second = ((root / name).read_text() for root in roots)
        assert first != second, name
    marker = json.loads((roots[0] / "etc/ohmykube/machine.json").read_text())
    assert (marker["cluster"], marker["node"]) == ("dev", "w1")


def test_a_clone_is_mounted_over_its_own_layer(
    simulation: Simulation, provider: NspawnProvider, template: Path, tmp_path: Path
) -> None:
    provider.create(machine("w1", template=KEY))
    (mount,) = [argv for argv in simulation.ran if argv[0] == "mount" and "/w1/" in argv[-1]]
    lower = next(word for word in mount if word.startswith("lowerdir=")).partition(",")[0]
    layer = node_files(tmp_path, "dev", "w1").lower
    assert lower.startswith(f"lowerdir={layer}:")
    assert str(template) not in lower
    record = json.loads((layer.parent / "machine.json").read_text())
    assert (record["template"], record["schema"]) == (KEY, 2)
    provider.create(machine("bare"))
    record = json.loads((node_files(tmp_path, "dev", "bare").marker).read_text())
    assert (record["template"], record["schema"]) == ("", 1)


def test_a_killed_creation_begins_again_from_the_template(
    provider: NspawnProvider, template: Path, tmp_path: Path
) -> None:
    assert template.is_dir()
    spec = machine("w1", template=KEY)
    provider.create(spec)
    files = node_files(tmp_path, "dev", "w1")
    provider.stop("dev", "w1")
    files.marker.write_text(json.dumps(json.loads(files.marker.read_text()) | {"complete": False}))
    (files.root_dir / "containerd" / DATABASE).write_text("half")
    shutil.rmtree(files.lower)
    (files.root_dir / "lower.new").mkdir()
    (seen,) = provider.list("dev")
    assert seen.state is MachineState.BROKEN
    provider.create(spec)
    assert (files.root_dir / "containerd" / DATABASE).read_text() == DATABASE
    assert (files.root / "usr/local/bin/kubelet").exists()
    # Without a template any more it is made bare, and holds nothing of the clone.
    provider.stop("dev", "w1")
    files.marker.write_text(json.dumps(json.loads(files.marker.read_text()) | {"complete": False}))
    provider.remove_template(KEY)
    with pytest.raises(NotFoundError) as caught:
        provider.create(spec)
    assert caught.value.id == NO_TEMPLATE
    provider.create(replace(spec, template=""))
    assert not (files.root / "usr/local/bin/kubelet").exists()
    assert not files.lower.exists()


def test_a_node_that_ran_containers_is_refused(provider: NspawnProvider, tmp_path: Path) -> None:
    files = prepared(provider, tmp_path)
    write(files.root_dir / "containerd/io.containerd.grpc.v1.cri/sandboxes/abc/status", "x")
    with pytest.raises(ProviderError) as caught:
        provider.freeze(BUILDING, "worker", NEW)
    assert caught.value.id == "OMK-P-302"
    assert provider.templates() == []
    provider.sweep_templates()
    assert files_left(tmp_path) == []


def test_nothing_outside_is_touched_by_links(provider: NspawnProvider, tmp_path: Path) -> None:
    """A link on the node that leads out of it is removed or left, never followed."""
    files = prepared(provider, tmp_path)
    outside = tmp_path / "outside"
    for name in ("log/messages", "ssh/id"):
        write(outside / name, "precious")
    shutil.rmtree(files.root / "var/log")
    (files.root / "var/log").symlink_to(outside / "log")
    shutil.rmtree(files.root / "root/.ssh")
    (files.root / "root/.ssh").symlink_to(outside / "ssh")
    provider.freeze(BUILDING, "worker", NEW)
    assert sorted(p.name for p in outside.rglob("*") if p.is_file()) == ["id", "messages"]
    lower = tmp_path / "d/nspawn-templates" / KEY / "lower"
    assert not (lower / "root/.ssh").is_symlink()


@pytest.mark.parametrize("at", ["before the record", "before the rename"])
def test_a_killed_freeze_leaves_no_template(
    simulation: Simulation,
    provider: NspawnProvider,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    at: str,
) -> None:
    """The kill is an exception at that point: nothing after it happens."""

    class Killed(BaseException):
        pass

    def kill(*_args: object, **_more: object) -> None:
        raise Killed

    prepared(provider, tmp_path)
    if at == "before the record":
        monkeypatch.setattr(templates, "strip", kill)
    else:
        simulation.failing["sync"] = "Input/output error"
    with pytest.raises((Killed, ProviderError)):
        provider.freeze(BUILDING, "worker", NEW)
    monkeypatch.undo()
    simulation.failing.clear()
    assert provider.templates() == []
    provider.sweep_templates()
    assert files_left(tmp_path) == []


@pytest.mark.parametrize("content", ["", "{", "[]", '{"key": "other"}', '{"schema": 99}'])
def test_a_damaged_template_is_none(
    provider: NspawnProvider, template: Path, tmp_path: Path, content: str
) -> None:
    (template / "template.json").write_text(content)
    assert provider.templates() == []
    with pytest.raises(NotFoundError):
        provider.create(machine("w1", template=KEY))
    assert provider.list("dev") == []
    # The next build of the same key replaces it.
    prepared(provider, tmp_path)
    provider.freeze(BUILDING, "worker", NEW)
    assert [found.key for found in provider.templates()] == [KEY]
    provider.create(machine("w1", template=KEY))


def test_cloning_renews_the_age_of_a_template(provider: NspawnProvider, template: Path) -> None:
    (before,) = provider.templates()
    provider.create(machine("w1", template=KEY))
    (after,) = provider.templates()
    assert before.last_used_at < after.last_used_at


def test_a_template_is_never_used_before_it_is_made(
    provider: NspawnProvider, template: Path
) -> None:
    """A file's time is of another clock than the one inside of it."""
    os.utime(template / "template.json", (1, 1))
    (kept,) = provider.templates()
    assert kept.last_used_at == kept.created_at > 1


def test_what_overlayfs_notes_for_one_mount_is_taken_off(
    provider: NspawnProvider, tmp_path: Path
) -> None:
    files = prepared(provider, tmp_path)
    hiding = files.root / "opt/hiding"
    hiding.mkdir(parents=True)
    try:
        os.setxattr(hiding, "trusted.overlay.opaque", b"y")
        os.setxattr(hiding, "trusted.overlay.origin", b"1")
    except OSError as error:
        pytest.skip(f"no trusted attributes here: {error}")
    provider.freeze(BUILDING, "worker", NEW)
    kept = os.listxattr(tmp_path / "d/nspawn-templates" / KEY / "lower/opt/hiding")
    assert kept == ["trusted.overlay.opaque"]
    provider.create(machine("w1", template=KEY))
    layer = node_files(tmp_path, "dev", "w1").lower / "opt/hiding"
    assert os.getxattr(layer, "trusted.overlay.opaque") == b"y"


def test_what_cannot_be_shared_is_refused(provider: NspawnProvider, tmp_path: Path) -> None:
    """Such files need the mount that wrote them."""
    files = prepared(provider, tmp_path)
    moved = files.root / "opt/moved"
    moved.mkdir(parents=True)
    try:
        os.setxattr(moved, "trusted.overlay.redirect", b"/opt/old")
    except OSError as error:
        pytest.skip(f"no trusted attributes here: {error}")
    # The simulated host mounts by copying, which keeps attributes as a real upper layer does.
    with pytest.raises(IntegrityError) as caught:
        provider.freeze(BUILDING, "worker", NEW)
    assert caught.value.id == "OMK-P-303"
    assert provider.templates() == []


def test_a_copy_keeps_everything_of_a_file(tmp_path: Path) -> None:
    source = tmp_path / "source"
    write(source / "plain/file", "text")
    os.chown(source / "plain/file", 12, 34)
    (source / "plain/file").chmod(0o4751)
    os.utime(source / "plain/file", ns=(10**18, 10**18))
    (source / "link").symlink_to("/nowhere")
    os.mkfifo(source / "pipe", 0o640)
    (source / "plain").chmod(0o1777)
    os.utime(source / "plain", ns=(10**18, 10**18))
    os.setxattr(source / "plain/file", "user.mark", b"1")
    os.mknod(source / "gone", 0o020000, os.makedev(0, 0))
    choices: dict[str, Callable[[Path], bool]] = {
        "shared": lambda _path: True,
        "apart": lambda _path: False,
    }
    for name, choice in choices.items():
        target, shared = tmp_path / name, choice(source)
        tree_copy.copy_tree(source, target, choice)
        for path in ("plain", "plain/file", "link", "pipe", "gone"):
            old, new = (source / path).lstat(), (target / path).lstat()
            assert (old.st_mode, old.st_uid, old.st_gid) == (new.st_mode, new.st_uid, new.st_gid)
            assert old.st_mtime_ns == new.st_mtime_ns, path
            assert old.st_rdev == new.st_rdev
            if path != "plain":
                assert (old.st_ino == new.st_ino) is shared, path
        assert os.getxattr(target / "plain/file", "user.mark") == b"1"
        assert (target / "link").readlink() == Path("/nowhere")


def test_a_file_that_cannot_be_linked_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too many links, or no links on that file system: the bytes are copied."""
    write(tmp_path / "source/file", "text")

    def refuse(*_args: object, **_more: object) -> None:
        raise OSError(errno.EMLINK, "Too many links")

    monkeypatch.setattr(os, "link", refuse)
    tree_copy.copy_tree(tmp_path / "source", tmp_path / "copy", lambda _path: True)
    assert (tmp_path / "copy/file").read_text() == "text"
    assert (tmp_path / "copy/file").stat().st_nlink == 1


def test_blocks_are_shared_where_the_file_system_can(tmp_path: Path) -> None:
    """On btrfs every copy is a file of its own and still takes no space."""
    if os.geteuid() != 0 or shutil.which("mkfs.btrfs") is None:
        pytest.skip("needs root and mkfs.btrfs")
    image, place = tmp_path / "image", tmp_path / "place"
    with image.open("wb") as stream:
        stream.truncate(128 << 20)
    place.mkdir()
    subprocess.run(["mkfs.btrfs", "-q", str(image)], check=True)
    mounted = ["mount", "-t", "btrfs", "-o", "loop", str(image), str(place)]
    if subprocess.run(mounted, check=False, capture_output=True).returncode != 0:
        pytest.skip("no loop devices or no btrfs here")
    try:
        content = os.urandom(20 << 20)
        (place / "source").mkdir()
        (place / "source/file").write_bytes(content)
        os.sync()
        before = shutil.disk_usage(place).used
        for number in range(4):
            tree_copy.copy_tree(place / "source", place / f"copy{number}", lambda _path: True)
        os.sync()
        assert shutil.disk_usage(place).used - before < 2 << 20
        with (place / "copy0/file").open("r+b") as stream:
            stream.write(b"written in place")
        for untouched in ("source", "copy1", "copy2", "copy3"):
            assert (place / untouched / "file").read_bytes() == content
            assert (place / untouched / "file").stat().st_nlink == 1
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize(("number", "asked"), [(errno.EOPNOTSUPP, 1), (errno.EINVAL, 3)])
def test_a_file_system_that_shares_no_blocks_is_asked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, asked: int
) -> None:
    """What is wrong with one file alone says nothing of the next."""
    calls = []

    def refuse(*_args: object) -> None:
        calls.append(1)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "ioctl", refuse)
    for name in ("a", "b", "below/c"):
        write(tmp_path / "source" / name, name)
    tree_copy.copy_tree(tmp_path / "source", tmp_path / "copy", lambda _path: False)
    assert (tmp_path / "copy/below/c").read_text() == "below/c"
    assert len(calls) == asked


def test_a_failure_to_link_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No space for a name is no space for a copy either; nothing half made stays visible."""
    write(tmp_path / "source/file", "text")

    def full(*_args: object, **_more: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(ResourceError):
        tree_copy.copy_tree(tmp_path / "source", tmp_path / "copy", lambda _path: True)
    assert not (tmp_path / "copy").exists()
    monkeypatch.undo()
    tree_copy.copy_tree(tmp_path / "source", tmp_path / "copy", lambda _path: True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "source"]


def test_sockets_of_processes_that_ended_are_left_out(tmp_path: Path) -> None:
    write(tmp_path / "source/file", "text")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "source/socket"))
    tree_copy.copy_tree(tmp_path / "source", tmp_path / "copy", lambda _path: False)
    assert [path.name for path in (tmp_path / "copy").iterdir()] == ["file"]


def test_the_size_counts_what_removing_gives_back(tmp_path: Path) -> None:
    write(tmp_path / "tree/alone", "x" * 8192)
    write(tmp_path / "tree/twice", "x" * 8192)
    os.link(tmp_path / "tree/twice", tmp_path / "tree/again")
    write(tmp_path / "tree/shared", "x" * 8192)
    os.link(tmp_path / "tree/shared", tmp_path / "elsewhere")
    assert tree_copy.size(tmp_path / "tree") == 2 * 8192


def test_only_finished_content_and_layers_are_shared() -> None:
    shared = (BLOB, LAYER)
    own = (
        DATABASE,
        "io.containerd.content.v1.content/ingest/1/data",
        "io.containerd.snapshotter.v1.overlayfs/metadata.db",
        "io.containerd.snapshotter.v1.overlayfs/snapshots/7/work/work",
        "io.containerd.snapshotter.v1.native/snapshots/7/fs/bin",
    )
    assert [templates.is_immutable(Path(name)) for name in shared] == [True] * len(shared)
    assert [templates.is_immutable(Path(name)) for name in own] == [False] * len(own)


def test_a_store_that_is_not_there_is_empty(tmp_path: Path) -> None:
    store = TemplateStore(HostSystem(), tmp_path / "none")
    store.remove(KEY)
    store.sweep()
    assert store.all() == []
    with pytest.raises(NotFoundError):
        store.clone(KEY, NodeFiles(tmp_path / "node"))
    assert not (tmp_path / "none").exists()
