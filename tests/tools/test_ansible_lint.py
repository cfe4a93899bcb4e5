"""Calls of ansible-playbook below ansible-lint are forks, and end as the program itself does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import ansible_lint
import pytest

PLAY = "- hosts: localhost\n  tasks:\n    - ansible.builtin.debug:\n"
CALLS = """\
for words in 'bad.yml' '-i two.yml good.yml'; do
    ansible-playbook --syntax-check -vv $words >"$1" 2>"$2"
    echo "$? $words"
    sed "s/^/out /" "$1"; sed "s/^/err /" "$2"
done
ANSIBLE_FORCE_COLOR=true ansible-playbook --syntax-check bad.yml 2>&1
exit 7
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "good.yml").write_text(PLAY)
    (tmp_path / "two.yml").write_text("all: {hosts: {localhost: {}}}\n")
    (tmp_path / "bad.yml").write_text(PLAY.replace("debug:", "no_such_module:\n      a: b"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ansible_lint.__file__).rpartition("/")[0])
    monkeypatch.setenv("NO_COLOR", "1")
    return tmp_path


@pytest.mark.nightly
def test_each_call_ends_as_the_program_itself_and_says_the_same(project: Path) -> None:
    """Also where a call has settings of its own, which Ansible reads when it is imported.

    Slow, for five calls of the program itself, and another outcome needs another Ansible.
    """
    script = ["sh", "-c", CALLS, "sh", str(project / "out"), str(project / "err")]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    expected = subprocess.run(
        script, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )
    run = "import ansible_lint, sys; sys.exit(ansible_lint.run(sys.argv[1:]))"
    found = subprocess.run(
        [sys.executable, "-c", run, *script], capture_output=True, text=True, check=False
    )
    assert "no_such_module" in expected.stdout
    assert "\x1b[" in expected.stdout, "the call with settings of its own shows them"
    assert found.stdout == expected.stdout
    assert found.stderr == expected.stderr
    assert found.returncode == expected.returncode == 7
