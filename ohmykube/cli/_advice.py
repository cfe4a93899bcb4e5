"""Commands in what is said, written so that they can be typed.

They name the program as it was called, and the cluster and the file at hand.

Whoever raises an error below knows neither; ``ohmykube status`` there becomes
``.venv/bin/ohmykube status dev`` here.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from ohmykube.cli._lazy import LazyGroup
from ohmykube.cli._root import PROGRAM, TABLE, group
from ohmykube.kit import process, sudo_user

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_COMMAND = re.compile(rf"(?<![\w./-]){PROGRAM}((?: [^\s`;,()<>|]+)+)")
"""Ends at two blanks, or where a sentence goes on."""


def program(argv0: str | None, environ: Mapping[str, str]) -> str:
    """Return how to call this program again.

    Args:
        argv0: by which it was called; None when it was not called as a program.
        environ: of the process.
    """
    sudo = "sudo " if sudo_user.behind_sudo(environ, euid=os.geteuid()) else ""
    if argv0 is None:
        return sudo + PROGRAM
    if Path(argv0).name == "__main__.py":
        return f"{sudo}{shlex.quote(sys.executable)} -m {PROGRAM}"
    found = process.which(Path(argv0).name)
    same = found is not None and Path(argv0).exists() and Path(found).samefile(argv0)
    return sudo + shlex.quote(Path(argv0).name if same else argv0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """What commands in texts are completed with."""

    program: str = PROGRAM
    cluster: str | None = None
    """The one that is worked on."""
    typed: tuple[str, ...] = ()
    """The command that runs, without the options that every command has."""
    path: tuple[str, ...] = ()
    """Its names, without that of the program."""
    file: str | None = None
    """The description that was given."""

    def text(self, text: str) -> str:
        """Return a text with all its commands completed."""
        return _COMMAND.sub(self._completed, text) if PROGRAM in text else text

    def _completed(self, match: re.Match[str]) -> str:
        words = match[1].split()
        if words[0] not in TABLE and not words[0].startswith("--"):
            return match[0]
        called = self.program
        if match.string[: match.start()].endswith("sudo "):
            called = called.removeprefix("sudo ")
        # Advice can hold words that no shell takes; only what is added is quoted.
        return " ".join([called, *(self._words(words) if words[0] in TABLE else words)])

    def named(self) -> str:
        """Return the command that runs, with the name of the cluster."""
        return replace(self, path=()).text(f"{PROGRAM} {shlex.join(self.typed)}")

    def _words(self, words: list[str]) -> list[str]:
        words = _whole(words)
        path, command = _resolve(words)
        rest = words[len(path) :]
        options = {name for parameter in command.params for name in parameter.opts}
        given = {word.partition("=")[0] for word in rest}
        again = path == self.path and not {"-f", "--file", "--name"} & given
        if rest == ["--help"]:
            return words
        again = again and not _positionals(command, rest)
        if again and ({"--file", "--name"} <= options or (given and "--name" not in options)):
            return [*path, *_changed(command, self.typed[len(path) :], rest)]
        added: list[str] = []
        if "--file" in options and self.file is not None and not given & {"-f", "--file"}:
            added = ["-f", shlex.quote(self.file)]
        elif self.cluster is not None and "--name" in options and "--name" not in given:
            takes_name = any(one.name == "name_argument" for one in command.params)
            if not takes_name:
                added = ["--name", self.cluster]
            elif not _positionals(command, rest):
                added = [self.cluster]
        return [*path, *added, *rest]


def of(context: click.Context | None, program: str, cluster: str | None) -> Advice:
    """Return the advice for the command that runs, if one does."""
    if context is None:
        return Advice(program=program, cluster=cluster)
    path = context.command_path.split()[1:]
    file = context.params.get("file")
    default = context.get_parameter_source("file") in (ParameterSource.DEFAULT, None)
    return Advice(
        program=program,
        cluster=cluster,
        typed=(*path, *_arguments(context)),
        path=tuple(path),
        file=None if file is None or default or str(file) == "-" else str(file),
    )


def typed(context: click.Context) -> str:
    """Return the command as it was typed, without the options that every command has."""
    return shlex.join([*context.command_path.split(), *_arguments(context)])


def named(context: click.Context, cluster: str) -> str:
    """Return the command as it was typed, about another cluster."""
    rest = _arguments(context, without=("name", "name_option", "name_argument"))
    return shlex.join([*context.command_path.split(), cluster, *rest])


def _arguments(context: click.Context, without: Sequence[str] = ()) -> list[str]:
    words: list[str] = []
    for parameter in context.command.params:
        name = parameter.name or ""
        if name in without:
            continue
        given = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if not given or name not in context.params:
            continue
        value: Any = context.params[name]
        if value is True:
            words.append(parameter.opts[-1])
            continue
        for one in value if parameter.multiple or parameter.nargs == -1 else (value,):
            option = isinstance(parameter, click.Option)
            words += [parameter.opts[0], str(one)] if option else [str(one)]
    return words


def _whole(words: list[str]) -> list[str]:
    """Return the words with a command that may be left out."""
    command = group()
    found = command.get_command(click.Context(command), words[0])
    return [words[0], *found.whole(words[1:])] if isinstance(found, LazyGroup) else words


def _resolve(words: Sequence[str]) -> tuple[tuple[str, ...], click.Command]:
    """Return the names of the command that words call, and the command."""
    command: click.Command = group()
    path: list[str] = []
    context = click.Context(command)
    for word in words:
        found = command.get_command(context, word) if isinstance(command, click.Group) else None
        if found is None:
            break
        command = found
        path.append(word)
    return tuple(path), command


def _changed(command: click.Command, typed: Sequence[str], rest: Sequence[str]) -> list[str]:
    """Return the words that were typed, with the options of ``rest`` in the place of their own."""
    given = {word.partition("=")[0] for word in rest if word.startswith("-")}
    takes = _taking_values(command)
    kept, skip = [], False
    for word in typed:
        dropped = skip or word in given
        skip = not skip and word in given & takes
        if not dropped:
            kept.append(shlex.quote(word))
    return [*kept, *rest]


def _taking_values(command: click.Command) -> set[str]:
    return {
        name
        for parameter in command.params
        if isinstance(parameter, click.Option) and not parameter.is_flag
        for name in parameter.opts
    }


def _positionals(command: click.Command, words: Sequence[str]) -> list[str]:
    takes = _taking_values(command)
    found, skip = [], False
    for word in words:
        if word == "--":
            break
        if not skip and not word.startswith("-"):
            found.append(word)
        skip = not skip and word in takes
    return found
