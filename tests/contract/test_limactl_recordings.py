"""The fake limactl against what the real 2.0.3 was recorded to answer, call by call."""

from __future__ import annotations

import io
import json
import re
import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from ohmykube.providers.lima import events
from ohmykube.providers.lima.limactl_output import (
    Disk,
    Instance,
    LogEntry,
    Network,
    lines,
    log_entries,
)
from ohmykube.testing import fake_limactl
from ohmykube.testing.fake_limactl import program, usernet
from tests.free_port import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

DATA = Path(__file__).parents[1] / "data" / "lima" / "limactl-2.0.3.jsonl"
RECORDED = [json.loads(line) for line in DATA.read_text().splitlines()]
NOT_IMITATED = (["list", "--list-fields"], ["info", "--yq", ".vmTypes"])
"""The provider does not ask this; everything else that was recorded is compared."""
_WRITTEN = ("minimumLimaVersion", "vmType", "vmOpts", "images", "cpus", "memory", "disk")
_WRITTEN += ("firmware", "provision", "plain")


def words(argv: list[str]) -> list[str]:
    return [word for word in argv[1:] if not word.startswith(("--log-format", "--tty"))]


def shape(value: object) -> object:
    """Return the keys and types of a JSON value, whatever the values are."""
    if isinstance(value, dict):
        return {key: shape(one) for key, one in value.items()}
    if isinstance(value, list):
        return sorted({json.dumps(shape(one), sort_keys=True) for one in value})
    return type(value).__name__


def level(stderr: str) -> tuple[str, str]:
    """Return the format and the level of the last line."""
    last = stderr.splitlines()[-1] if stderr.strip() else ""
    if last.startswith("{"):
        return "json", json.loads(last)["level"]
    found = re.search(r"\blevel=(\w+)", last)
    return ("text", found[1]) if found else ("none", "")


class Replay:
    """The fake in the state that the recording began with."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.home = directory / "h"
        recorded = json.loads(RECORDED[1]["stdout"].splitlines()[0])["config"]
        template = {key: recorded[key] for key in _WRITTEN}
        image = template["images"][0]
        for part in (image, image["kernel"], image["initrd"]):
            part["location"] = str(directory / Path(part["location"]).name)
            Path(part["location"]).touch()
        template["networks"] = [{"lima": "user-v2"}]
        template["user"] = {"name": "ops", "uid": 1000, "home": "/home/ops", "shell": "/bin/bash"}
        template["containerd"] = {"system": False, "user": False}
        (directory / "vm.yaml").write_text(yaml.safe_dump(template))
        (directory / "bad.yaml").write_text("vmType: qemu\n")
        self.call(["create", "--name=gold", str(directory / "vm.yaml")])
        for name in ("k1", "k2"):
            self.call(["clone", "gold", name])
        started = self.call(["start", "k2"])
        assert started["rc"] == 0, started["stderr"]

    def call(self, argv: list[str]) -> dict[str, Any]:
        out, err = io.StringIO(), io.StringIO()
        code = program.main(
            [word.replace("@DIR@", str(self.directory)) for word in argv],
            {"LIMA_HOME": str(self.home)},
            stdin=io.StringIO((self.directory / "vm.yaml").read_text()),
            out=out,
            err=err,
            cwd=self.directory,
        )
        return {"rc": code, "stdout": out.getvalue(), "stderr": err.getvalue()}

    def prepare(self, recorded: dict[str, Any]) -> None:
        """Bring about what happened to the recorded one outside of its calls."""
        argv = recorded["argv"]
        if "--timeout=8s" in argv:
            fake_limactl.plant(self.home, "start-timeout@k3")
        if "nosuchinst-template-default" in argv:  # no image could be downloaded
            fake_limactl.plant(self.home, "no-space@nosuchinst-template-default")
        if "--timeout=20s" in argv:  # QEMU could not use KVM
            fake_limactl.plant(self.home, "start-fails@k1")
        half = self.home / "half"
        if words(argv) == ["list", "--json"] and recorded["rc"] == 1:
            half.mkdir()
        if words(argv) == ["delete", "-f", "gold"]:
            half.rmdir()


@pytest.fixture
def replay() -> Iterator[Replay]:
    with tempfile.TemporaryDirectory(prefix="l") as directory:  # short: sockets lie in it
        made = Replay(Path(directory))
        yield made
        fake_limactl.reap(made.home)


def test_the_fake_answers_as_recorded(replay: Replay) -> None:
    compared = 0
    for recorded in RECORDED:
        argv = recorded["argv"]
        if words(argv) in NOT_IMITATED:
            continue
        replay.prepare(recorded)
        given = replay.call(argv[1:])
        assert given["rc"] == recorded["rc"], (argv, given["stderr"])
        if "shell" in argv:  # there is no guest behind the fake
            continue
        assert level(given["stderr"]) == level(recorded["stderr"]), (argv, given["stderr"])
        assert bool(given["stdout"]) == bool(recorded["stdout"]), argv
        if recorded["stdout"].startswith("{"):
            there = [shape(one) for one in lines(recorded["stdout"])]
            assert [shape(one) for one in lines(given["stdout"])] == there, argv
        compared += 1
    assert compared > 50


def parsed(verb: list[str]) -> list[Any]:
    calls = [one for one in RECORDED if words(one["argv"])[: len(verb)] == verb]
    return [raw for one in calls if one["stdout"].startswith("{") for raw in lines(one["stdout"])]


def test_recorded_instances_are_understood() -> None:
    found = [Instance.parse(raw) for raw in parsed(["list"])]
    assert len(found) > 8
    assert {str(one.status) for one in found} == {"Stopped", "Running"}
    for one in found:
        running = one.status == "Running"
        assert (one.ssh_port > 0, one.host_agent_pid > 0, one.driver_pid > 0) == (running,) * 3
        assert (one.vm_type, one.cpus, one.lima_version) == ("qemu", 1, "v2.0.3")
        assert one.config["plain"] is True
        assert [n.network for n in one.networks] == ["user-v2"]


def test_recorded_disks_and_networks_are_understood() -> None:
    (disk,) = [Disk.parse(raw) for raw in parsed(["disk", "list"])]
    assert (disk.name, disk.size, disk.format, disk.instance) == ("d1", 1 << 30, "qcow2", "")
    modes = [Network.parse(raw).mode for raw in parsed(["network", "list"])]
    assert sorted(set(modes)) == ["bridged", "host", "shared", "user-v2"]


BOOT = json.loads(DATA.with_name("boot-2.0.3.json").read_text())
"""What was seen of one machine that ran: its network, its events, and the death of its agent."""


def test_the_network_answers_as_recorded() -> None:
    state = usernet.State("192.168.104.1", "255.255.255.0", {})
    state.join({"mac": "52:55:55:00:bf:93", "port": 37303})

    def ask(method: str, path: str, body: dict[str, str]) -> list[Any]:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            request = json.dumps(body)
            head = f"{method} {path} HTTP/1.1\r\nContent-Length: {len(request)}\r\n\r\n"
            ours.sendall((head + request).encode())
            usernet.respond(state, theirs)
            theirs.close()
            with ours.makefile("rb") as stream:
                head, _, answer = stream.read().decode().partition("\r\n\r\n")
        return [int(head.split()[1]), answer]

    for path in ("/services/dhcp/leases", "/services/forwarder/all", "/cam", "/bogus"):
        code, text = BOOT[f"GET {path}"]
        given = ask("GET", path, {})
        assert given[0] == code
        if code == 200:
            there = json.loads(text.replace("@GUEST@", "192.168.104.1"))
            assert json.loads(given[1]) == there, path
    body = {"local": f"127.0.0.1:{free_port()}", "remote": "a:22", "protocol": "tcp"}
    for name in ("expose", "expose2", "unexpose", "unexpose2"):
        path = f"/services/forwarder/{name.removesuffix('2')}"
        assert ask("POST", path, body) == BOOT[name], name


def test_the_events_of_a_boot(tmp_path: Path) -> None:
    (tmp_path / events.NAME).write_text(BOOT["events"])
    told = events.Events(tmp_path).new()
    assert [(one.ready, one.ssh_port) for one in told] == [(False, 37303), (True, 37303)]


def test_an_instance_without_its_host_agent() -> None:
    found = Instance.parse(BOOT["broken"])
    assert (found.status, found.has_errors, found.ssh_port) == ("Broken", True, 0)


def test_recorded_words_are_understood() -> None:
    said = [one for one in RECORDED if one["stderr"].startswith("{")]
    entries = [entry for one in said for entry in log_entries(one["stderr"])]
    assert {entry.level for entry in entries} == {"info", "warning", "fatal"}
    text = log_entries('panic: x\n\n{"level":"info"}\n')
    assert text == (LogEntry("", "panic: x"), LogEntry("", '{"level":"info"}'))
