"""Runs the Molecule scenarios of roles, with one start of Ansible: ``molecule_run.py [ROLE ...]``.

Does what ``molecule test`` does, with the same files and the sequence of the shared configuration.
Two things are left out that Molecule cannot leave out: it starts Ansible twice for each phase, and
it takes everything off the nodes after each scenario. Here each phase is a fork of one process,
and what a scenario installed stays where the next one would begin by installing the same.
"""

from __future__ import annotations

import argparse
import configparser
import os
import re
import signal
import string
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from molecule.constants import DEFAULT_ANSIBLE_CFG_OPTIONS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ansible_forks import Forks

CONFIG = Path(".config/molecule/config.yml")
SCENARIOS = Path("molecule")
OWNER = "default"
"""The scenario that makes and removes the nodes."""
LOGS = Path(".ansible/molecule-logs")
BARE = "bare"
"""Tag of the play that takes everything off the nodes."""
COLLECTION = "ohmykube.cluster."
PLAYBOOKS = {
    "prepare": ("prepare.yml", ()),
    "check": ("converge.yml", ("--check",)),
    "converge": ("converge.yml", ()),
    "idempotence": ("converge.yml", ()),
    "side_effect": ("side_effect.yml", ()),
    "verify": ("verify.yml", ()),
    "cleanup": ("cleanup.yml", ()),
    "create": ("create.yml", ()),
    "destroy": ("destroy.yml", ()),
}
"""Phases to the playbook that Molecule takes for them, and its options."""
SKIPPED = {"idempotence": ("molecule-idempotence-notest",)}
_ALWAYS_SKIPPED = ("molecule-notest", "notest")
_RECAP = re.compile(r"^\S+ +: ok=\d+ +changed=(\d+) .*$", re.MULTILINE)
_FAILED = re.compile(r"^(fatal|failed): \[|^\[?ERROR")
_SHOWN_LINES = 60


class Stopped(BaseException):
    """A signal asked for the end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.code = 128 + number


class PhaseFailed(Exception):
    """A phase did not end as it must; its words are the decisive lines."""


@dataclass(frozen=True)
class Scenario:
    """One scenario of the project."""

    name: str
    directory: Path

    def playbook(self, phase: str) -> Path | None:
        """Return the playbook of a phase; None where the scenario has none."""
        path = self.directory / PLAYBOOKS[phase][0]
        return path if path.is_file() else None

    @property
    def prepared(self) -> frozenset[str]:
        """Return the roles that stand on the nodes before the scenario's own."""
        path = self.playbook("prepare")
        plays: list[dict[str, Any]] = yaml.safe_load(path.read_text()) if path else []
        roles = [role for play in plays for role in play.get("roles", ())]
        names = [role["role"] if isinstance(role, dict) else role for role in roles]
        return frozenset(name.removeprefix(COLLECTION) for name in names)


def scenarios(project: Path) -> list[Scenario]:
    """Return the scenarios of all roles, each after those that it builds on.

    Those that make nodes of their own are not among them: Molecule itself runs them.
    """
    files = (project / SCENARIOS).glob("*/molecule.yml")
    found = [Scenario(path.parent.name, path.parent) for path in files]
    found = [one for one in found if one.playbook("create") is None]
    built_on = frozenset().union(*(one.prepared for one in found))
    # Of two that need nothing, first the one that nobody needs: the other's work can stay.
    return sorted(found, key=lambda one: (len(one.prepared), one.name in built_on, one.name))


def stays(scenario: Scenario, following: Scenario | None) -> bool:
    """Tell whether all that a scenario leaves is what the next one begins with."""
    return following is not None and {scenario.name, *scenario.prepared} <= following.prepared


class Project:
    """What the shared configuration and the owner of the nodes say, as Molecule would read it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.owner = Scenario(OWNER, root / SCENARIOS / OWNER)
        self._values = {"MOLECULE_PROJECT_DIRECTORY": str(root)}
        self._base = self._read(root / CONFIG)
        own = self._read(self.owner.directory / "molecule.yml")
        self._owner_args = own["ansible"]["executor"]["args"]["ansible_playbook"]

    def _read(self, path: Path) -> dict[str, Any]:
        text = string.Template(path.read_text()).substitute(self._values)
        return yaml.safe_load(text) or {}

    @property
    def sequence(self) -> list[str]:
        """The phases of every scenario."""
        return [str(phase) for phase in self._base["scenario"]["test_sequence"]]

    def environment(self) -> dict[str, str]:
        """Return the environment that Ansible needs before it is loaded."""
        chosen = {str(k): str(v) for k, v in self._base["ansible"]["env"].items()}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        plain = {"NO_COLOR": "1", "ANSIBLE_NOCOLOR": "1"}
        return {**chosen, **self._values, **plain, "PATH": path}

    def arguments(self, phase: str, skip: Sequence[str]) -> list[str]:
        """Return the options of ``ansible-playbook`` in a phase."""
        owned = phase in ("create", "destroy")
        args = self._owner_args if owned else self._base["ansible"]["executor"]["args"][
            "ansible_playbook"
        ]  # fmt: skip
        tags = ",".join((*_ALWAYS_SKIPPED, *SKIPPED.get(phase, ()), *skip))
        return [*args, f"--skip-tags={tags}", *PLAYBOOKS[phase][1]]


class Run:
    """Runs phases, and tells of each."""

    def __init__(self, project: Project, forks: Forks) -> None:
        self._project = project
        self._forks = forks
        self._logs = project.root / LOGS
        self._logs.mkdir(parents=True, exist_ok=True)

    def scenario(self, scenario: Scenario, *, stays: bool) -> None:
        """Run all phases of a scenario; let its work stay when ``stays``.

        Raises:
            PhaseFailed: one of them failed.
        """
        for phase in self._project.sequence:
            self.phase(scenario, phase, skip=(BARE,) if stays and phase == "cleanup" else ())

    def phase(self, scenario: Scenario, phase: str, skip: Sequence[str] = ()) -> None:
        """Run one phase, unless the scenario has no playbook for it.

        Raises:
            PhaseFailed: the playbook failed, or changed something that it must not.
        """
        playbook = scenario.playbook(phase)
        if playbook is None:
            return
        log = self._logs / f"{scenario.name}-{phase}.log"
        env = {
            "MOLECULE_SCENARIO_NAME": scenario.name,
            "MOLECULE_SCENARIO_DIRECTORY": str(scenario.directory),
        }
        argv = [*self._project.arguments(phase, skip), str(playbook)]
        begin = time.monotonic()
        code = self._forks.run(argv, log, scenario.directory, env)
        text = log.read_text(errors="replace")
        wrong = "" if code == 0 else f"ansible-playbook ended with {code}"
        if not wrong and phase == "idempotence":
            wrong = not_idempotent(text)
        word = "FAILED" if wrong else "ok"
        print(f"    {scenario.name:<12} {phase:<12} {word:<7} {time.monotonic() - begin:6.1f} s")
        for line in _RECAP.finditer(text):
            print(f"        {' '.join(line[0].split())}")
        sys.stdout.flush()
        if wrong:
            shown = "\n".join(decisive(text))
            said = f"{scenario.name}, {phase}: {wrong}"
            raise PhaseFailed(f"{said}\n{shown}\neverything it said: {log}".replace("\n\n", "\n"))


def not_idempotent(text: str) -> str:
    """Return what is wrong with the output of a run that must change nothing."""
    counts = [int(found[1]) for found in _RECAP.finditer(text)]
    if not counts:
        return "no host was reached"
    if not any(counts):
        return ""
    tasks = list(_changed(text)) or ["(no task is named)"]
    return "the second run changed something: " + "; ".join(tasks)


def _changed(text: str) -> Iterator[str]:
    task = ""
    for line in text.splitlines():
        if found := re.match(r"(?:TASK|RUNNING HANDLER) \[(.*)\]", line):
            task = found[1]
        elif found := re.match(r"changed: \[([^\]]*)\]", line):
            yield f"{task} on {found[1]}"


def decisive(text: str) -> list[str]:
    """Return the lines that say what failed: each failure below the name of its task."""
    shown: list[str] = []
    task, inside = "", False
    for line in text.splitlines():
        if line.startswith(("TASK [", "RUNNING HANDLER [")):
            task, inside = line.rstrip("* "), False
        elif _FAILED.match(line):
            shown += [task] if task and task not in shown else []
            inside = True
        elif line.startswith(("ok: [", "changed: [", "skipping: [", "PLAY ")):
            inside = False
        if inside and line.strip():
            shown.append(line)
    lines = shown or [line for line in text.splitlines() if line.strip()]
    if len(lines) <= _SHOWN_LINES:
        return lines
    half = _SHOWN_LINES // 2
    return [*lines[:half], f"... {len(lines) - 2 * half} more lines ...", *lines[-half:]]


def write_settings(path: Path) -> None:
    """Write the settings that Molecule gives to Ansible."""
    parser = configparser.RawConfigParser()
    parser.read_dict(DEFAULT_ANSIBLE_CFG_OPTIONS)
    with path.open("w") as file:
        parser.write(file)


def run(project: Project, chosen: list[Scenario]) -> int:
    """Make nodes, run scenarios on them until one fails, remove the nodes; return the code."""
    from ansible_forks import Forks  # noqa: PLC0415 - it needs the environment

    work = Run(project, Forks())
    code = 0
    try:
        work.phase(project.owner, "create")
        for scenario, following in zip(chosen, [*chosen[1:], None], strict=True):
            work.scenario(scenario, stays=stays(scenario, following))
    except PhaseFailed as error:
        print(f"error: {error}", file=sys.stderr)
        code = 1
    except Stopped as stopped:
        code = stopped.code
    _heed(None)
    try:
        work.phase(project.owner, "destroy")
    except PhaseFailed as error:
        print(f"error: {error}", file=sys.stderr)
        code = code or 1
    return code


def _heed(handler: Any) -> None:
    """Have signals that ask for the end handled; by None they are ignored."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler or signal.SIG_IGN)


def _stop(number: int, _frame: object) -> None:
    _heed(None)
    raise Stopped(number)


def main(arguments: Sequence[str]) -> int:
    """Run what the command line names, all roles by default."""
    parser = argparse.ArgumentParser(prog="molecule_run.py", description=__doc__)
    parser.add_argument("roles", nargs="*", metavar="ROLE")
    parser.add_argument("--project", type=Path, default=Path(__file__).resolve().parents[1])
    options = parser.parse_args(arguments)
    root = options.project.resolve()
    known = scenarios(root)
    if unknown := set(options.roles) - {one.name for one in known}:
        names = ", ".join(one.name for one in known)
        parser.error(f"no scenario {', '.join(sorted(unknown))}; there are: {names}")
    chosen = [one for one in known if one.name in options.roles or not options.roles]
    project = Project(root)
    _heed(_stop)
    with tempfile.TemporaryDirectory(prefix="omk-molecule-") as private:
        settings = Path(private, "ansible.cfg")
        write_settings(settings)
        os.environ.update(project.environment(), ANSIBLE_CONFIG=str(settings))
        for name in ("ANSIBLE_FORCE_COLOR", "FORCE_COLOR", "PY_COLORS"):
            os.environ.pop(name, None)
        try:
            return run(project, chosen)
        except Stopped as stopped:
            return stopped.code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
