"""Questions to a cluster, answered from a table; the DNS question goes to a real socket."""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from ohmykube.errors import NodeError
from ohmykube.kube import readiness
from ohmykube.kube.api import ClusterApi

if TYPE_CHECKING:
    from collections.abc import Sequence


def node(name: str, status: str | None, message: str = "") -> dict[str, object]:
    conditions = [{"type": "MemoryPressure", "status": "False"}]
    if status is not None:
        conditions.append({"type": "Ready", "status": status, "message": message})
    info = {"kubeletVersion": "v1.36.3"}
    return {"metadata": {"name": name}, "status": {"conditions": conditions, "nodeInfo": info}}


def listing(items: list[dict[str, object]]) -> ClusterApi:
    """Return an API that knows these nodes."""

    def shell(argv: Sequence[str], stdin: str = "", timeout: float = 30) -> str:
        assert argv[0] == "kubectl"
        assert (stdin, timeout) == ("", 30)
        return json.dumps({"items": items})

    return ClusterApi("dev", {"cp1": shell})


def test_nodes_are_sorted_and_say_why_they_are_not_ready() -> None:
    items = [
        node("w1", "False", "cni plugin not initialized"),
        node("cp1", "True"),
        node("w2", None),
    ]

    found = readiness.nodes(listing(items))
    assert [(n.name, n.ready, n.reason) for n in found] == [
        ("cp1", True, ""),
        ("w1", False, "cni plugin not initialized"),
        ("w2", False, "no status yet"),
    ]
    assert found[0].version == "v1.36.3"
    assert {n.pressure for n in found} == {""}


def test_a_ready_node_without_room_says_what_it_lacks() -> None:
    item = node("w1", "True")
    pressure = {"type": "DiskPressure", "status": "True", "message": "kubelet has disk pressure"}
    item["status"]["conditions"].append(pressure)  # type: ignore[index]

    found = readiness.nodes(listing([item]))
    assert found[0].ready
    assert found[0].pressure == "DiskPressure: kubelet has disk pressure"


def test_dns_address_is_the_tenth_of_the_range() -> None:
    assert readiness.dns_address("10.96.0.0/16") == "10.96.0.10"
    assert readiness.dns_address("192.168.128.0/24") == "192.168.128.10"


@pytest.mark.parametrize(
    ("code", "answers", "expected"), [(0, 1, True), (3, 0, False), (0, 0, False)]
)
def test_the_question_is_a_real_one(code: int, answers: int, *, expected: bool) -> None:
    """The script that runs on a node asks a server on loopback, which answers as told."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(10)
        port = server.getsockname()[1]
        asked: list[bytes] = []

        def answer() -> None:
            packet, client = server.recvfrom(4096)
            asked.append(packet)
            flags = 0x8180 | code
            server.sendto(packet[:2] + struct.pack(">5H", flags, 1, answers, 0, 0), client)

        thread = threading.Thread(target=answer)
        thread.start()

        def shell(argv: Sequence[str], stdin: str = "", timeout: float = 30) -> str:
            assert timeout >= 5
            if argv[0] == "kubectl":
                return "ok"
            assert list(argv) == [
                "python3",
                "-",
                "10.96.0.10",
                "kubernetes.default.svc.cluster.local",
            ]
            script = stdin.replace("(server, 53)", f"('127.0.0.1', {port})")
            assert script != stdin
            done = subprocess.run(
                [sys.executable, *argv[1:]], input=script.encode(), capture_output=True, check=False
            )
            if done.returncode != 0:
                raise NodeError("no answer", why=done.stderr.decode())
            return ""

        api = ClusterApi("dev", {"cp1": shell})
        assert readiness.dns_answers(api, "10.96.0.0/16", "cluster.local") is expected
        thread.join()
    assert b"\x0akubernetes\x07default\x03svc\x07cluster\x05local\x00" in asked[0]
