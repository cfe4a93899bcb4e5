"""The check at the end of CI finds what it is there to find."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ohmykube.kit import process

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = Path(__file__).resolve().parents[2] / "tools" / "leftovers.py"
TOKEN = f"self-test-{os.getpid()}"


def leftovers(*arguments: object) -> process.Result:
    # The mark of the run that this test is part of would make this test find itself.
    env = {name: value for name, value in os.environ.items() if name != "OHMYKUBE_TEST_RUN"}
    argv = [sys.executable, str(PROGRAM), *map(str, arguments)]
    return process.run(argv, timeout=120, check=False, env=env)


@pytest.fixture
def before(tmp_path: Path) -> Path:
    saved = tmp_path / "before.json"
    assert leftovers("save", saved).code == 0
    return saved


@pytest.fixture
def orphan() -> Iterator[subprocess.Popen[bytes]]:
    env = {**os.environ, "OHMYKUBE_TEST_RUN": TOKEN}
    with subprocess.Popen(["sleep", "120"], env=env, start_new_session=True) as child:
        yield child
        child.kill()


def test_a_process_of_the_run_is_found_and_ended(
    before: Path, orphan: subprocess.Popen[bytes]
) -> None:
    told = leftovers("check", before, TOKEN, 0)
    assert told.code == 1
    assert f"process {orphan.pid} sleep 120" in told.stderr
    assert orphan.wait(30) < 0


def test_a_process_of_another_run_is_left_alone(
    before: Path, orphan: subprocess.Popen[bytes]
) -> None:
    leftovers("check", before, f"{TOKEN}-other", 0)
    assert orphan.poll() is None


def test_a_new_namespace_is_reported_and_what_was_there_is_not(before: Path, as_root: None) -> None:
    name = f"omk-{TOKEN}"
    process.run(["ip", "netns", "add", name], timeout=30)
    try:
        told = leftovers("check", before, TOKEN, 0)
        assert told.code == 1
        assert f"network namespace {name}\n" in told.stderr
        assert leftovers("save", before).code == 0
        assert name not in leftovers("check", before, TOKEN, 0).stderr
    finally:
        process.run(["ip", "netns", "delete", name], timeout=30)


CHANGES = {
    "ip link add other0 type bridge": "interface other0",
    "ip route add blackhole 192.0.2.0/24": "route blackhole 192.0.2.0/24",
    "ip -6 route add blackhole 2001:db8::/64": "route blackhole 2001:db8::/64",
    "ip rule add pref 77 to 192.0.2.0/24 lookup main": "rule 77:",
    "echo 1 >/proc/sys/net/ipv4/ip_forward": "setting ipv4/ip_forward = 1",
    "echo 1 >/proc/sys/net/ipv6/conf/all/forwarding": "setting ipv6/conf/all/forwarding",
    "echo 0 9 >/proc/sys/net/ipv4/ping_group_range": "setting ipv4/ping_group_range = 0 9",
}
"""And what is reported of each. Together, as each look at the host takes seconds."""


def test_changes_of_the_hosts_network_are_reported(tmp_path: Path, as_root: None) -> None:
    """Whoever made them, and whatever their names; in a namespace that stands for the host's."""
    saved, first = tmp_path / "before.json", tmp_path / "first.err"
    python = f"{sys.executable} {PROGRAM}"
    up = "ip link set lo up; ip link add first0 type bridge; ip link set first0 up"
    # What clusters of other tests do meanwhile is reported too: only these kinds are looked at.
    before = f"{up} && {python} save {saved} && {{ {python} check {saved} {TOKEN} 0 2>{first}; }}"
    script = f"{before}; {' && '.join(CHANGES)} && {python} check {saved} {TOKEN} 0"
    env = {name: value for name, value in os.environ.items() if name != "OHMYKUBE_TEST_RUN"}
    argv = ["unshare", "--net", "sh", "-c", script]
    told = process.run(argv, timeout=120, check=False, env=env)
    assert [kind for kind in CHANGES.values() if f"  {kind.split()[0]} " in first.read_text()] == []
    assert told.code == 1
    assert [text for text in CHANGES.values() if f"  {text}" not in told.stderr] == []


def test_a_record_of_an_older_version_is_compared_as_far_as_it_goes(before: Path) -> None:
    known = json.loads(before.read_text())
    before.write_text(json.dumps({"mount": known["mount"]}))
    told = leftovers("check", before, TOKEN, 0)
    assert "setting" not in told.stderr


def test_bad_usage() -> None:
    assert leftovers().code == 2
