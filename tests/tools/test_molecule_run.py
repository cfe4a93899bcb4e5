"""The runner of the Molecule scenarios: what it leaves out, what it notices, how it ends."""

from __future__ import annotations

import importlib.util
import itertools
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ohmykube.kit import process

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
RUNNER = ROOT / "tools" / "molecule_run.py"


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("molecule_run", RUNNER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


runner = load()


def task(name: str, module: str = "command", **arguments: object) -> str:
    """Return a play with one task on the machine that runs Ansible."""
    lines = [f"{key}: {value}" for key, value in arguments.items()]
    body = textwrap.indent("\n".join(lines), " " * 8)
    return (
        f"- name: A play\n  hosts: localhost\n  connection: local\n  gather_facts: false\n"
        f"  tasks:\n    - name: {name}\n      ansible.builtin.{module}:\n{body}\n"
    )


BASE = """
ansible:
  executor:
    args:
      ansible_playbook: [--inventory=${MOLECULE_PROJECT_DIRECTORY}/hosts, --diff]
  env:
    ANSIBLE_CALLBACK_RESULT_FORMAT: yaml
scenario:
  test_sequence: [prepare, check, converge, idempotence, verify, cleanup]
"""
OWNER = "ansible: {executor: {args: {ansible_playbook: [--diff]}}}\n"


class Place:
    """A project with nodes that are a file, and scenarios that change files."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / ".config/molecule").mkdir(parents=True)
        (root / ".config/molecule/config.yml").write_text(BASE)
        interpreter = f"ansible_python_interpreter={sys.executable}"
        (root / "hosts").write_text(f"localhost {interpreter}\n")
        self.nodes = root / "nodes"
        self.write("default", "molecule.yml", OWNER)
        made = task("Make the nodes", "file", path=self.nodes, state="touch", mode="'600'")
        self.write("default", "create.yml", made)
        gone = task("Remove the nodes", "file", path=self.nodes, state="absent")
        self.write("default", "destroy.yml", gone)

    def write(self, scenario: str, name: str, text: str) -> None:
        path = self.root / "molecule" / scenario / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"---\n{text}")

    def scenario(self, name: str, converge: str, **phases: str) -> None:
        self.write(name, "molecule.yml", "")
        for phase, play in {"converge": converge, **phases}.items():
            self.write(name, f"{phase}.yml", play)

    def argv(self, *roles: str) -> list[str]:
        return [sys.executable, str(RUNNER), "--project", str(self.root), *roles]

    def run(self, *roles: str) -> process.Result:
        return process.run(self.argv(*roles), timeout=120, check=False)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_every_phase_runs_and_knows_nothing_of_the_others(place: Place) -> None:
    file = place.root / "converged"
    converge = task("Write", "copy", content="x", dest=file, mode="'600'") + (
        "    - name: Look for what another phase registered\n"
        "      ansible.builtin.fail: {msg: it is there}\n"
        "      when: written is defined\n"
        "    - name: Register\n"
        "      ansible.builtin.set_fact: {written: 1}\n"
    )
    checked = task("Be right", "command", argv=f"[test, -e, {file}]", removes=place.nodes)
    cleanup = task("Remove", "file", path=file, state="absent")
    place.scenario("one", converge, verify=checked, cleanup=cleanup)
    done = place.run()
    assert done.code == 0, done.stdout + done.stderr
    phases = [line.split()[:3] for line in done.stdout.splitlines() if line.endswith(" s")]
    ran = ("check", "converge", "idempotence", "verify", "cleanup")
    own = [["one", phase, "ok"] for phase in ran]
    assert phases == [["default", "create", "ok"], *own, ["default", "destroy", "ok"]]
    recaps = [line.split() for line in done.stdout.splitlines() if "changed=" in line]
    assert [words[3] for words in recaps[1:-1]] == [
        "changed=1",  # check tells what would change, and converge finds it not done
        "changed=1",
        "changed=0",
        "changed=1",
        "changed=1",
    ]
    assert not file.exists()
    assert not place.nodes.exists()


def test_a_second_run_that_changes_something_fails(place: Place) -> None:
    place.scenario("one", task("Always anew", "command", argv="['true']"))
    place.scenario("two", task("Never reached", "command", argv="['true']"))
    done = place.run()
    assert done.code == 1
    assert "one, idempotence: the second run changed something: Always anew on localhost" in (
        done.stderr
    )
    assert "two" not in done.stdout
    assert not place.nodes.exists(), "the nodes go all the same"


def test_a_failure_shows_the_decisive_lines(place: Place) -> None:
    play = task("Go well", "debug", msg="fine")
    play += "    - name: Go wrong\n      ansible.builtin.fail: {msg: the reason}\n"
    place.scenario("one", play)
    done = place.run("one")
    assert done.code == 1
    assert "one, check: ansible-playbook ended with 2" in done.stderr
    assert "TASK [Go wrong]" in done.stderr
    assert "the reason" in done.stderr
    assert "ok: [localhost]" not in done.stderr
    assert not place.nodes.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_nothing(
    place: Place, eventually: Callable[[Callable[[], bool]], bool], number: signal.Signals
) -> None:
    begun = place.root / "begun"
    wait = f"['sh', '-c', 'echo $$ > {begun}.new; mv {begun}.new {begun}; exec sleep 4711']"
    place.scenario("one", task("Take long", "command", argv=wait), cleanup=task("x", "meta"))
    place.write("one", "prepare.yml", task("Take long", "command", argv=wait))
    with subprocess.Popen(
        place.argv(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    ) as child:
        assert eventually(begun.exists)
        assert place.nodes.exists()
        os.kill(child.pid, number)
        child.communicate(timeout=60)
    assert child.returncode == 128 + number
    assert not place.nodes.exists()
    sleeper = Path("/proc", begun.read_text().strip())
    assert eventually(lambda: not sleeper.exists())


def test_scenarios_follow_those_that_they_build_on(place: Place) -> None:
    play = task("x", "command", argv="['true']")

    def roles(*names: str) -> str:
        return "- hosts: all\n  roles:\n" + "".join(
            f"    - role: ohmykube.cluster.{name}\n" for name in names
        )

    place.scenario("lone", play)
    place.scenario("basis", play)
    place.scenario("above", play, prepare=roles("basis"))
    place.scenario("top", play, prepare=roles("above", "basis"))
    place.scenario("beside", play, prepare=roles("basis"))
    found = runner.scenarios(place.root)
    assert [one.name for one in found] == ["lone", "basis", "beside", "above", "top"]
    kept = [(a.name, b.name) for a in found for b in found if runner.stays(a, b)]
    assert kept == [
        ("basis", "beside"),
        ("basis", "above"),
        ("basis", "top"),
        ("above", "top"),
    ]
    assert not runner.stays(found[0], None)


def test_scenarios_with_nodes_of_their_own_are_left_to_molecule(place: Place) -> None:
    play = task("x", "command", argv="['true']")
    place.scenario("lone", play)
    place.scenario("estate", play)
    place.write("estate", "create.yml", play)
    assert [one.name for one in runner.scenarios(place.root)] == ["lone"]


def test_what_stays_is_known_for_the_scenarios_of_this_project() -> None:
    found = runner.scenarios(ROOT)
    assert {one.name for one in found} == {path.name for path in (ROOT / "roles").iterdir()}
    pairs = itertools.pairwise(found)
    kept = [(one.name, two.name) for one, two in pairs if runner.stays(one, two)]
    assert kept == [
        ("containerd", "cache"),
        ("cache", "kubeadm"),
        ("kubeadm", "flannel"),
        ("flannel", "local_path"),
        ("local_path", "metrics_server"),
    ]


def test_all_phases_of_the_shared_sequence_are_known() -> None:
    project = runner.Project(ROOT)
    assert set(project.sequence) <= set(runner.PLAYBOOKS)
    assert project.sequence.index("converge") < project.sequence.index("idempotence")


def test_output_without_a_recap_is_no_success() -> None:
    assert runner.not_idempotent("PLAY RECAP ***\n") == "no host was reached"
