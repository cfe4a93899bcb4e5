"""``spec.mounts``: what each entry means, and that a wrong one is named before anything is made."""

from __future__ import annotations

import os
import re
import socket
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from ohmykube.config import load
from ohmykube.config.document import to_document
from ohmykube.errors import ConfigError
from ohmykube.model.cluster import Cluster, Mount

NODES = ("cp1", "w1", "w2")
NAMES = ["src", "a b", "q'uo\"te", "co:lon", "back\\slash", "ümläut-日本", "$HOME", "-dash", "%h"]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The directory of a cluster file, beside another one; it has what entries below name."""
    base = tmp_path / "project"
    (base / "src" / "below").mkdir(parents=True)
    (base / "file").write_text("text")
    (tmp_path / "elsewhere" / "deep").mkdir(parents=True)
    (base / "inside").symlink_to("src")
    (base / "out").symlink_to(tmp_path / "elsewhere")
    (base / "out-deep").symlink_to("../elsewhere/deep")
    (base / "root").symlink_to("/")
    (base / "dangling").symlink_to("nowhere")
    (base / "loop").symlink_to("loop")
    os.mkfifo(base / "fifo")
    return base


def load_at(base: Path, *mounts: Any, **spec: Any) -> Cluster:
    document = {
        "apiVersion": "ohmykube.dev/v1",
        "kind": "Cluster",
        "spec": {"mounts": list(mounts), **spec},
    }
    path = base / "cluster.yaml"
    path.write_text(yaml.safe_dump(document, allow_unicode=True))
    return load.load_file(path)


def problems(base: Path, *mounts: Any, **spec: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_at(base, *mounts, **spec)
    return [
        re.sub(r"( \(.*\))?, line \d+:", "", problem, count=1) for problem in caught.value.problems
    ]


def mounts_of(cluster: Cluster) -> dict[str, list[Mount]]:
    return {node.name: list(node.mounts) for node in cluster.nodes}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["relative", "dotted", "absolute", "home"])
def test_a_path_of_any_name_is_taken_from_the_directory_of_the_file(
    place: Path, name: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(place))
    (place / name).mkdir(exist_ok=True)
    written = {"relative": name, "dotted": f"./{name}/.", "absolute": f"{place}/{name}"}
    text = written.get(kind, f"~/{name}")
    found = load_at(place, {"host": text, "node": f"/mnt/{name}"})
    assert mounts_of(found)["w1"] == [Mount(host=place / name, node=f"/mnt/{name}")]
    again = load.from_document(to_document(found))
    assert mounts_of(again) == mounts_of(found)


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        (None, NODES),
        ("all", NODES),
        ("controlPlane", ("cp1",)),
        ("workers", ("w1", "w2")),
        (["w2"], ("w2",)),
        (["cp1", "w1", "w2"], NODES),
        (["w1", "w1"], ("w1",)),
    ],
)
@pytest.mark.parametrize("read_only", [None, False, True])
def test_nodes_that_are_named_see_it(
    place: Path, nodes: Any, expected: tuple[str, ...], read_only: bool | None
) -> None:
    entry = {"host": "src", "node": "/src", "nodes": nodes, "readOnly": read_only}
    entry = {key: value for key, value in entry.items() if value is not None}
    found = mounts_of(load_at(place, entry))
    mount = Mount(host=place / "src", node="/src", read_only=bool(read_only))
    assert {name for name, mounts in found.items() if mounts == [mount]} == set(expected)
    assert not [mounts for name, mounts in found.items() if mounts and name not in expected]


@pytest.mark.parametrize(
    "host", ["src", "file", "inside", "src/below", "../elsewhere", "out/deep/.."]
)
def test_directories_files_and_links_to_them_inside_can_be_mounted(place: Path, host: str) -> None:
    if host == "out/deep/..":  # written out: what it is called is inside of the link
        assert problems(place, {"host": host, "node": "/src"})
        return
    (mount,) = mounts_of(load_at(place, {"host": host, "node": "/src"}))["w1"]
    assert mount.host == (place / host).resolve(), "where it leads now, whatever comes later"


def test_a_socket_can_be_mounted() -> None:
    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{directory}/s")
        found = load_at(Path(directory), {"host": "s", "node": "/srv/s"})
        assert mounts_of(found)["w1"] == [Mount(host=Path(directory, "s"), node="/srv/s")]


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("no", 'project/no": No such file or directory'),
        ("src/no/deeper", "No such file or directory"),
        ("file/below", "Not a directory"),
        ("dangling", 'is a link to "nowhere", which cannot be mounted: No such file'),
        ("loop", 'is a link to "loop", which cannot be mounted: Too many levels'),
        ("out", 'elsewhere", outside of'),
        ("./out", 'elsewhere", outside of'),
        ("out/deep", 'elsewhere/deep", outside of'),
        ("out-deep", 'elsewhere/deep", outside of'),
        ("root", 'leads by a link to "/", outside of'),
        ("root/etc", 'leads by a link to "/etc", outside of'),
        ("fifo", "must be a directory, a file or a socket"),
        ("/dev/null", "must be a directory, a file or a socket"),
        ("x" * 300, "File name too long"),
    ],
)
def test_what_cannot_be_mounted_is_named_with_where_it_leads(
    place: Path, host: str, said: str
) -> None:
    (problem,) = problems(place, {"host": host, "node": "/src"})
    assert problem.startswith("spec.mounts[0].host ")
    assert said in problem


@pytest.mark.parametrize("host", ["out", "out-deep", "root"])
def test_where_a_link_leads_can_be_mounted_by_that_name(place: Path, host: str) -> None:
    real = str((place / host).resolve())
    assert mounts_of(load_at(place, {"host": real, "node": "/src"}))["w1"]
    absolute = str(place / host)  # whoever writes it in full reads no promise of this directory
    assert mounts_of(load_at(place, {"host": absolute, "node": "/src"}))["w1"]


@pytest.mark.parametrize(
    "node",
    [
        *("/", "/etc", "/etc/kubernetes", "/etc/kubernetes/pki", "/etc/kubernetes/x/y", "/var"),
        *("/var/lib", "/var/lib/containerd", "/var/lib/containerd/x", "/var/lib/kubelet/pods"),
        *("/var/lib/etcd", "/var/lib/ohmykube/", "/proc", "/proc/1", "/sys/fs/cgroup", "/dev/shm"),
        *("/run/x", "/var/run/x", "/tmp", "/tmp/src", "/var/tmp/x", "/usr", "/usr/bin", "/bin/sh"),
        *("/lib64", "/root/.ssh", "/etc/ssh", "/etc/systemd/system/a.service", "/opt", "/opt/cni"),
        *("/usr/local/bin/kubectl", "/etc/cni/net.d", "/home/omk", "/usr/local"),
    ],
)
def test_a_place_that_is_not_the_users_is_refused(place: Path, node: str) -> None:
    (problem,) = problems(place, {"host": "src", "node": node})
    assert problem.startswith(f'spec.mounts[0] must not be at "{node}" of a node')


@pytest.mark.parametrize(
    "node",
    ["/src", "/src/", "/srv/a", "/mnt", "/data/x", "/var/log", "/var/lib/mine", "/etc/mine",
     "/opt/mine", "/home/me", "/usr/local/share/x", "/var/libx", "/procs", "/etc/kubernetes-x"],
)  # fmt: skip
def test_other_places_are_fine(place: Path, node: str) -> None:
    (mount,) = mounts_of(load_at(place, {"host": "src", "node": node}))["w1"]
    assert mount.node == node.rstrip("/")


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("./src:/src", "must be a mapping with host and node"),
        (["src", "/src"], "must be a mapping with host and node"),
        ({"host": "src"}, "must have node"),
        ({"node": "/src"}, "must have host"),
        ({"host": "", "node": "/src"}, "must have host"),
        ({"host": 1, "node": "/src"}, "must have text as host, got 1; quote it"),
        ({"host": "src", "node": ["/src"]}, "must have text as node"),
        ({"host": "src", "node": "src"}, "must have a node path that is absolute"),
        ({"host": "src", "node": "/a/../b"}, "must have a node path that is absolute"),
        ({"host": "src", "node": "/a//b"}, "must have a node path that is absolute"),
        ({"host": "src", "node": "/a\nb"}, "printable characters"),
        ({"host": "s\trc", "node": "/a"}, "printable characters"),
        ({"host": "src", "node": "/" + "a" * 5000}, "printable characters, at most 4096"),
        ({"host": "src", "node": "/src", "readonly": True}, 'did you mean "readOnly"'),
        ({"host": "src", "node": "/src", "readOnly": "yes"}, "must have true or false as readOnly"),
        ({"host": "src", "node": "/src", "idmap": True}, "keep their owners"),
        ({"host": "src", "node": "/src", "nodes": "w1"}, "for one node write [w1]"),
        ({"host": "src", "node": "/src", "nodes": "worker"}, 'did you mean "workers"'),
        ({"host": "src", "node": "/src", "nodes": []}, "or a list of node names"),
        ({"host": "src", "node": "/src", "nodes": 3}, "or a list of node names"),
        ({"host": "src", "node": "/src", "nodes": [3]}, "got 3 in the list"),
        ({"host": "src", "node": "/src", "nodes": ["all"]}, 'write "all" instead of the list'),
        ({"host": "src", "node": "/src", "nodes": ["w9"]}, 'has no such node: "w9"'),
        ({"host": "src", "node": "/src", "nodes": ["W 1"]}, "lower"),
    ],
)
def test_an_entry_that_is_wrong_is_told(place: Path, entry: Any, said: str) -> None:
    (problem,) = problems(place, entry)
    assert problem.startswith("spec.mounts[0]")
    assert said in problem


def test_no_node_has_two_mounts_at_one_place(place: Path) -> None:
    one, other = {"host": "src", "node": "/a"}, {"host": "file", "node": "/a/"}
    found = problems(place, one, other)
    assert found[0] == "spec.mounts[1].node is /a in spec.mounts[0] too, for node cp1"
    assert len(found) == len(NODES)
    apart = load_at(place, one | {"nodes": "workers"}, other | {"nodes": "controlPlane"})
    assert [len(mounts) for mounts in mounts_of(apart).values()] == [1, 1, 1]


@pytest.mark.parametrize(
    ("outer", "inner", "said"),
    [
        ("src", "/a/below", ""),
        ("src", "/a/none", "where nothing is at"),
        ("file", "/a/below", "where nothing is at"),
        (".", "/a/file", "is of another kind"),
        ("src", "/ab", ""),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_a_mount_inside_of_another_needs_a_place_there(
    place: Path, outer: str, inner: str, said: str, turned: bool
) -> None:
    both = [{"host": outer, "node": "/a"}, {"host": "src", "node": inner}]
    if turned:
        both.reverse()
    if said:
        assert said in problems(place, *both)[0]
    else:
        found = mounts_of(load_at(place, *both))["w1"]
        assert [mount.node for mount in found] == ["/a", inner]


def test_a_mount_hides_no_file_that_a_node_gets(place: Path) -> None:
    workers = {"count": 1, "files": [{"path": "/src/a", "content": "x"}]}
    (problem,) = problems(place, {"host": "src", "node": "/src"}, nodes={"workers": workers})
    assert problem == 'spec.mounts[0].node hides "/src/a", which `files` puts on w1'


def test_a_record_is_read_whatever_this_host_has_by_now(place: Path) -> None:
    found = load_at(place, {"host": "src", "node": "/src", "nodes": ["w1"]})
    document = to_document(found)
    assert document["spec"]["mounts"] == [
        {"host": f"{place}/src", "node": "/src", "readOnly": False, "nodes": ["w1"]}
    ]
    (place / "src").rename(place / "gone")
    assert mounts_of(load.from_document(document)) == mounts_of(found)
    with pytest.raises(ConfigError):
        load.from_document(document, desired=True)


def test_a_mount_is_a_place_for_volumes_of_the_control_plane(place: Path) -> None:
    volume = {"name": "a", "hostPath": "/policy/a", "mountPath": "/a", "pathType": "File"}
    kubeadm = {"clusterConfiguration": {"apiServer": {"extraVolumes": [volume]}}}
    assert problems(place, kubeadm=kubeadm, provider={"name": "nspawn"})
    mount = {"host": "src", "node": "/policy"}
    assert load_at(place, mount, kubeadm=kubeadm, provider={"name": "nspawn"})


@pytest.mark.parametrize(
    ("nodes", "workers", "having"),
    [
        ("workers", 3, ["w1", "w2", "w3"]),
        ("all", 1, ["cp1", "w1"]),
        ("controlPlane", 3, ["cp1"]),
        (["w2"], 1, []),
        (["w1", "w2"], 3, ["w1", "w2", "w3"]),
        (["w1", "cp1"], 3, ["cp1", "w1"]),
    ],
)
def test_a_flag_that_changes_the_nodes_of_a_record_changes_who_sees_it(
    place: Path, nodes: Any, workers: int, having: list[str]
) -> None:
    """What was said of all workers is said of those that come; who goes takes it along."""
    document = to_document(load_at(place, {"host": "src", "node": "/src", "nodes": nodes}))
    flags = load.Overrides(workers=workers)
    found = mounts_of(load.from_document(document, flags, desired=True))
    assert [name for name, mounts in found.items() if mounts] == having
