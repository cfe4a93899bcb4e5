"""Commands of others: entry points of the group ``ohmykube.commands``, and programs on PATH.

A package that is installed beside ours adds a command by an entry point that leads to a
``click.Command``. A program called ``ohmykube-NAME`` is the command ``NAME``, as kubectl, git and
k3d have it. Ours come first, then entry points, then programs in the order of PATH. Nobody looks
for any of them while a command of ours runs.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ohmykube.cli import _options
from ohmykube.cli._app import Settings
from ohmykube.errors import Explained, OhmykubeError, PrerequisiteError, UsageError
from ohmykube.kit import entrypoints, exec_program

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from ohmykube.cli._app import App

GROUP = "ohmykube.commands"
PREFIX = "ohmykube-"
_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """A command of somebody else."""

    name: str
    source: str
    """The package with its version, or the path of the program."""
    program: bool
    unused: str = ""
    """Why it cannot be called; empty when it can."""


class PluginError(OhmykubeError):
    """A command of somebody else ended in a way that nobody foresaw."""

    default_id = "OMK-Z-330"


def find(path: str, ours: Container[str]) -> tuple[Plugin, ...]:
    """Return all commands of others by name, those that come first before those they hide.

    Args:
        path: directories of programs, as in the variable PATH.
        ours: names of our own commands.
    """
    first: dict[str, Plugin] = {}
    found = []
    for one in (*_entry_points(), *_programs(path)):
        unused = one.unused
        if not _NAME.fullmatch(one.name):
            unused = "a name has small letters, digits and hyphens"
        elif one.name in ours:
            unused = "ohmykube has a command of this name"
        elif not unused and first.setdefault(one.name, one) is not one:
            unused = f"{first[one.name].source} comes first"
        found.append(replace(one, unused=unused))
    return tuple(sorted(found, key=lambda one: one.name))


def _entry_points() -> Iterator[Plugin]:
    for one in entrypoints.installed(GROUP):
        yield Plugin(name=one.name, source=one.source, program=False)


def _programs(path: str) -> Iterator[Plugin]:
    # A relative directory, and an empty one, depends on where one stands: nothing is run from it.
    for directory in dict.fromkeys(filter(os.path.isabs, path.split(os.pathsep))):
        try:
            names = [one.name for one in os.scandir(directory) if one.name.startswith(PREFIX)]
        except OSError:
            continue  # PATH often names what is not there, or not for this user
        for name in sorted(names):
            program = Path(directory, name)
            if program.is_file():
                lacks = "" if os.access(program, os.X_OK) else "it is not executable"
                short = name.removeprefix(PREFIX)
                yield Plugin(name=short, source=str(program), program=True, unused=lacks)


def load(plugin: Plugin) -> click.Command:
    """Return the command itself.

    Raises:
        PrerequisiteError: it cannot be imported, or is no command.
    """
    if plugin.program:
        return _Program(plugin)
    loaded = entrypoints.load(GROUP, plugin.name, "command")
    if not isinstance(loaded, click.Command):
        raise PrerequisiteError(
            f'"{plugin.name}" of {plugin.source} is not a command',
            why=f"its entry point leads to {loaded!r}, not to a click.Command",
            hint=f"pip uninstall {plugin.source.split()[0]}  (or update it)",
            id="OMK-H-331",
        )
    return loaded


def leave(app: App, error: SystemExit) -> int:
    """Do for a command that ended by ``sys.exit`` what Python does; return the exit code."""
    if error.code is None or isinstance(error.code, int):
        return error.code or 0
    app.stderr.line(str(error.code))
    return 1


def blame(error: BaseException, plugin: Plugin) -> BaseException:
    """Return what to tell when a command of others ends with ``error``: a fault of theirs, named.

    What explains itself, and what click says of options, is told as it is.
    """
    if isinstance(error, (Explained, click.ClickException, click.Abort, KeyboardInterrupt)):
        return error
    told = PluginError(
        f'the command "{plugin.name}" of {plugin.source} failed',
        why=f"{type(error).__name__}: {error}",
        hint="report it to those who make it, with the log file",
    )
    told.__cause__ = error
    return told


class _Program(click.Command):
    """Hands all arguments to a program that takes this process's place."""

    def __init__(self, plugin: Plugin) -> None:
        text = f"Runs {plugin.source} with all arguments that follow."
        super().__init__(
            plugin.name, help=text, add_help_option=False, options_metavar="[ARGUMENT]..."
        )
        self._plugin = plugin

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep every argument as it is, ``--help`` and ``--`` too."""
        ctx.args = list(args)
        return []

    def invoke(self, ctx: click.Context) -> None:
        """Become the program.

        Raises:
            UsageError: options of ours were given, which it would never see.
            PrerequisiteError: it cannot be run.
        """
        app = _options.app_of(ctx)
        if app.settings != Settings():
            raise UsageError(
                f'options go behind "{self._plugin.name}", which is a program of its own',
                why=f"{self._plugin.source} gets what follows its name, and nothing else",
                hint=f"ohmykube {self._plugin.name} --help",
                id="OMK-U-330",
            )
        exec_program.become([self._plugin.source, *ctx.args], app.environ)
