"""The private directory, the configuration and the environment of one run."""

from __future__ import annotations

import configparser
import os
import sys
import sysconfig
from typing import TYPE_CHECKING

import pytest

from ohmykube.ansible import workspace
from ohmykube.kit import paths

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path


def _prepared(tmp_path: Path) -> AbstractContextManager[workspace.Workspace]:
    return workspace.prepared(
        tmp_path / "run",
        fact_cache=tmp_path / "facts",
        lock_file=tmp_path / "a b" / "lock",
        forks=7,
        wait_seconds=3,
    )


def test_each_run_has_a_new_private_directory_that_goes_away(tmp_path: Path) -> None:
    with _prepared(tmp_path) as first, _prepared(tmp_path) as second:
        assert first.directory != second.directory
        for directory in (first.directory, tmp_path / "run", tmp_path / "facts"):
            assert directory.stat().st_mode & 0o777 == 0o700
    assert list((tmp_path / "run").iterdir()) == []


def test_the_directory_goes_away_after_a_failure_too(tmp_path: Path) -> None:
    with pytest.raises(KeyError), _prepared(tmp_path):
        raise KeyError
    assert list((tmp_path / "run").iterdir()) == []


def test_nothing_of_our_environment_gets_through_unasked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "ANSIBLE_STDOUT_CALLBACK", "PYTHONPATH", "LANG"):
        monkeypatch.setenv(name, "canary")
    monkeypatch.setenv("SSH_AUTH_SOCK", "/agent")
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    with _prepared(tmp_path) as place:
        environment = place.environment
    assert "canary" not in environment.values()
    assert environment["SSH_AUTH_SOCK"] == "/agent"
    assert environment["https_proxy"] == "http://proxy:3128"
    assert environment["LC_ALL"].endswith("UTF-8")
    assert environment["ANSIBLE_COLLECTIONS_PATH"] == str(paths.collections_root())
    assert environment["ANSIBLE_CACHE_PLUGIN_CONNECTION"] == str(tmp_path / "facts")
    assert environment["ANSIBLE_HOST_KEY_CHECKING"] == "True"


def test_our_ansible_playbook_is_found_before_any_other(tmp_path: Path) -> None:
    with _prepared(tmp_path) as place:
        search = place.environment["PATH"].split(os.pathsep)
        assert search[:2] == [str(place.directory / "bin"), sysconfig.get_path("scripts")]
        starter = place.directory / "bin" / "ansible-playbook"
        assert os.access(starter, os.X_OK)
        text = starter.read_text()
    assert f"'{tmp_path}/a b/lock' 3 " in text
    assert f" {os.getpid()} " in text
    assert text.endswith(' -P -m ansible.cli.playbook "$@"\n')


def test_the_configuration_is_what_the_roles_are_tested_with(tmp_path: Path) -> None:
    with _prepared(tmp_path) as place:
        parser = configparser.ConfigParser()
        parser.read(place.environment["ANSIBLE_CONFIG"])
    assert parser.getint("defaults", "forks") == 7
    assert parser.getboolean("defaults", "host_key_checking")
    assert not parser.getboolean("defaults", "inject_facts_as_vars")
    assert parser.getboolean("inventory", "unparsed_is_failed")
    assert parser.getint("defaults", "fact_caching_timeout") == 0
    assert parser.getboolean("ssh_connection", "pipelining")
    assert "Control" not in parser["ssh_connection"]["ssh_args"]


def test_forked_workers_live_on_macos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with _prepared(tmp_path) as place:
        assert place.environment["OBJC_DISABLE_INITIALIZE_FORK_SAFETY"] == "YES"
