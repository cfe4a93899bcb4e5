"""Commands of others: found late, never instead of ours, and named when they are at fault."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from tests.unit.cli.conftest import logs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MODULE = """
import click
from ohmykube.sdk import NotFoundError

@click.command(help="Say hello.")
@click.argument("who", default="you", shell_complete=lambda *_: ["moon", "sun"])
@click.option("--fail", type=click.Choice(["told", "bug", "exit", "words", "ctx"]))
@click.pass_obj
def hello(obj, who, fail):
    if fail == "told":
        raise NotFoundError("nobody is there", hint="ohmykube hello")
    if fail == "bug":
        raise KeyError(who)
    if fail == "exit":
        raise SystemExit(3)
    if fail == "words":
        raise SystemExit("bye")
    if fail == "ctx":
        click.get_current_context().exit(4)
    obj.note(f"in {obj.paths.state.name}")
    obj.show({"kind": "Hello", "who": who}, lambda: f"hello {who}\\n")

@click.group()
def tools():
    pass

tools.add_command(hello)
NUMBER = 42
"""
ENTRIES = """[ohmykube.commands]
hello = acme_commands:hello
tools = acme_commands:tools
up = acme_commands:hello
number = acme_commands:NUMBER
absent = acme_commands:absent
raising = acme_raising:hello
Bad_Name = acme_commands:hello
"""


def distribution(place: Path, name: str, entries: str) -> None:
    """Install the description of a package, as pip would."""
    info = place / f"{name}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(entries)


@pytest.fixture
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install a package with good, broken and clashing commands."""
    site = tmp_path / "site"
    site.mkdir()
    distribution(site, "acme", ENTRIES)
    (site / "acme_commands.py").write_text(MODULE)
    (site / "acme_raising.py").write_text("raise RuntimeError('not today')\n")
    monkeypatch.syspath_prepend(str(site))
    for module in ("acme_commands", "acme_raising"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    return site


@pytest.fixture
def bin_(tmp_path: Path) -> Path:
    """Return a directory of programs."""
    place = tmp_path / "bin"
    place.mkdir()
    return place


def program(place: Path, name: str, mode: int = 0o755) -> Path:
    path = place / name
    path.write_text("#!/bin/sh\n")
    path.chmod(mode)
    return path


@pytest.fixture
def became(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], dict[str, str]]]:
    """Note which programs are to take the place of the process; none does."""
    seen: list = []
    monkeypatch.setattr(os, "execve", lambda _, argv, env: seen.append((argv, env)))
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    return seen


def section(help_: str) -> list[str]:
    """Return the lines about plugins, each joined to one."""
    text = help_.partition("Plugins:\n")[2].partition("\n\n")[0]
    return [" ".join(line.split()) for line in text.splitlines()]


@pytest.mark.usefixtures("acme")
def test_the_overview_names_them_without_importing_any(cli) -> None:
    outcome = cli("--help")
    assert (outcome.code, outcome.err) == (0, "")
    assert section(outcome.out) == [
        "Bad_Name not used: a name has small letters, digits and hyphens (acme 1.2)",
        "absent acme 1.2",
        "hello acme 1.2",
        "number acme 1.2",
        "raising acme 1.2",
        "tools acme 1.2",
        "up not used: ohmykube has a command of this name (acme 1.2)",
    ]
    assert cli("help").out == outcome.out
    assert "acme_commands" not in sys.modules


def test_without_any_there_is_no_section(cli) -> None:
    assert "Plugins" not in cli("--help").out


@pytest.mark.usefixtures("acme")
def test_a_command_of_a_package(cli) -> None:
    outcome = cli("hello", "moon")
    assert (outcome.code, outcome.out, outcome.err) == (0, "hello moon\n", "in state\n")
    assert cli("-o", "json", "-q", "hello").document == {"kind": "Hello", "who": "you"}
    assert cli("tools", "hello").out == "hello you\n"
    assert "Say hello." in cli("hello", "--help").out
    assert "Say hello." in cli("help", "hello").out
    ends = [cli("hello", "--fail", how) for how in ("exit", "words", "ctx")]
    assert [(end.code, end.err) for end in ends] == [(3, ""), (1, "bye\n"), (4, "")]


@pytest.mark.usefixtures("acme")
def test_its_errors_are_shown_as_ours(cli) -> None:
    told = cli("hello", "--fail", "told")
    assert (told.code, told.err) == (
        6,
        "error[OMK-U-006]: nobody is there\ntry: ohmykube hello\n",
    )
    wrong = cli("hello", "--nope")
    assert wrong.code == 2
    assert wrong.err.endswith("try: ohmykube hello --help\n")


@pytest.mark.usefixtures("acme")
def test_its_bug_is_not_called_ours(cli, home) -> None:
    outcome = cli("hello", "mars", "--fail", "bug")
    assert outcome.code == 1
    assert 'error[OMK-Z-330]: the command "hello" of acme 1.2 failed\n' in outcome.err
    assert "KeyError: 'mars'" in outcome.err
    (log,) = logs(home)
    assert "acme_commands.py" in log.read_text()
    assert log.name.endswith("-hello.log")


@pytest.mark.usefixtures("acme")
@pytest.mark.parametrize(
    ("name", "message", "why"),
    [
        ("absent", 'plugin "absent" of acme 1.2 cannot be loaded', "AttributeError"),
        ("raising", 'plugin "raising" of acme 1.2 cannot be loaded', "RuntimeError: not today"),
        ("number", '"number" of acme 1.2 is not a command', "leads to 42"),
    ],
)
def test_a_broken_one_is_named_and_breaks_nothing_else(cli, name, message, why) -> None:
    for words in ((name,), ("help", name), (name, "--help")):
        outcome = cli(*words)
        assert outcome.code == 7
        assert message in outcome.err
        assert why in outcome.err
        assert "try: pip " in outcome.err
    assert cli("list").code == 0


@pytest.mark.usefixtures("acme")
def test_ours_are_not_replaced(cli, fakes, bin_, became) -> None:
    program(bin_, "ohmykube-list")
    outcome = cli("up", PATH=str(bin_))
    assert outcome.code == 0
    assert fakes.calls[-1][0] == "up"
    assert cli("list", PATH=str(bin_)).code == 0
    assert (became, "acme_commands" in sys.modules) == ([], False)


def test_two_packages_with_one_name(cli, acme) -> None:
    distribution(acme, "zebra", "[ohmykube.commands]\nhello = zebra:hello\n")
    assert "hello not used: acme 1.2 comes first (zebra 1.2)" in section(cli("--help").out)
    assert cli("hello").out == "hello you\n"


def test_a_program_gets_every_argument(cli, bin_, became) -> None:
    path = program(bin_, "ohmykube-hi")
    environ = {"PATH": f"/nonexistent:{bin_}", "MINE": "1"}
    cli("hi", "-o", "x", "--help", "--", "-v", "", "up", **environ)
    ((argv, env),) = became
    assert argv == [str(path), "-o", "x", "--help", "--", "-v", "", "up"]
    assert env["MINE"] == "1"
    assert section(cli("--help", **environ).out) == [f"hi {path}"]
    assert "all arguments that follow" in " ".join(cli("help", "hi", **environ).out.split())


def test_our_options_before_a_program_are_refused(cli, bin_, became) -> None:
    program(bin_, "ohmykube-hi")
    outcome = cli("-o", "json", "hi", PATH=str(bin_))
    assert (outcome.code, became) == (2, [])
    assert outcome.document["error"]["id"] == "OMK-U-330"


def test_a_word_that_is_merely_near_runs_nothing(cli, bin_, became) -> None:
    program(bin_, "ohmykube-stage")
    for word in ("stag", "stages", "stage-x"):
        outcome = cli(word, PATH=str(bin_))
        assert (outcome.code, became) == (2, [])
        assert "stage" in outcome.err.partition("did you mean")[2]
    assert 'did you mean "status"' in cli("stauts", PATH=str(bin_)).err


@pytest.mark.usefixtures("acme")
def test_what_is_not_used_is_told(cli, bin_, tmp_path, became, monkeypatch) -> None:
    other = tmp_path / "other"
    other.mkdir()
    first, second = program(bin_, "ohmykube-hi"), program(other, "ohmykube-hi")
    clash = program(bin_, "ohmykube-hello")
    broken = program(bin_, "ohmykube-plain", 0o644)
    (bin_ / "ohmykube-directory").mkdir()
    program(tmp_path, "ohmykube-here")
    monkeypatch.chdir(tmp_path)
    path = os.pathsep.join(["", ".", "bin", str(bin_), str(bin_), str(other)])
    found = section(cli("--help", PATH=path).out)
    for line in (
        f"hi {first}",
        f"hi not used: {first} comes first ({second})",
        f"hello not used: acme 1.2 comes first ({clash})",
        f"plain not used: it is not executable ({broken})",
    ):
        assert line in found
    assert not [line for line in found if line.startswith(("here", "directory"))]
    assert cli("here", PATH=path).code == 2
    assert cli("plain", PATH=path).code == 2
    assert became == []


@pytest.fixture
def complete(cli, monkeypatch) -> Callable[..., list[str]]:
    def ask(*words: str, **environ: str) -> list[str]:
        monkeypatch.setenv("COMP_WORDS", " ".join(["ohmykube", *words]))
        monkeypatch.setenv("COMP_CWORD", str(len(words)))
        outcome = cli(_OHMYKUBE_COMPLETE="bash_complete", **environ)
        assert (outcome.code, outcome.err) == (0, "")
        return [line.partition(",")[2] for line in outcome.out.split()]

    return ask


@pytest.mark.usefixtures("acme")
def test_completion_knows_them(complete, bin_) -> None:
    program(bin_, "ohmykube-hedge")
    program(bin_, "ohmykube-plain", 0o644)
    assert complete("he", PATH=str(bin_)) == ["help", "hedge", "hello"]
    assert "acme_commands" not in sys.modules
    assert complete("pl", PATH=str(bin_)) == ["plan"]
    assert complete("hello", "m") == ["moon", "sun"]
    assert complete("hello", "--f") == ["--fail"]
    assert complete("hedge", "x", PATH=str(bin_)) == []
