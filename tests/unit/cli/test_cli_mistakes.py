"""What was mistyped is refused with words, and with a command that can be typed instead."""

from __future__ import annotations

import itertools
import re
import shlex
from importlib import metadata
from typing import TYPE_CHECKING

import click
import pytest

from ohmykube.cli import _root
from ohmykube.cli._run import run
from ohmykube.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def _commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        assert found is not None
        yield (*path, name)
        if isinstance(found, click.Group):
            yield from _commands(found, (*path, name))


def _command(path: tuple[str, ...]) -> click.Command:
    command: click.Command = _root.group()
    for name in path:
        assert isinstance(command, click.Group)
        command = command.get_command(click.Context(command), name) or command
    return command


EVERY = list(_commands(_root.group()))
OPTIONS = [
    (path, option)
    for path in EVERY
    for option in _command(path).params
    if isinstance(option, click.Option)
]
SINGLE = [
    (path, name)
    for path, option in OPTIONS
    if not (option.multiple or option.is_flag or option.count)
    for name in option.opts
]
NUMBERS = [
    (path, option.opts[0], option.type)
    for path, option in OPTIONS
    if isinstance(option.type, click.IntRange | click.FloatRange) and not option.count
]


def _id(value: object) -> str | None:
    return " ".join(value) if isinstance(value, tuple) else None


@pytest.mark.parametrize(("path", "name"), SINGLE, ids=_id)
def test_an_option_with_one_value_is_given_once(cli, fakes, path, name) -> None:
    """Of two values none is dropped in silence, also where both are the same."""
    for values in (("a", "b"), ("a", "a")):
        outcome = cli(*path, *itertools.chain(*((name, value) for value in values)))
        assert outcome.code == ExitCode.USAGE
        assert "is given 2 times" in outcome.err
        assert name in outcome.err
        assert f"try: ohmykube {' '.join(path)} --help" in outcome.err
    assert fakes.calls == []


@pytest.mark.parametrize(
    "words",
    [("up", "-f", "a", "--file=b"), ("up", "-fa", "-fb"), ("up", "--workers=1", "--workers=1")],
)
def test_however_it_is_written(cli, fakes, words) -> None:
    assert "is given 2 times" in cli(*words).err
    assert fakes.calls == []


@pytest.mark.parametrize(
    "words",
    [("up", "-v", "-v"), ("down", "--yes", "--yes"), ("up", "--bundle", "a", "--bundle", "b")],
)
def test_what_may_be_repeated(cli, words) -> None:
    assert "is given" not in cli(*words).err


def test_help_comes_before_mistakes(cli) -> None:
    assert cli("up", "-f", "a", "-f", "b", "--help").code == 0


@pytest.mark.parametrize("path", [path for path in EVERY if len(path) > 1], ids=" ".join)
def test_the_hint_names_the_command_with_all_its_words(cli, path) -> None:
    outcome = cli(*path, "--output")
    assert outcome.code == ExitCode.USAGE
    assert f"try: ohmykube {' '.join(path)} --help" in outcome.err


@pytest.mark.parametrize("name", ["x.yaml", "dir/my cluster.yml", "../c.json", "-"])
@pytest.mark.parametrize(
    "words",
    [
        ("up",),
        ("up", "dev"),
        ("plan", "--workers", "2"),
        ("config", "validate"),
        ("config", "show"),
    ],
    ids=" ".join,
)
def test_a_file_without_its_option(cli, fakes, words, name) -> None:
    outcome = cli(*words, name)
    assert outcome.code == ExitCode.USAGE
    assert "did you mean -f?" in outcome.err
    typed = shlex.split(outcome.err.split("try: ")[1].splitlines()[0])
    assert typed == ["ohmykube", *words, "-f", name]
    assert fakes.calls == []


@pytest.mark.parametrize(("path", "name", "kind"), NUMBERS, ids=_id)
def test_numbers_are_explained_in_words(cli, path, name, kind) -> None:
    too_large = [] if kind.max is None else ["99999999999"]
    for value in ("abc", "", "-1", "1e99", "nan", "1.5x", *too_large):
        outcome = cli(*path, f"{name}={value}")
        assert outcome.code == ExitCode.USAGE
        said = " ".join(outcome.err.split())
        assert re.search(r"must be a (whole )?number (from|of at least) [0-9.]+", said)
        assert not re.search(r"integer|range|<=|float", said)
        assert f'not "{value}"' in said


@pytest.mark.parametrize(
    ("words", "tries"),
    [
        (("up", "foo", "--name", "bar"), ("up foo", "up bar")),
        (("status", "a", "--name", "b"), ("status a", "status b")),
        (
            ("up", "foo", "--name", "bar", "--workers", "3", "-f", "x y"),
            ("up foo -f 'x y' --workers 3", "up bar -f 'x y' --workers 3"),
        ),
        (("down", "foo", "--name", "bar", "--yes"), ("down foo --yes", "down bar --yes")),
    ],
)
def test_two_names_leave_a_choice(cli, words, tries) -> None:
    outcome = cli(*words)
    assert outcome.code == ExitCode.USAGE
    first, second = (f"ohmykube {one}" for one in tries)
    assert f"try: {first}\n     or {second}\n" in outcome.err


@pytest.mark.parametrize(
    ("words", "tried"),
    [
        (("--listen", "127.0.0.1:99999"), "--listen 127.0.0.1:5055"),
        (("--listen", "x", "--offline"), "--offline --listen 127.0.0.1:5055"),
        (
            ("--mirror", "a.example", "--listen", "x"),
            "--mirror a.example --listen 127.0.0.1:5055",
        ),
    ],
)
def test_a_hint_is_a_whole_command_as_it_was_typed(cli, words, tried) -> None:
    assert f"try: ohmykube cache serve {tried}\n" in cli("cache", "serve", *words).err


@pytest.mark.parametrize(
    ("words", "tried"),
    [
        (("--listen", "nowhere:5055", "--offline"), "--offline --listen 127.0.0.1:5055"),
        (("--listen", "0.0.0.0:5055"), "--listen 0.0.0.0:5055 --token-file FILE"),
        (("--mirror", "a b", "--offline"), "--offline --mirror docker.io=https://hub.example"),
    ],
)
def test_also_where_the_workflow_refuses(tmp_path, capfd, words, tried) -> None:
    assert run(["cache", "serve", *words], environ={"OHMYKUBE_HOME": str(tmp_path)}) == 2
    assert f"try: ohmykube cache serve {tried}\n" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("words", "kind", "group"),
    [
        (("addon", "info", "nosuch"), "add-on", "ohmykube.addons"),
        (("doctor", "--provider", "nosuch"), "provider", "ohmykube.providers"),
    ],
)
def test_plugins_have_the_names_that_users_know(tmp_path, capfd, words, kind, group) -> None:
    assert run(list(words), environ={"OHMYKUBE_HOME": str(tmp_path)}) == 6
    said = capfd.readouterr().err
    assert f'there is no {kind} "nosuch"' in said
    assert group not in said
    assert all(point.name in said for point in metadata.entry_points(group=group))


@pytest.mark.parametrize(
    "words",
    [
        ("down",),
        ("down", "--yes"),
        ("down", "-o", "json"),
        ("down", "gone"),
        ("down", "gone", "--yes"),
    ],
)
def test_what_is_not_there_is_removed_without_a_question(
    tmp_path: Path, capfd, words: tuple[str, ...]
) -> None:
    """Cleaning up can be repeated, named or not, with a yes or without."""
    for _ in range(2):
        assert run(list(words), environ={"OHMYKUBE_HOME": str(tmp_path / "home")}) == 0
        shown = capfd.readouterr()
        assert "yes" not in shown.err
        assert "nothing to remove" in shown.out or '"existed": false' in shown.out


@pytest.mark.parametrize(("word", "same"), _root.SYNONYMS.items())
def test_words_of_other_programs_lead_to_ours(cli, word, same) -> None:
    outcome = cli(word)
    assert outcome.code == ExitCode.USAGE
    assert f"try: ohmykube {same}\n" in outcome.err
    first, *rest = same.split()
    assert word not in _root.TABLE
    assert cli(*(("help", *rest) if first == "help" else ("help", first, *rest))).code == 0


def test_where_logs_are(cli, home) -> None:
    assert str(home / "state" / "logs") in cli("help", "logs").out
