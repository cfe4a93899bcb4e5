"""Where Lima's machines are: which directory, how long its paths, who holds it."""

from __future__ import annotations

import dataclasses
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ohmykube.errors import LockedError, PrerequisiteError, ProviderError
from ohmykube.providers.lima import lima_home, marker, names
from ohmykube.providers.lima.lima_home import Home

if TYPE_CHECKING:
    from collections.abc import Callable

ONE = "/users/me"


@pytest.mark.parametrize(
    ("environ", "root"),
    [
        ({"HOME": ONE}, f"{ONE}/.omk/lima"),
        ({"HOME": ONE, "OHMYKUBE_HOME": "/srv/omk"}, "/srv/omk/lima"),
        ({"HOME": ONE, "OHMYKUBE_HOME": "/srv/omk", "OHMYKUBE_LIMA_HOME": "/l"}, "/l"),
        ({"HOME": ONE, "LIMA_HOME": "/srv/theirs"}, f"{ONE}/.omk/lima"),
        ({"HOME": ONE, "LIMA_HOME": f"{ONE}/.omk/lima"}, f"{ONE}/.omk/lima"),
    ],
)
def test_the_home_is_found(environ: dict[str, str], root: str) -> None:
    assert lima_home.locate(environ).root == Path(root)


@pytest.mark.parametrize(
    "environ",
    [
        {"HOME": ONE, "OHMYKUBE_LIMA_HOME": f"{ONE}/.lima"},
        {"HOME": ONE, "OHMYKUBE_LIMA_HOME": f"{ONE}/.lima/sub"},
        {"HOME": ONE, "LIMA_HOME": "/srv/l", "OHMYKUBE_LIMA_HOME": "/srv/l"},
    ],
)
def test_the_users_own_machines_are_left_alone(environ: dict[str, str]) -> None:
    with pytest.raises(PrerequisiteError) as caught:
        lima_home.locate(environ)
    assert caught.value.id == "OMK-P-503"


def test_the_limit_is_that_of_a_socket() -> None:
    root = Path("/" + "x" * 47)  # and 32 of the instance: 80, the most on Linux
    limit = lima_home._SOCKET - lima_home._INSTANCE_SOCKET - 1 - names.LONGEST
    fits, not_so = Home(Path("/" + "x" * (limit - 1))), Home(Path("/" + "x" * limit))
    assert fits.too_long(["n" * names.LONGEST], [names.network(255)]) == ""
    assert "would have a path of" in not_so.too_long(["n" * names.LONGEST], [])
    assert len(str(root)) + names.LONGEST == 80
    assert fits.too_long([], ["n" * 60]) != ""


def test_a_link_in_circles_is_measured_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert Home(tmp_path / "a" / ("x" * 100)).too_long(["n"], []) != ""


def test_alone_means_alone(tmp_path: Path) -> None:
    place = Home(tmp_path)
    with place.exclusive():
        with pytest.raises(LockedError), place.exclusive(wait=0):
            pass
        with pytest.raises(LockedError) as caught, place.shared(wait=0):
            pass
        assert caught.value.id == "OMK-P-501"
    with place.shared(), place.shared(), pytest.raises(LockedError), place.exclusive(wait=0):
        pass


def test_together_waits_for_alone(
    tmp_path: Path, eventually: Callable[[Callable[[], bool]], bool]
) -> None:
    place, held = Home(tmp_path), []

    def hold() -> None:
        with place.shared():
            held.append(1)

    with ThreadPoolExecutor(1) as pool:
        with place.exclusive():
            waiting = pool.submit(hold)
            assert held == []
        assert eventually(waiting.done)
    assert held == [1]


def test_the_key_is_made_once(tmp_path: Path) -> None:
    place = Home(tmp_path)
    place.identity.parent.mkdir()
    place.identity.write_text("half of one")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: place.ensure_key(), range(4)))
    first = place.identity.read_bytes()
    assert b"PRIVATE KEY" in first
    assert place.identity.stat().st_mode & 0o777 == 0o600
    place.ensure_key()
    assert place.identity.read_bytes() == first


def test_a_key_that_cannot_be_made_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bin" / "ssh-keygen"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho no entropy >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    with pytest.raises(ProviderError) as caught:
        Home(tmp_path / "h").ensure_key()
    assert (caught.value.id, caught.value.why) == ("OMK-P-502", "no entropy")


@pytest.mark.parametrize(
    ("cluster", "node", "instance"),
    [("dev", "cp1", "dev.cp1"), ("a-b", "c-d", "a-b.c-d")],
)
def test_names_of_instances(cluster: str, node: str, instance: str) -> None:
    assert names.instance(cluster, node) == instance


@pytest.mark.parametrize("cluster", ["a--b", "x" * 40, "_build"])
def test_names_that_limactl_does_not_take_are_made_short(cluster: str) -> None:
    found = names.instance(cluster, "cp1")
    assert found.startswith("omk-")
    assert len(found) <= names.LONGEST
    assert found != names.instance(cluster, "cp2")


def test_disks_are_told_apart() -> None:
    assert names.is_disk_of(names.disk("dev.w1", 2), "dev.w1")
    assert not names.is_disk_of(names.disk("dev.w1", 2), "dev.w")
    assert not names.is_disk_of("dev.w1-disk", "dev.w1")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        "a: b",
        '{"schema": 2}',
        "\x00",
        '{"instance": 1, "cluster": "a", "node": "b"}',
    ],
)
def test_a_mark_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / marker.FILE).write_text(text)
    assert marker.read(tmp_path) is None


@pytest.mark.parametrize(
    "change",
    [{"schema": 2}, {"complete": "yes"}, {"address": 1}, {"cluster": "../x"}, {"cluster": ""}],
)
def test_a_mark_that_is_not_ours(tmp_path: Path, change: dict[str, object]) -> None:
    good = marker.Marker(instance="dev.cp1", cluster="dev", node="cp1", id="1")
    marker.write(tmp_path, good)
    assert marker.read(tmp_path) == good
    (tmp_path / marker.FILE).write_text(json.dumps({**dataclasses.asdict(good), **change}))
    assert marker.read(tmp_path) is None
