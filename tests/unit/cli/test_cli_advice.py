"""Every command in what we say can be typed: as we were called, about the cluster at hand."""

from __future__ import annotations

import ast
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from ohmykube.cli import _advice, _root
from ohmykube.cli._advice import Advice
from ohmykube.cli.cluster.shell import shell
from ohmykube.config import load
from ohmykube.config.overrides import Overrides

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(_root.__file__).parents[1]
COMMAND = re.compile(r"(?<![\w./-])ohmykube((?: [^\s`;,()<>|]+)+)")


def _texts(path: Path) -> Iterator[str]:
    """Yield the texts of a module that are no documentation; ``X`` stands for what is filled in."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    silent = {
        id(inner)
        for node in ast.walk(tree)
        for statement in (node.body[:1] if isinstance(node, kinds) else ())
        if isinstance(statement, ast.Expr)
        for inner in ast.walk(statement)
    }
    formatted = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
    silent |= {id(part) for node in formatted for part in node.values}
    for node in formatted:
        yield "".join(str(v.value) if isinstance(v, ast.Constant) else "X" for v in node.values)
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in silent
        ):
            yield node.value


def _commands() -> dict[str, str]:
    """Return each command that the package says, and a module that says it."""
    return {
        match[0]: str(path.relative_to(PACKAGE))
        for path in sorted(PACKAGE.rglob("*.py"))
        for text in _texts(path)
        for match in COMMAND.finditer(text)
        if match[1].split()[0] in _root.TABLE
    }


COMMANDS = _commands()


def _parsed(words: list[str]) -> tuple[click.Command, dict[str, object]]:
    """Return the command and its parameters; raises UsageError for what it does not take."""
    command: click.Command = _root.group()
    context = click.Context(command, resilient_parsing=True, **command.context_settings)
    while isinstance(command, click.Group) and words:
        _, found, words = command.resolve_command(context, words)
        assert found is not None
        command = found
        context = click.Context(command, resilient_parsing=True, **command.context_settings)
    values, surplus, _ = command.make_parser(context).parse_args(list(words))
    assert surplus == [], words
    return command, {name: value for name, value in values.items() if isinstance(value, str)}


def test_there_is_advice() -> None:
    assert sum(not module.startswith("cli/") for module in COMMANDS.values()) > 40


@pytest.mark.parametrize("advice", COMMANDS)
def test_advice_can_be_typed(advice: str) -> None:
    """No error gives advice that our own parser refuses, also where a sentence goes on."""
    words = [word for word in shlex.split(advice)[1:] if word != "--help"]
    _parsed([word.replace("doctorX", "doctor") for word in words])


@pytest.mark.parametrize(("advice", "module"), COMMANDS.items())
def test_advice_names_the_program_as_called_and_the_cluster_at_hand(
    advice: str, module: str
) -> None:
    called = "sudo .venv/bin/ohmykube"
    said = Advice(program=called, cluster="c9").text(f"say `{advice}` (x)")
    assert said.startswith(f"say `{called} "), module
    assert said.endswith("` (x)")
    words = shlex.split(said.removeprefix(f"say `{called} ").removesuffix("` (x)"))
    if words[-1] == "--help":  # explains the command, whatever the cluster
        assert words == shlex.split(advice)[1:]
        return
    words = [word for word in words if word != "--help"]
    command, values = _parsed([word.replace("doctorX", "doctor") for word in words])
    if any("--name" in one.opts for one in command.params):
        named = {values.get("name_argument"), values.get("name_option"), values.get("name")}
        assert named - {None}, f"{module}: {said}"
        placed = any(word == "dev" or set(word) == {"X"} for word in advice.split())
        if "--name" not in advice and not placed:
            assert "c9" in named, f"{module}: {said}"


@pytest.mark.parametrize(
    ("words", "file", "hint", "said"),
    [
        (("up",), None, "ohmykube up", "ohmykube up"),
        (("up", "-f", "x.yaml"), "x.yaml", "`ohmykube up` again", "`ohmykube up -f x.yaml` again"),
        (
            ("up", "--workers", "3"),
            None,
            "ohmykube up --template never",
            "ohmykube up --workers 3 --template never",
        ),
        (
            ("up", "-f", "x y.yaml"),
            "x y.yaml",
            "ohmykube up --name OTHER, or first ohmykube down dev",
            "ohmykube up -f 'x y.yaml' --name OTHER, or first ohmykube down dev",
        ),
        (("up", "-f", "x"), "x", "ohmykube config validate", "ohmykube config validate -f x"),
        (("up",), None, "ohmykube status", "ohmykube status c9"),
        (("status",), None, "ohmykube up", "ohmykube up c9"),
        (("stop",), None, "ohmykube shell w1 -- id  (x)", "ohmykube shell --name c9 w1 -- id  (x)"),
        (("stop",), None, "run ohmykube as an ordinary user", "run ohmykube as an ordinary user"),
        (("stop",), None, "install ohmykube again", "install ohmykube again"),
        (("stop",), None, "/etc/ohmykube up", "/etc/ohmykube up"),
        (("doctor",), None, "sudo ohmykube doctor --fix", "sudo ohmykube doctor --fix"),
    ],
)
def test_advice_repeats_what_was_typed(words, file, hint, said) -> None:
    path = tuple(word for word in words[:1])
    advice = Advice(cluster="c9", typed=words, path=path, file=file)
    assert advice.text(hint) == said


def test_the_program_is_named_as_it_was_called(tmp_path, monkeypatch) -> None:
    ours, other = tmp_path / "bin" / "ohmykube", tmp_path / "venv" / "ohmykube"
    for path in (ours, other):
        path.parent.mkdir()
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", str(ours.parent))
    monkeypatch.chdir(tmp_path)
    assert _advice.program(None, {}) == "ohmykube"
    assert _advice.program(str(ours), {}) == "ohmykube"
    assert _advice.program("venv/ohmykube", {}) == "venv/ohmykube"
    assert _advice.program(str(other), {}) == str(other)
    (tmp_path / "my tools").mkdir()
    shutil.copy(other, tmp_path / "my tools")
    assert _advice.program("my tools/ohmykube", {}) == "'my tools/ohmykube'"
    assert _advice.program("/x/ohmykube/__main__.py", {}) == f"{sys.executable} -m ohmykube"
    monkeypatch.setattr("os.geteuid", lambda: 0)
    behind = {"SUDO_UID": "65534", "SUDO_GID": "65534"}
    assert _advice.program(str(ours), behind) == "sudo ohmykube"
    assert Advice(program="sudo ohmykube").text("sudo ohmykube list") == "sudo ohmykube list"


def test_errors_messages_and_results_are_said_so(cli, fakes, tmp_path) -> None:
    fakes.clusters = ("a", "b")
    assert "try: ohmykube status a\n" in cli("status").err
    assert "try: ohmykube shell --name a w1\n" in cli("shell", "w1").err
    assert "try: ohmykube image list --name a\n" in cli("image", "list").err
    file = tmp_path / "my.yaml"
    file.write_text("apiVersion: ohmykube.dev/v1\nkind: Cluster\n")
    fakes.play = "node_error"
    assert f"try: ohmykube up -f {file}\n" in cli("up", "-f", str(file)).err
    assert "try: ohmykube up b --workers 1\n" in cli("up", "b", "--workers", "1").err


def test_examples_name_nodes_that_up_makes() -> None:
    made = {node.name for node in load.from_overrides(Overrides(control_planes=1)).nodes}
    for example in shell.examples:
        words = shlex.split(example.partition(" -- ")[0])[2:]
        named = [word for word in words if not word.startswith("-") and word != "dev"]
        assert set(named) <= made, example
        assert named
