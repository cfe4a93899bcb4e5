"""Reading what a host agent tells."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ohmykube.providers.lima import events
from ohmykube.providers.lima.events import Events

if TYPE_CHECKING:
    from pathlib import Path

PORT = '{"time":"2026-11-23T03:08:12Z","status":{"sshLocalPort":40493}}\n'
UP = '{"time":"2026-11-23T03:09:56Z","status":{"running":true,"sshLocalPort":40493}}\n'


def status(**fields: object) -> str:
    return json.dumps({"time": "t", "status": fields}) + "\n"


def test_nothing_yet(tmp_path: Path) -> None:
    assert Events(tmp_path).new() == ()
    assert events.last(tmp_path) is None


def test_events_come_once_and_whole(tmp_path: Path) -> None:
    path = tmp_path / events.NAME
    reader = Events(tmp_path)
    path.write_text(PORT + UP[:20])
    (first,) = reader.new()
    assert (first.ssh_port, first.running, first.ready) == (40493, False, False)
    assert reader.new() == ()
    path.write_text(PORT + UP)
    (second,) = reader.new()
    assert second.ready
    assert second.time == "2026-11-23T03:09:56Z"
    assert reader.new() == ()


def test_a_new_start_is_read_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / events.NAME
    path.write_text(PORT + UP)
    reader = Events(tmp_path)
    assert len(reader.new()) == 2
    path.unlink()
    assert reader.new() == ()
    path.write_text(status(sshLocalPort=41000) + status(running=True) + status(exiting=True))
    assert [one.ssh_port for one in reader.new()] == [41000, 0, 0]


def test_a_file_that_became_shorter(tmp_path: Path) -> None:
    path = tmp_path / events.NAME
    path.write_text(PORT + UP)
    reader = Events(tmp_path)
    reader.new()
    with path.open("r+") as stream:
        stream.truncate(0)
        stream.write(PORT)
    assert [one.ssh_port for one in reader.new()] == [40493]


def test_what_is_no_event_is_passed_over(tmp_path: Path) -> None:
    lines = ["panic: x", "[]", '{"time":"t"}', '{"status":1}', '"x"', "", "\ud800"]
    text = "\n".join(lines).encode(errors="surrogatepass") + b"\n" + UP.encode()
    (tmp_path / events.NAME).write_bytes(text)
    assert [one.running for one in Events(tmp_path).new()] == [True]


def test_odd_values_count_as_not_told() -> None:
    event = events.parse(status(running="yes", errors="x", sshLocalPort=True, cloudInitProgress=1))
    assert event is not None
    assert (event.running, event.errors, event.ssh_port, event.boot_line) == (False, (), 0, "")


def test_errors_and_progress() -> None:
    line = status(
        running=True,
        degraded=True,
        errors=["no ssh", 1],
        cloudInitProgress={"active": True, "logLine": "Generating locales"},
    )
    event = events.parse(line)
    assert event is not None
    assert (event.errors, event.boot_line, event.ready) == (
        ("no ssh", "1"),
        "Generating locales",
        False,
    )
    odd = events.parse(status(cloudInitProgress={"logLine": 1}))
    assert odd is not None
    assert odd.boot_line == ""


def test_the_last_state(tmp_path: Path) -> None:
    path = tmp_path / events.NAME
    path.write_text(PORT + UP + status(cloudInitProgress={"completed": True}))
    last = events.last(tmp_path)
    assert last is not None
    assert last.ready
    path.write_text(PORT)
    assert events.last(tmp_path) is None


def test_what_never_ends_is_not_kept(tmp_path: Path) -> None:
    path = tmp_path / events.NAME
    path.write_bytes(b"x" * (2 << 20))
    reader = Events(tmp_path)
    assert reader.new() == ()
    with path.open("a") as stream:
        stream.write("\n" + UP)
    assert [one.running for one in reader.new()] == [True]
