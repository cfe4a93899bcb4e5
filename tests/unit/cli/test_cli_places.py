"""Nothing depends on the working directory but relative paths, and no place is a traceback."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

import ohmykube
from ohmykube.cli._run import run
from ohmykube.errors import ExitCode

PACKAGE = Path(ohmykube.__file__).parent
ASKS = {"cwd", "getcwd", "expanduser", "home", "expandvars", "gethomedir"}
ASKED_IN = {"kit/paths.py", "config/nodes.py", "testing/fake_limactl/program.py"}
"""``config/nodes.py`` keeps what cannot be expanded; a fake has a working directory of its own."""


@pytest.fixture
def gone(tmp_path, monkeypatch) -> Path:
    """The working directory, which somebody has removed."""
    path = tmp_path / "gone"
    path.mkdir()
    monkeypatch.chdir(path)
    path.rmdir()
    return path


COMMANDS = (
    ("list",), ("status",), ("status", "dev"), ("down", "dev", "--yes"), ("start",), ("stop",),
    ("kubeconfig",), ("kubeconfig", "--path"), ("up",), ("up", "--workers", "3"), ("plan",),
    ("shell", "w1", "--", "true"), ("cache", "ls"), ("image", "list"), ("template", "list"),
    ("bundle", "create", "-f", "FILE"), ("config", "validate", "-f", "FILE"),
    ("config", "show", "-f", "FILE"), ("up", "-f", "FILE"), ("version",), ("doctor",), ("--help",),
    ("config", "template"), ("config", "schema"),
)  # fmt: skip


@pytest.mark.usefixtures("gone")
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_works_where_the_directory_is_gone(cli, tmp_path, words) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text("apiVersion: ohmykube.dev/v1\nkind: Cluster\n")
    outcome = cli(*(word.replace("FILE", str(file)) for word in words))
    assert (outcome.code, outcome.err) == (0, outcome.err)


@pytest.mark.usefixtures("gone")
@pytest.mark.parametrize(
    "words",
    [
        ("up", "-f", "cluster.yaml"),
        ("config", "validate"),
        ("kubeconfig", "--merge", "--into", "config"),
    ],
    ids=" ".join,
)
def test_a_relative_path_is_named_where_the_directory_is_gone(cli, words) -> None:
    outcome = cli(*words)
    assert outcome.code in (ExitCode.USAGE, ExitCode.CONFIG), outcome.err
    assert "bug" not in outcome.err


@pytest.mark.usefixtures("gone")
def test_paths_in_a_file_are_relative_to_the_file(cli, fakes, tmp_path) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text(
        "apiVersion: ohmykube.dev/v1\nkind: Cluster\nspec: {provider: {name: ssh, ssh: "
        "{identityFile: key}}, nodes: {controlPlane: {hosts: [{address: a}]}, workers: []}}\n"
    )
    assert cli("up", "-f", str(file)).code == 0
    (_, cluster, _) = fakes.calls[-1]
    assert cluster.nodes[0].host.identity_file == tmp_path / "key"


NOWHERE = {
    "no such user": {"OHMYKUBE_HOME": "~nouser/x"},
    "no such user, cache": {"OHMYKUBE_CACHE_DIR": "~nouser"},
    "relative, gone": {"OHMYKUBE_HOME": "state"},
    "relative cache, gone": {"OHMYKUBE_CACHE_DIR": "cache"},
    "relative home, gone": {"HOME": "me", "OHMYKUBE_HOME": ""},
}


@pytest.mark.usefixtures("gone")
@pytest.mark.parametrize("form", [(), ("--progress", "json"), ("-o", "json")], ids=" ".join)
@pytest.mark.parametrize("environ", NOWHERE.values(), ids=NOWHERE)
def test_a_home_that_is_nowhere_is_an_error_like_others(capsys, tmp_path, environ, form) -> None:
    env = {"HOME": str(tmp_path), **environ}
    assert run([*form, "list"], environ=env) == ExitCode.USAGE
    shown = capsys.readouterr()
    assert next(iter(environ.values())) in shown.err
    assert "OMK-U-37" in shown.err
    if "-o" in form:
        assert json.loads(shown.out)["error"]["exitCode"] == ExitCode.USAGE
    for harmless in (["--help"], ["config", "template"]):
        assert run(harmless, environ=env) == 0


def test_homes_and_the_working_directory_are_asked_for_in_one_place() -> None:
    """Only there what is not to be found is an error with a way out."""
    found = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ASKS
        and ast.unparse(node.func.value) not in ("self", "lima_home")
    }
    assert found == ASKED_IN
