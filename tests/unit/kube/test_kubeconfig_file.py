"""Merging into the user's own kubeconfig."""

from __future__ import annotations

import pytest
import yaml

from ohmykube.errors import ConfigError, LockedError
from ohmykube.kube.kubeconfig_file import merge
from tests.fake_clock import FakeClock


def _config(name: str, server: str = "https://127.0.0.1:36443") -> str:
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": name, "cluster": {"server": server}}],
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
        merge(source, tmp_path / "config", FakeClock())
    assert str(lock) in caught.value.hint
    assert lock.exists()
    assert not (tmp_path / "config").exists()


def test_a_lock_that_goes_away(tmp_path, source) -> None:
    lock = tmp_path / "config.lock"
    lock.touch()
    merge(source, tmp_path / "config", FakeClock(meanwhile=lambda: lock.unlink(missing_ok=True)))
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
