"""Every command of the tree: its help as it was reviewed, and examples that can be typed."""

from __future__ import annotations

import itertools
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from ohmykube.cli import _root
from ohmykube.cli._app import App

if TYPE_CHECKING:
    from collections.abc import Iterator

DATA = Path(__file__).parents[2] / "data" / "cli" / "help"


def tree(group: click.Group, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the words of a group and of every command below it."""
    yield words
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from tree(command, (*words, name))
        else:
            yield (*words, name)


def command_of(words: tuple[str, ...]) -> click.Command:
    command: click.Command = _root.group()
    for word in words:
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), word)
        assert found is not None, word
        command = found
    return command


EVERY = list(tree(_root.group()))
EXAMPLES = {
    line.split("#")[0].strip(): words for words in EVERY for line in command_of(words).examples
}


@pytest.mark.parametrize("words", EVERY, ids=lambda words: "-".join(words) or "ohmykube")
def test_help_is_what_was_reviewed(cli, words) -> None:
    """A change is written by OHMYKUBE_GOLDEN=write, and is then seen in the diff."""
    outcome = cli(*words, "--help")
    assert (outcome.code, outcome.err) == (0, "")
    golden = DATA / f"{'-'.join(words) or 'ohmykube'}.txt"
    if os.environ.get("OHMYKUBE_GOLDEN") == "write":
        golden.write_text(outcome.out)
    assert outcome.out == golden.read_text()


def test_every_help_that_was_reviewed_has_its_command() -> None:
    names = {"-".join(words) or "ohmykube" for words in EVERY}
    assert {path.stem for path in DATA.iterdir()} == names


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_can_be_typed(example: str, tmp_path: Path) -> None:
    """The parser takes each of the commands in it, whatever it would do."""
    app = App.for_process({"HOME": str(tmp_path)})
    words = shlex.shlex(example, posix=True, punctuation_chars="|>")
    words.whitespace_split = True
    for ends, part in itertools.groupby(words, lambda word: word in ("|", ">")):
        program, *arguments = part
        if ends or program != "ohmykube":
            continue
        command: click.Command = _root.group()
        context: click.Context | None = None
        while True:
            # Without callbacks: what a word leads to, and whether its options are known.
            context = command.make_context(command.name, arguments, parent=context, obj=app)
            if not isinstance(command, click.Group) or not context._protected_args:
                break
            name, found, arguments = command.resolve_command(
                context, [*context._protected_args, *context.args]
            )
            assert found is not None, name
            command = found


def test_every_command_has_an_example() -> None:
    assert [words for words in EVERY if not command_of(words).examples] == []
