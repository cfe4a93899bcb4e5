"""What our modules leave on a node is recorded, and whatever differs from it later is found."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.ohmykube.cluster.plugins.module_utils import (
    artifacts,
    kubeadm,
    managed,
    node_state,
    pod_network,
    pulls,
    storage,
)
from ansible_collections.ohmykube.cluster.plugins.modules import node_prepare

from ohmykube.kube import node_state as question
from tests.unit.plugins.preparation import FACTS, PARAMS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .conftest import FakeNode, RunModule

pytestmark = pytest.mark.linux

DIGEST = "sha256:" + "a" * 64
IMAGE = {"ref": "r.io/a:1", "digest": DIGEST}
SYSTEMCTL = r"""
case "$1" in
show) for unit in "$@"; do case "$unit" in *.service)
    echo "Id=$unit"
    echo "ActiveState=$(cat $NOTES/$unit.active 2>/dev/null || echo active)"
    echo "UnitFileState=$(cat $NOTES/$unit.file 2>/dev/null || echo enabled)"
    echo "NeedDaemonReload=$(cat $NOTES/$unit.reload 2>/dev/null || echo no)"
    echo ;; esac; done ;;
esac
"""
CTR = 'echo REF TYPE DIGEST SIZE UNIT PLATFORMS LABELS; cat "$NOTES/images" 2>/dev/null'
KUBECTL = r"""
[ ! -e $NOTES/down ] || { echo 'first line' >&2; echo 'connection refused' >&2; exit 1; }
case "$*" in
*nodes,services*) cat $NOTES/api ;;
*--filename=-*) cat >$NOTES/asked; cat $NOTES/objects ;;
*) [ ! -e $NOTES/objects ] || cat $NOTES/objects ;;
esac
"""
CONFIG_MAP = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "c", "namespace": "n", "resourceVersion": "7"},
    "data": {"a": "1"},
}


@pytest.fixture
def machine(node: FakeNode, monkeypatch: pytest.MonkeyPatch) -> FakeNode:
    node.program("systemctl", SYSTEMCTL)
    node.program("ctr", CTR)
    node.program("kubectl", KUBECTL)
    node.write("proc/sys/net/ipv4/ip_forward", "1\n")
    node.write("proc/sys/vm/overcommit_memory", "1\n")
    node.write("proc/modules", "overlay 1 0 - Live 0x0\n")
    node.path("sys/module/br_netfilter").mkdir(parents=True)
    node.write("proc/swaps", "Filename Type Size Used Priority\n")
    node.write("etc/hosts", "127.0.0.1 localhost\n")
    (node.notes / "images").write_text(
        f"r.io/a:1 application/vnd {DIGEST} 25.7 MiB linux/amd64 {node_state.PINNED}\n"
    )
    for name, value in {
        "PROC": str(node.path("proc")),
        "SYS": str(node.path("sys")),
        "SEARCH_PATH": f"{node.programs}:/usr/bin:/bin",
        "ADMIN_CONFIG": kubeadm.ADMIN_CONFIG,
        "KUBELET_CONFIG": kubeadm.KUBELET_CONFIG,
        "LOG_DIRECTORY": kubeadm.LOG_DIRECTORY,
    }.items():
        monkeypatch.setattr(node_state, name, value)
    return node


def look(**options: Any) -> dict[str, Any]:
    found = node_state.Look({"seconds": 10, **options}, storage.STATE_DIRECTORY).answer()
    assert json.loads(json.dumps(found)) == found
    return found


@pytest.fixture
def play(run_module: RunModule, machine: FakeNode) -> Callable[[], None]:
    """Return what runs the modules of a play, in their order."""
    binary = machine.write("src/tool", "program")
    digest = node_state.digest_of(str(binary))
    conf = {"path": str(machine.path("etc/tool.conf")), "content": "1"}
    gone = {"path": str(machine.path("etc/old.conf")), "state": "absent"}
    tool = {
        "name": "tool",
        "url": binary.as_uri(),
        "checksum": f"sha256:{digest}",
        "dest": str(machine.path("usr/bin/tool")),
    }

    def run() -> None:
        node_prepare.Preparation(PARAMS, False, FACTS, root=str(machine.root)).present()
        run_module(
            "deploy",
            artifacts=[tool],
            files=[conf, gone],
            directories=[str(machine.path("etc/tool.d"))],
            units=[
                {"name": "containerd", "enabled": True, "state": "started"},
                {"name": "kubelet", "enabled": True},
            ],
        )
        run_module(
            "images",
            mirrors={"_default": ["http://127.0.0.1:5055"]},
            images=[IMAGE],
            registry_config_path=str(machine.path("etc/certs.d")),
            check_config=False,
            wait=False,
        )

    return run


def test_a_node_that_nobody_prepared(machine: FakeNode) -> None:
    found = look()
    assert (found["record"], found["kubeadm"], found["differs"]) == ("", "", [])
    assert (found["nodes"], found["api"], found["objects"], found["dns"]) == (None, "", {}, False)


def test_pulls_are_seen_while_systemd_knows_their_unit(
    machine: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit = machine.path(f"run/systemd/transient/{pulls.UNIT}")
    monkeypatch.setattr(node_state, "PULLS", str(unit))
    assert look()["pulling"] is False
    unit.parent.mkdir(parents=True)
    unit.touch()
    assert look()["pulling"] is True


def test_what_a_play_leaves_is_as_it_left_it(play: Callable[[], None], machine: FakeNode) -> None:
    play()
    first = look()
    assert first["differs"] == []
    assert len(first["record"]) == 64
    play()
    assert look() == first, "a play that changes nothing leaves the same record"


def edit(path: Path, text: str) -> None:
    """Edit a file as somebody who hides it: size and time are as before."""
    before = path.stat()
    path.write_text(text)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replaced_by_a_link(machine: FakeNode) -> None:
    path = machine.path("etc/tool.conf")
    path.unlink()
    path.symlink_to("/etc/passwd")


HARM: dict[str, tuple[Callable[[FakeNode], object], str]] = {
    "edited": (lambda m: m.path("etc/tool.conf").write_text("22"), "tool.conf has been edited"),
    "edited, same size and time": (
        lambda m: edit(m.path("etc/tool.conf"), "2"),
        "tool.conf has been edited",
    ),
    "deleted": (lambda m: m.path("etc/tool.conf").unlink(), "tool.conf is gone"),
    "mode": (lambda m: m.path("etc/tool.conf").chmod(0o666), "tool.conf has another mode"),
    "link": (replaced_by_a_link, "tool.conf has another mode"),
    "there again": (lambda m: m.write("etc/old.conf"), "old.conf is there again"),
    "directory": (lambda m: m.path("etc/tool.d").rmdir(), "tool.d is gone"),
    "program": (lambda m: m.path("usr/bin/tool").write_text("x"), "tool has been replaced"),
    "no program": (lambda m: m.path("usr/bin/tool").unlink(), "/tool of tool is gone"),
    "hosts": (lambda m: m.write("etc/hosts", "127.0.0.1 localhost\n"), "hosts has been edited"),
    "mirror": (lambda m: m.path("etc/certs.d/_default/hosts.toml").unlink(), "hosts.toml is gone"),
    "sysctl": (
        lambda m: m.write("proc/sys/net/ipv4/ip_forward", "0\n"),
        "sysctl net.ipv4.ip_forward is 0",
    ),
    "module": (lambda m: m.write("proc/modules", ""), "kernel module overlay is not loaded"),
    "swap": (lambda m: m.write("proc/swaps", "Filename\n/swapfile file 1 0 -2\n"), "swap is on"),
    "stopped": (
        lambda m: (m.notes / "containerd.service.active").write_text("inactive"),
        "containerd.service is inactive",
    ),
    "disabled": (
        lambda m: (m.notes / "kubelet.service.file").write_text("disabled"),
        "kubelet.service is not enabled",
    ),
    "read before": (
        lambda m: (m.notes / "kubelet.service.reload").write_text("yes"),
        "systemd has read another file of kubelet.service",
    ),
    "no systemctl": (lambda m: m.program("systemctl", "exit 1"), "systemctl: no reason given"),
    "image": (lambda m: (m.notes / "images").write_text(""), "image r.io/a:1 is not there"),
    "other image": (
        lambda m: (m.notes / "images").write_text(
            f"r.io/a:1 x sha256:{'b' * 64} 1 MiB linux/amd64 {node_state.PINNED}\n"
        ),
        "image r.io/a:1 is not there",
    ),
    "no containerd": (
        lambda m: m.program("ctr", "echo 'no socket' >&2; exit 1"),
        "images cannot be listed: no socket",
    ),
}


@pytest.mark.parametrize("what", HARM)
def test_what_somebody_changed_is_found(
    play: Callable[[], None], machine: FakeNode, what: str
) -> None:
    play()
    before = look()["record"]
    harm, told = HARM[what]
    harm(machine)
    found = look()
    assert len(found["differs"]) == 1
    assert told in found["differs"][0]
    assert found["record"] == before


def test_a_file_that_was_only_touched_is_the_same(
    play: Callable[[], None], machine: FakeNode
) -> None:
    play()
    machine.path("etc/tool.conf").touch()
    assert look()["differs"] == []


def test_a_play_of_somebody_else_leaves_another_record(
    play: Callable[[], None], run_module: RunModule, machine: FakeNode
) -> None:
    play()
    before = look()
    run_module("deploy", files=[{"path": str(machine.path("etc/tool.conf")), "content": "2"}])
    after = look()
    assert after["differs"] == []
    assert after["record"] != before["record"]


def test_a_play_forgets_what_it_does_not_look_after(
    play: Callable[[], None], run_module: RunModule, machine: FakeNode
) -> None:
    """A file of an earlier release must not count for ever."""
    play()
    run_module("deploy", files=[{"path": str(machine.path("etc/old.d/x")), "content": "1"}])
    machine.path("etc/old.d/x").unlink()
    assert len(look()["differs"]) == 1
    play()
    assert look()["differs"] == []


def test_check_mode_records_nothing(run_module: RunModule, machine: FakeNode) -> None:
    path = str(machine.path("etc/tool.conf"))
    run_module("deploy", check=True, files=[{"path": path, "content": "1"}])
    node_prepare.Preparation(PARAMS, True, FACTS, root=str(machine.root)).present()
    assert look()["record"] == ""


def test_what_is_removed_is_looked_after_no_more(
    play: Callable[[], None], run_module: RunModule, machine: FakeNode
) -> None:
    play()
    run_module(
        "deploy",
        state="absent",
        files=[{"path": str(machine.path("etc/tool.conf"))}],
        directories=[str(machine.path("etc/tool.d"))],
        units=[{"name": "containerd"}],
    )
    run_module("images", state="absent", registry_config_path=str(machine.path("etc/certs.d")))
    (machine.notes / "images").unlink()
    assert look()["differs"] == []
    node_prepare.Preparation(PARAMS, False, FACTS, root=str(machine.root)).absent()
    assert not Path(storage.STATE_DIRECTORY, node_state.MANAGED).exists()
    run_module("deploy", state="absent", files=[{"path": str(machine.path("etc/tool.conf"))}])
    assert not Path(storage.STATE_DIRECTORY, node_state.MANAGED).exists()


def test_a_damaged_record_is_none(play: Callable[[], None], machine: FakeNode) -> None:
    play()
    machine.write("var/lib/ohmykube/managed.json", "[1")
    assert look()["record"] == ""


# -- kubeadm ---------------------------------------------------------------------------------------


def test_how_far_kubeadm_is(machine: FakeNode) -> None:
    record = kubeadm.Record()
    record.begin("join", [], "1.36.3")
    machine.write("etc/kubernetes/kubelet.conf")
    assert look()["kubeadm"] == "begun"
    for action, words in kubeadm.SUCCESS.items():
        log = machine.write(f"var/log/ohmykube/kubeadm-{action}.log", f"[kubelet]\n{words}!\n")
        assert look()["kubeadm"] == "joined"
        log.write_text("[kubelet]\nfailed\n")
    assert look()["kubeadm"] == "begun"
    record.finish("join")
    found = look()
    assert (found["kubeadm"], found["differs"]) == ("joined", [])
    machine.path("etc/kubernetes/kubelet.conf").unlink()
    assert look()["differs"] == [f"{kubeadm.KUBELET_CONFIG} is gone"]


# -- the API ---------------------------------------------------------------------------------------


@pytest.fixture
def plane(machine: FakeNode) -> FakeNode:
    """Give a control plane whose API has one node and two services."""
    machine.write("etc/kubernetes/admin.conf", "the kubeconfig")
    node = {
        "kind": "Node",
        "metadata": {"name": "w1", "labels": {"a": "1"}},
        "spec": {
            "podCIDR": "10.244.1.0/24",
            "podCIDRs": ["10.244.1.0/24", "fd00:10:244:1::/64"],
            "taints": [{"key": "k", "effect": "NoExecute"}],
            "unschedulable": True,
        },
        "status": {
            "conditions": [
                {"type": "Ready", "status": "False", "message": "no network"},
                {"type": "DiskPressure", "status": "True", "message": "full"},
            ],
            "nodeInfo": {"kubeletVersion": "v1.36.3"},
        },
    }
    services = [
        {"kind": "Service", "metadata": {"name": n}, "spec": {"type": t}}
        for n, t in (("lb", "LoadBalancer"), ("ip", "ClusterIP"))
    ]
    (machine.notes / "api").write_text(json.dumps({"items": [node, *services]}))
    return machine


def test_a_control_plane_tells_what_the_api_has(plane: FakeNode) -> None:
    found = look()
    assert found["nodes"] == [
        {
            "name": "w1",
            "labels": {"a": "1"},
            "taints": ["k=:NoExecute"],
            "pod_network": "10.244.1.0/24,fd00:10:244:1::/64",
            "unschedulable": True,
            "ready": False,
            "reason": "no network",
            "pressure": "DiskPressure: full",
            "version": "v1.36.3",
        }
    ]
    assert [one["metadata"]["name"] for one in found["services"]] == ["lb"]
    assert found["admin"] == "the kubeconfig"


def test_an_api_that_does_not_answer(plane: FakeNode) -> None:
    (plane.notes / "down").touch()
    found = look()
    assert (found["nodes"], found["api"]) == (None, "connection refused")


def test_a_program_that_hangs_is_ended(plane: FakeNode) -> None:
    plane.program("kubectl", "exec sleep 60")
    assert "did not end within 0 s" in look(seconds=0)["api"]


def test_a_program_that_is_not_there(plane: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_state, "SEARCH_PATH", str(plane.notes))
    assert look()["api"] == "it is not installed"


def test_objects_are_compared_with_what_was_applied(plane: FakeNode) -> None:
    there = plane.notes / "objects"
    changed = {**CONFIG_MAP, "data": {"a": "2"}}
    busy = {**CONFIG_MAP, "status": {"x": 1}}
    busy["metadata"] = {**CONFIG_MAP["metadata"], "resourceVersion": "8"}  # type: ignore[dict-item]
    labelled = {**CONFIG_MAP, "metadata": {**CONFIG_MAP["metadata"], "labels": {"a": "1"}}}  # type: ignore[dict-item]
    managed.Applied().note([CONFIG_MAP], clock=lambda: 5.0)
    for listed, told in (
        (CONFIG_MAP, ""),
        ({"kind": "List", "items": [busy]}, ""),
        ({"kind": "List", "items": [changed]}, "ConfigMap n/c has been changed"),
        (labelled, "ConfigMap n/c has been changed"),
        ({}, "ConfigMap n/c is gone"),
    ):
        there.write_text(json.dumps(listed))
        assert look()["objects"] == {"ConfigMap n/c": [5.0, told]}
    asked = json.loads((plane.notes / "asked").read_text())
    assert asked["items"] == [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "n", "name": "c"}}
    ]
    managed.Applied().forget([CONFIG_MAP], clock=lambda: 6.0)
    assert look()["objects"] == {"ConfigMap n/c": [6.0, ""]}
    there.write_text(json.dumps(CONFIG_MAP))
    assert look()["objects"] == {"ConfigMap n/c": [6.0, "ConfigMap n/c is there again"]}
    (plane.notes / "down").touch()
    assert look()["objects"] == {}


def test_applying_records_the_objects_and_removing_their_absence(
    run_module: RunModule, plane: FakeNode
) -> None:
    (plane.notes / "objects").write_text(json.dumps(CONFIG_MAP))
    params = {"manifest": "x: 1", "kubeconfig": kubeadm.ADMIN_CONFIG}
    run_module("kube_apply", **params)
    assert [problem for _at, problem in look()["objects"].values()] == [""]
    run_module("kube_apply", state="absent", **params)
    assert look()["objects"]["ConfigMap n/c"][1] == "ConfigMap n/c is there again"


@pytest.fixture
def dns() -> Iterator[Callable[[Sequence[tuple[int, int]]], int]]:
    """Return what starts a DNS server; each answer to it has given flags and number of answers."""
    with contextlib.ExitStack() as stack:

        def start(given: Sequence[tuple[int, int]]) -> int:
            server = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            server.bind(("127.0.0.1", 0))

            def answer() -> None:
                peers = set()
                for flags, answers in given:
                    packet, peer = server.recvfrom(512)
                    peers.add(peer)
                    assert b"\x07default\x03svc" in packet
                    server.sendto(struct.pack(">6H", 4711, flags, 1, answers, 0, 0), peer)
                assert len(peers) == len(given), "a service may lead each to another pod"

            thread = threading.Thread(target=answer, daemon=True)
            thread.start()
            stack.callback(thread.join, 10)
            return int(server.getsockname()[1])

        yield start


RIGHT, REFUSED, EMPTY = (0x8180, 1), (0x8183, 0), (0x8180, 0)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([RIGHT] * 4, True),
        ([REFUSED] * 4, False),
        ([EMPTY] * 4, False),
        ([RIGHT, RIGHT, RIGHT, REFUSED], False),
        ([REFUSED, RIGHT, RIGHT, RIGHT], False),
    ],
)
def test_all_of_the_dns_is_asked(
    dns: Callable[[Sequence[tuple[int, int]]], int],
    given: Sequence[tuple[int, int]],
    expected: bool,
) -> None:
    """One of several pods behind it that gives no answer is enough for a no."""
    port = dns(given)
    asked = pod_network.dns_answers("127.0.0.1", "kubernetes.default.svc.x", 10, port=port)
    assert asked is expected


def test_a_dns_of_which_a_pod_is_silent(
    dns: Callable[[Sequence[tuple[int, int]]], int],
) -> None:
    port = dns([RIGHT] * 3)
    assert not pod_network.dns_answers("127.0.0.1", "kubernetes.default.svc.x", 0.2, port=port)


def test_dns_is_asked_from_each_node_that_has_joined(
    play: Callable[[], None], machine: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker's answer crosses the pod network, a control plane's may not."""
    asked: list[tuple[str, ...]] = []

    def answers(*words: str) -> bool:
        asked.append(words)
        return True

    monkeypatch.setattr(node_state, "dns_answers", answers)
    play()
    assert look(dns=["10.96.0.10", "n"])["dns"] is False
    record = kubeadm.Record()
    record.begin("join", [], "1.36.3")
    assert look(dns=["10.96.0.10", "n"])["dns"] is False
    record.finish("join")
    assert look(dns=["10.96.0.10", "n"])["dns"] is True
    assert asked == [("10.96.0.10", "n")]


def test_what_differs_is_not_asked_for_in_vain(play: Callable[[], None], machine: FakeNode) -> None:
    play()
    machine.path("etc/tool.conf").write_text("22")
    whole, brief = look(), look(differences=False)
    assert whole["differs"]
    assert brief == {**whole, "differs": [], "objects": {}}


def test_a_dns_that_is_not_there() -> None:
    assert not pod_network.dns_answers("not an address", "x", 1)


def routes(*hops: tuple[str, str]) -> str:
    """Return ``/proc/net/route`` with these network cards and next hops."""
    rows = ["Iface\tDestination\tGateway \tFlags"]
    for card, hop in hops:
        if ":" not in hop:
            (number,) = struct.unpack("=L", socket.inet_aton(hop))
            rows.append(f"{card}\t0001F40A\t{number:08X}\t0003")
    return "\n".join(rows) + "\n"


def routes6(*hops: tuple[str, str]) -> str:
    """Return ``/proc/net/ipv6_route`` likewise."""
    none = "0" * 32
    return "".join(
        f"fd00{'0' * 28} 40 {none} 00 {socket.inet_pton(socket.AF_INET6, hop).hex()}"
        f" 00000400 00000001 00000000 00000003 {card:>8}\n"
        for card, hop in hops
        if ":" in hop
    )


@pytest.fixture
def peers() -> Iterator[int]:
    """Give a port at which 127.0.1.1 accepts, 127.0.1.2 and ::1 refuse, and 127.0.1.3 is silent."""
    with contextlib.ExitStack() as opened:

        def listen(address: tuple[str, int], backlog: int) -> int:
            server = opened.enter_context(socket.socket())
            server.bind(address)
            server.listen(backlog)
            return int(server.getsockname()[1])

        port = listen(("127.0.1.1", 0), 8)
        listen(("127.0.1.3", port), 0)
        # A queue that is full drops what comes, as a network does that leads nowhere.
        for _ in range(4):
            client = opened.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(("127.0.1.3", port))
        yield port


@pytest.mark.parametrize(
    ("hops", "expected"),
    [
        ([], []),
        ([("flannel.1", "127.0.1.1")], ["127.0.1.1"]),
        ([("flannel.1", "127.0.1.2")], ["127.0.1.2"]),
        ([("flannel.1", "127.0.1.3")], []),
        ([("flannel.1", f"127.0.1.{n}") for n in (3, 2, 1)], ["127.0.1.1", "127.0.1.2"]),
        ([("eth0", "127.0.1.1"), ("cni0", "0.0.0.0")], []),
        ([("flannel.1", "0.0.0.0"), ("eth0", "127.0.1.2")], []),
        ([("flannel.2", "127.0.1.1"), ("flannel.1", "127.0.1.1")], ["127.0.1.1"]),
        ([("flannel-v6.1", "::1"), ("flannel.1", "127.0.1.1")], ["127.0.1.1", "::1"]),
        ([("flannel-v6.1", "::"), ("eth0", "::1")], []),
    ],
)
def test_a_peer_is_reached_when_it_answers_whatever_it_says(
    peers: int, hops: list[tuple[str, str]], expected: list[str]
) -> None:
    """A refusal has come from the other side; silence and no route have not."""
    asked = pod_network.gateways(routes(*hops), routes6(*hops), ("flannel.", "flannel-v6."))
    assert pod_network.reached(asked, 0.3, peers) == expected


def test_peers_are_asked_where_the_pod_network_has_them(
    play: Callable[[], None], machine: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def reached(addresses: list[str]) -> list[str]:
        asked.append(list(addresses))
        return ["10.244.1.0"]

    play()
    net = Path(node_state.PROC) / "net"
    net.mkdir(exist_ok=True)
    (net / "route").write_text(routes(("flannel.1", "10.244.1.0")))
    (net / "ipv6_route").write_text(routes6(("flannel-v6.1", "fd00:10:244:1::")))
    monkeypatch.setattr(node_state, "reached", reached)
    look(overlays=["flannel."])
    record = kubeadm.Record()
    record.begin("join", [], "1.36.3")
    record.finish("join")
    assert look(overlays=["flannel."])["reached"] == ["10.244.1.0"]
    look(overlays=["flannel.", "flannel-v6."])
    look()
    assert asked == [[], ["10.244.1.0"], ["10.244.1.0", "fd00:10:244:1::"], []]


# -- on its own ------------------------------------------------------------------------------------


def test_it_needs_nothing_but_python(play: Callable[[], None], machine: FakeNode) -> None:
    """As it is sent to nodes: through standard input, without site packages."""
    play()
    source = question.program()
    for name in ("DIRECTORY", "PROC", "SYS", "SEARCH_PATH", "ADMIN_CONFIG", "KUBELET_CONFIG"):
        value = storage.STATE_DIRECTORY if name == "DIRECTORY" else getattr(node_state, name)
        source = _set(source, name, value)
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-", '{"seconds": 10, "dns": ["127.0.0.1", "x"]}'],
        input=source,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert json.loads(done.stdout) == look()


def _set(source: str, name: str, value: str) -> str:
    lines = source.splitlines()
    (number,) = (n for n, line in enumerate(lines) if line.startswith(f"{name} = "))
    lines[number] = f"{name} = {value!r}"
    return "\n".join(lines)


def test_the_records_are_those_of_the_modules() -> None:
    assert kubeadm.RECORD.endswith("/" + node_state.KUBEADM)
    assert artifacts.RECORD.endswith("/" + node_state.ARTIFACTS)
