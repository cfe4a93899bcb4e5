"""What our modules replace on a host of others: copied, put back, and nothing else removed."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.ohmykube.cluster.plugins.module_utils import (
    ownership,
    preflight,
    storage,
)
from ansible_collections.ohmykube.cluster.plugins.modules import node_prepare

from tests.unit.plugins.preparation import FACTS, PARAMS

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import FakeNode, RunModule

pytestmark = pytest.mark.linux

MARKED = ownership.MARK + "ours of an earlier release\n"


def snapshot(root: Path, *but: str) -> dict[str, tuple[Any, ...]]:
    """Return kind, mode, owner and content of everything below a root, by path."""
    found: dict[str, tuple[Any, ...]] = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if name.startswith(but):
            continue
        about = path.lstat()
        content = str(path.readlink()) if path.is_symlink() else ""
        if path.is_file() and not path.is_symlink():
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        found[name] = (about.st_mode, about.st_uid, about.st_gid, content)
    return found


def artifact(node: FakeNode, dest: str) -> dict[str, Any]:
    source = node.path("../source")
    source.write_text("our program")
    checksum = "sha256:" + hashlib.sha256(b"our program").hexdigest()
    place = str(node.path(dest))
    return {"name": "tool", "url": source.as_uri(), "checksum": checksum, "dest": place}


def write(path: Path) -> None:
    path.write_bytes(b"theirs \xff\r\n")
    path.chmod(0o640)


def empty(path: Path) -> None:
    path.touch()


def link(path: Path) -> None:
    path.symlink_to("elsewhere")


def dead_link(path: Path) -> None:
    path.symlink_to("/nowhere/at/all")


BEFORE = {"nothing": None, "file": write, "empty": empty, "link": link, "dead link": dead_link}
PLACES = [
    "etc/containerd/config.toml",
    "etc/systemd/system/kubelet.service.d/10-kubeadm.conf",
    "opt/cni/bin/bridge",
    "usr/local/bin/containerd",
]


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("place", PLACES)
def test_what_is_replaced_is_put_back(
    run_module: RunModule, node: FakeNode, place: str, before: str
) -> None:
    """Kind, bytes, mode and owner, however often it was written meanwhile; neighbours stay."""
    path = node.path(place)
    path.parent.mkdir(parents=True)
    if made := BEFORE[before]:
        made(path)
    (path.parent / "neighbour").write_text("theirs too")
    was = snapshot(node.root, "var")
    as_file = place.startswith("etc")
    params: dict[str, Any] = {"directories": [str(path.parent)]}
    if not as_file:
        params["artifacts"] = [artifact(node, place)]
    for text in ("one", "two", "two"):
        if as_file:
            params["files"] = [{"path": str(path), "content": text}]
        run_module("deploy", **params)
    assert path.read_text() == ("two" if as_file else "our program")
    assert not path.is_symlink()
    checked = run_module("deploy", state="absent", check=True, **params)
    gone = run_module("deploy", state="absent", **params)
    assert checked["changes"] == gone["changes"] != []
    assert snapshot(node.root, "var") == was
    assert not node.path("var/lib/ohmykube/replaced").exists()
    assert run_module("deploy", state="absent", **params)["changed"] is False


@pytest.mark.parametrize("place", PLACES[:2])
def test_what_was_never_ours_is_not_removed(
    run_module: RunModule, node: FakeNode, place: str
) -> None:
    path = node.write(place, "theirs")
    params = {
        "files": [{"path": str(path), "content": "theirs"}],
        "directories": [str(path.parent)],
        "data": [str(path.parent)],
    }
    assert run_module("deploy", state="absent", **params)["changed"] is False
    assert path.read_text() == "theirs"
    run_module("deploy", **params)  # it is as it should be already
    run_module("deploy", state="absent", **params)
    assert path.read_text() == "theirs"


def test_a_marked_file_of_an_earlier_release_is_ours(run_module: RunModule, node: FakeNode) -> None:
    path = node.write("etc/tool.conf", MARKED)
    run_module("deploy", files=[{"path": str(path), "content": "new"}])
    run_module("deploy", state="absent", files=[{"path": str(path)}])
    assert not path.exists()


@pytest.mark.parametrize(
    ("before", "stays"),
    [((), False), (("lost+found/",), False), (("image",), True), (("sub/x",), True)],
)
def test_data_that_was_there_before_stays(
    run_module: RunModule, node: FakeNode, before: tuple[str, ...], stays: bool
) -> None:
    data = node.path("var/lib/containerd")
    for name in before:
        if name.endswith("/"):
            (data / name).mkdir(parents=True)
        else:
            node.write(f"var/lib/containerd/{name}", "theirs")
    run_module("deploy", data=[str(data)])
    node.write("var/lib/containerd/ours", "ours")
    run_module("deploy", state="absent", data=[str(data)])
    assert data.exists() is stays
    for name in before if stays else ():
        assert (data / name).read_text() == "theirs"


SYSTEMCTL = r"""
if [ "$1" = show ]; then
  path=$ROOT/etc/systemd/system/containerd.service
  [ -e $path ] || path=/lib/systemd/system/containerd.service
  printf 'LoadState=loaded\nNeedDaemonReload=no\nActiveState=ACTIVE\nUnitFileState=STATE\n'
  echo "FragmentPath=$path"
fi
"""


@pytest.mark.parametrize(
    ("active", "state", "verbs"),
    [
        ("active", "enabled", ["enable", "start"]),
        ("inactive", "enabled", ["enable"]),
        ("active", "disabled", ["start"]),
        ("failed", "disabled", []),
    ],
)
def test_a_unit_that_was_taken_over_is_as_it_was_again(
    run_module: RunModule, node: FakeNode, active: str, state: str, verbs: list[str]
) -> None:
    node.program("systemctl", SYSTEMCTL.replace("ACTIVE", active, 1).replace("STATE", state))
    unit = {"name": "containerd", "enabled": True, "state": "started"}
    path = str(node.path("etc/systemd/system/containerd.service"))
    params = {"files": [{"path": path, "content": "[Service]\n"}], "units": [unit]}
    run_module("deploy", **params)
    run_module("deploy", **params)
    node.forget()
    run_module("deploy", state="absent", **params)
    calls = [call.split()[1] for call in node.calls("systemctl") if "show" not in call]
    assert calls[len(calls) - len(verbs) :] == verbs
    node.forget()
    assert run_module("deploy", state="absent", **params)["changed"] is False
    assert {call.split()[1] for call in node.calls("systemctl")} == {"show"}


def test_a_unit_that_was_never_ours_is_not_stopped(run_module: RunModule, node: FakeNode) -> None:
    node.program("systemctl", SYSTEMCTL.replace("ACTIVE", "active", 1).replace("STATE", "enabled"))
    path = str(node.path("etc/systemd/system/containerd.service"))
    params = {"files": [{"path": path, "content": "x"}], "units": [{"name": "containerd"}]}
    assert run_module("deploy", state="absent", **params)["changed"] is False
    assert {call.split()[1] for call in node.calls("systemctl")} == {"show"}


@pytest.mark.parametrize("registry", ["_default", "docker.io", "registry.example.com:5000"])
def test_host_files_of_others_are_put_back(
    run_module: RunModule, node: FakeNode, registry: str
) -> None:
    node.program("containerd", "exit 1")
    name = registry.replace(":5000", "_5000_")
    path = node.write(f"etc/containerd/certs.d/{name}/hosts.toml", 'server = "https://theirs"\n')
    was = snapshot(node.root)
    params = {"registry_config_path": str(node.path("etc/containerd/certs.d"))}
    for url in ("http://127.0.0.1:1", "http://127.0.0.1:2"):
        run_module("images", mirrors={registry: [url]}, **params)
        assert url in path.read_text()
    run_module("images", mirrors={}, **params)
    assert path.read_text() == 'server = "https://theirs"\n'
    run_module("images", state="absent", **params)
    assert snapshot(node.root, "var") == was


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o664])
@pytest.mark.parametrize(
    "text", [b"127.0.0.1 localhost\r\n", b"# caf\xe9 \xff\x0b\x85 \x1c\n", b"10.0.0.1 a b", b""]
)
def test_other_peoples_files_keep_mode_and_bytes(node: FakeNode, text: bytes, mode: int) -> None:
    """Whatever is not our block or our line; a link leads where it led."""
    for name in ("etc/hosts", "etc/fstab"):
        node.write(name)
        node.path(name).rename(node.path(name + ".real"))
        node.path(name).symlink_to(node.path(name + ".real"))
        node.path(name).write_bytes(
            text + (b"/s none swap sw 0 0\n" if name == "etc/fstab" else b"")
        )
        node.path(name).chmod(mode)
    node.path("etc/systemd/system").mkdir(parents=True)
    node.write("proc/sys/net/ipv4/ip_forward", "1\n")
    node.write("proc/sys/vm/overcommit_memory", "1\n")
    node.program("modprobe", "true")
    was = snapshot(node.root, "var", "proc")
    made = node_prepare.Preparation(PARAMS, False, FACTS, root=str(node.root))
    made.present()
    changed = snapshot(node.root, "var", "proc")
    for name in ("etc/hosts", "etc/fstab"):
        assert node.path(name).is_symlink()
        assert changed[name + ".real"][:3] == was[name + ".real"][:3]
        assert text.rstrip(b"\n") in node.path(name).read_bytes()
    node_prepare.Preparation(PARAMS, False, FACTS, root=str(node.root)).absent()
    gone = snapshot(node.root, "var", "proc")
    assert {name: gone[name] for name in was} == was


@pytest.mark.parametrize("theirs", [True, False], ids=["of others", "ours"])
def test_a_mask_of_swap_that_was_there_stays(node: FakeNode, theirs: bool) -> None:
    node.write("etc/fstab", "/s none swap sw 0 0\n")
    node.path("etc/systemd/system").mkdir(parents=True)
    mask = node.path("etc/systemd/system/swap.target")
    if theirs:
        mask.symlink_to("/dev/null")
    params = {**PARAMS, "kernel_modules": [], "sysctls": {}}
    node_prepare.Preparation(params, False, FACTS, root=str(node.root)).present()
    assert mask.is_symlink()
    node_prepare.Preparation(params, False, FACTS, root=str(node.root)).absent()
    assert mask.is_symlink() is theirs


def test_a_file_that_is_mounted_is_written_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "hosts"
    path.write_text("old")

    def busy(_source: str, _target: str) -> None:
        raise OSError(16, "Device or resource busy")

    monkeypatch.setattr(storage.os, "replace", busy)
    storage.write_atomically(str(path), b"new")
    assert path.read_text() == "new"
    assert [one.name for one in tmp_path.iterdir()] == ["hosts"]


# -- before anything is touched --------------------------------------------------------------------


@pytest.fixture
def host(node: FakeNode, monkeypatch: pytest.MonkeyPatch) -> FakeNode:
    """Return a node without a containerd, whatever this machine has."""
    monkeypatch.setattr(preflight, "CONFIG", str(node.path("etc/containerd/config.toml")))
    monkeypatch.setattr(preflight, "TASKS", str(node.path("run/containerd/tasks")))
    monkeypatch.setattr(preflight, "PROGRAM", "containerd-of-tests")
    node.program("systemctl", "printf 'LoadState=not-found\\nActiveState=inactive\\n'")
    return node


def config(node: FakeNode) -> str:
    return str(node.write("etc/containerd/config.toml", 'disabled_plugins = ["cri"]\n'))


def program(node: FakeNode) -> str:
    node.program("containerd-of-tests", "true")
    return str(node.programs / "containerd-of-tests")


def unit(node: FakeNode) -> str:
    path = "/lib/systemd/system/containerd.service"
    node.program("systemctl", f"printf 'ActiveState=active\\nFragmentPath={path}\\n'")
    return path


@pytest.mark.parametrize("strange", [config, program, unit])
def test_a_containerd_of_others_is_named_before_anything_is_changed(
    run_module: RunModule, host: FakeNode, strange: Any
) -> None:
    shown = strange(host)
    host.write("run/containerd/tasks/moby/abc/pid")
    was = snapshot(host.root)
    params = {"hosts": {"w1": "10.0.0.12"}, "manage_kernel": False}
    said = run_module("node_prepare", foreign_containerd="refuse", fails=True, **params)
    assert shown in said["msg"]
    assert "1 running in moby" in said["msg"]
    assert "containerd_takeover" in said["msg"]
    assert snapshot(host.root) == was


@pytest.mark.parametrize("made", ["deploy", "marked"])
def test_one_of_ours_is_not_of_others(run_module: RunModule, host: FakeNode, made: str) -> None:
    path = host.path("etc/containerd/config.toml")
    if made == "deploy":
        run_module("deploy", files=[{"path": str(path), "content": "version = 3\n"}])
    else:
        host.write("etc/containerd/config.toml", MARKED)
    assert preflight.foreign_containerd() == []


@pytest.mark.parametrize("names", [["iptables-x"], ["iptables-x", "mount-x"], []])
def test_all_programs_that_are_missing_are_named_once(
    run_module: RunModule, host: FakeNode, names: list[str]
) -> None:
    host.program("there", "true")
    wanted = {"programs": ["there", *names], "manage_kernel": False}
    if not names:
        assert preflight.problems({**PARAMS, **wanted, "foreign_containerd": "allow"}, FACTS) == []
        return
    was = snapshot(host.root)
    said = run_module("node_prepare", fails=True, **wanted)
    assert len(said["problems"]) == 1
    assert ", ".join(names) in said["msg"]
    assert snapshot(host.root) == was


@pytest.mark.parametrize("before", BEFORE.values(), ids=BEFORE)
def test_what_something_else_removed_is_forgotten(
    run_module: RunModule, node: FakeNode, before: Callable[[Path], None] | None
) -> None:
    """As kubeadm's reset removes files of ours: no record of them stays, what was there is back."""
    path = node.path("etc/kubernetes/patches/a.yaml")
    path.parent.mkdir(parents=True)
    if before is not None:
        before(path)
    was = snapshot(node.root, "var")
    files = [{"path": str(path), "content": "ours"}]
    run_module("deploy", files=files)
    assert path.read_text() == "ours"
    path.unlink()
    assert run_module("deploy", files=files, state="absent")["changed"] is (before is not None)
    assert snapshot(node.root, "var") == was
    assert not Path(ownership._record()).exists()
    assert run_module("deploy", files=files, state="absent")["changed"] is False
