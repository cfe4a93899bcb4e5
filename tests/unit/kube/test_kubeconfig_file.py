"""Merging into the user's own kubeconfig."""

from __future__ import annotations

import os
import socket

import pytest
import yaml

from ohmykube.errors import ConfigError, LockedError
from ohmykube.kube import kubeconfig_file
from ohmykube.kube.kubeconfig_file import merge, remove
from tests.fake_clock import FakeClock


def _config(name: str, server: str = "https://127.0.0.1:36443") -> str:
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": name,
                    "cluster": {"server": server, "certificate-authority-data": f"CA-{name}"},
                }
            ],
            "users": [{"name": name, "user": {}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
            "current-context": name,
        }
    )


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source"
    path.write_text(_config("ohmykube-dev"))
    return path


def test_into_nothing(tmp_path, source) -> None:
    target = tmp_path / "home" / ".kube" / "config"
    merge(source, target)
    assert yaml.safe_load(target.read_text()) == yaml.safe_load(source.read_text())
    assert target.stat().st_mode & 0o777 == 0o600
    assert not target.with_name("config.lock").exists()


def test_beside_others_and_again(tmp_path, source) -> None:
    target = tmp_path / "config"
    target.write_text(_config("prod") + "preferences: {colors: true}\n")
    merge(source, target)
    source.write_text(_config("ohmykube-dev", "https://127.0.0.1:40000"))
    merge(source, target)
    found = yaml.safe_load(target.read_text())
    assert [c["name"] for c in found["clusters"]] == ["prod", "ohmykube-dev"]
    assert found["clusters"][1]["cluster"]["server"] == "https://127.0.0.1:40000"
    assert len(found["users"]) == len(found["contexts"]) == 2
    assert found["current-context"] == "ohmykube-dev"
    assert found["preferences"] == {"colors": True}


def test_a_link_stays_a_link(tmp_path, source) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_text(_config("prod"))
    link.symlink_to(real)
    merge(source, link)
    assert link.is_symlink()
    assert len(yaml.safe_load(real.read_text())["clusters"]) == 2


@pytest.mark.parametrize("text", ["[1, 2]", "clusters: 5", "clusters: [5]", "a: [", "- x: {"])
def test_what_is_no_kubeconfig_stays_as_it_is(tmp_path, source, text) -> None:
    target = tmp_path / "config"
    target.write_text(text)
    with pytest.raises(ConfigError, match="is not a kubeconfig"):
        merge(source, target)
    assert target.read_text() == text
    assert not target.with_name("config.lock").exists()


def test_a_lock_that_stays(tmp_path, source) -> None:
    lock = tmp_path / "config.lock"
    lock.touch()
    with pytest.raises(LockedError, match="being changed by another program") as caught:
        merge(source, tmp_path / "config", clock=FakeClock())
    assert str(lock) in caught.value.hint
    assert lock.exists()
    assert not (tmp_path / "config").exists()


def test_a_lock_that_goes_away(tmp_path, source) -> None:
    lock = tmp_path / "config.lock"
    lock.touch()
    clock = FakeClock(meanwhile=lambda: lock.unlink(missing_ok=True))
    merge(source, tmp_path / "config", clock=clock)
    assert (tmp_path / "config").exists()


def test_the_error_of_a_directory_in_the_way(tmp_path, source) -> None:
    target = tmp_path / "config"
    target.mkdir()
    with pytest.raises(LockedError, match="in the way"):
        merge(source, target)


def test_what_is_not_ours_stays_byte_for_byte(tmp_path, source) -> None:
    theirs = (
        b"# mine\nclusters:\n- {name: prod, cluster: {certificate-authority: '/J\xfcrgen/ca'}}\n"
    )
    target = tmp_path / "config"
    target.write_bytes(theirs)
    merge(source, target)
    assert target.read_bytes().startswith(theirs)


def test_what_cannot_be_changed_in_part_stays_as_it_is(tmp_path, source) -> None:
    target = tmp_path / "config"
    target.write_text("x: &l []\nclusters: *l\n")
    with pytest.raises(ConfigError, match="without writing all of it anew") as caught:
        merge(source, target)
    assert "another file" in caught.value.hint
    assert target.read_text() == "x: &l []\nclusters: *l\n"


@pytest.mark.parametrize("kind", ["device", "pipe", "socket", "directory", "link to a device"])
def test_only_a_regular_file_is_read(tmp_path, source, kind) -> None:
    """What is no regular file is refused before a byte of it is read, by every way in."""
    target = tmp_path / "config"
    match kind:
        case "device":
            target = type(target)("/dev/full")
        case "pipe":
            os.mkfifo(target)
        case "socket":
            with socket.socket(socket.AF_UNIX) as made:
                made.bind(os.path.relpath(target))
        case "directory":
            target.mkdir()
        case _:
            target.symlink_to("/dev/zero")
    for use in (
        lambda: kubeconfig_file.current_context(target),
        lambda: kubeconfig_file.current_as_written(target),
        lambda: kubeconfig_file.authority(target, "x"),
    ):
        with pytest.raises(LockedError, match="in the way") as caught:
            use()
        assert "not a regular file" in caught.value.why
    if kind != "device":
        with pytest.raises(LockedError, match="in the way"):
            merge(source, target)
        with pytest.raises(LockedError, match="in the way"):
            remove(target, "ohmykube-dev", authority="CA", current="")


@pytest.mark.parametrize("beyond", [0, 1])
def test_a_file_that_is_too_large_is_no_kubeconfig(tmp_path, beyond, monkeypatch) -> None:
    target = tmp_path / "config"
    target.write_text("#" * (100 + beyond))
    monkeypatch.setattr(kubeconfig_file, "LARGEST_BYTES", 100)
    if not beyond:
        assert not kubeconfig_file.current_context(target)
        return
    with pytest.raises(ConfigError, match="is not a kubeconfig") as caught:
        kubeconfig_file.current_context(target)
    assert "more than 100 bytes" in caught.value.why
    assert caught.value.hint


def _changed(**parts) -> str:
    found = yaml.safe_load(_config("ohmykube-dev"))
    for key, value in parts.items():
        found[key] = [{"name": "ohmykube-dev", **value}] if value else []
    return yaml.safe_dump(found)


THEIRS = {
    "another server, no authority": _changed(clusters={"cluster": {"server": "https://1.2.3.4"}}),
    "another authority": _changed(clusters={"cluster": {"certificate-authority-data": "X"}}),
    "no cluster of that name, a user": _changed(
        clusters={}, contexts={}, users={"user": {"token": "abc"}}
    ),
    "a context that leads elsewhere": _changed(
        contexts={"context": {"cluster": "prod", "user": "ohmykube-dev"}}
    ),
    "a context alone": _changed(clusters={}, users={}, contexts={"context": {"cluster": "prod"}}),
    "a cluster that is none": _changed(clusters={"cluster": None}),
}


@pytest.mark.parametrize("text", THEIRS.values(), ids=THEIRS)
def test_entries_that_are_not_of_the_cluster_are_never_lost(tmp_path, source, text) -> None:
    """An entry is ours by what it leads to, not by its name: neither replaced nor removed."""
    target = tmp_path / "config"
    target.write_text(text)
    with pytest.raises(ConfigError, match="not of this cluster") as caught:
        merge(source, target)
    assert "ohmykube-dev" in caught.value.message
    assert target.read_text() == text
    assert not target.with_name("config.lock").exists()
    before = yaml.safe_load(text)
    remove(target, "ohmykube-dev", authority="CA-ohmykube-dev", current="")
    after = yaml.safe_load(target.read_text())
    ours = yaml.safe_load(source.read_text())
    led = before["clusters"] == ours["clusters"]
    for key in ("clusters", "users", "contexts"):
        kept = [entry for entry in before[key] if not led or key == "contexts"]
        assert after[key] == kept


OURS = {
    "as it was": _config("ohmykube-dev"),
    "through another port": _config("ohmykube-dev", "https://127.0.0.1:1"),
    "with renewed credentials": _changed(users={"user": {"client-certificate-data": "new"}}),
    "with a namespace": _changed(
        contexts={
            "context": {"cluster": "ohmykube-dev", "user": "ohmykube-dev", "namespace": "mine"}
        }
    ),
    "without its user": _changed(users={}),
}


@pytest.mark.parametrize("text", OURS.values(), ids=OURS)
def test_entries_of_the_cluster_are_replaced_and_removed(tmp_path, source, text) -> None:
    target = tmp_path / "config"
    target.write_text(text)
    merge(source, target)
    assert yaml.safe_load(target.read_text()) == yaml.safe_load(source.read_text())
    target.write_text(text)
    assert remove(target, "ohmykube-dev", authority="CA-ohmykube-dev", current="")
    assert not any(
        yaml.safe_load(target.read_text())[key] for key in ("clusters", "users", "contexts")
    )


def test_an_authority_that_the_cluster_had_before_is_known(tmp_path, source) -> None:
    target = tmp_path / "config"
    target.write_text(source.read_text().replace("CA-ohmykube-dev", "CA-old"))
    with pytest.raises(ConfigError):
        merge(source, target)
    merge(source, target, known=["CA-old"])
    assert "CA-old" not in target.read_text()
