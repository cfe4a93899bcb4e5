"""The command table, and the classes of click that make help and mistakes our own.

A command's module is imported when it runs or when its own help is asked for, never to list it.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import itertools
import shlex
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from ohmykube.cli import _options
from ohmykube.errors import UsageError
from ohmykube.ui.console import shorten

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_FILES = (".yaml", ".yml", ".json")
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 80}


class Entry(NamedTuple):
    """Where a command is, and what the overview says about it."""

    module: str
    attribute: str
    summary: str


class _Helpful(click.Command):
    """Writes its help through the ``App``, which knows what to do when stdout takes no more."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse; raises UsageError for what click would take in silence, or explain badly."""
        if ctx.resilient_parsing:
            return super().parse_args(ctx, args)
        _options.app_of(ctx).usage = f"{ctx.command_path} --help"
        try:
            self._refuse(ctx, args)
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            error.ctx = error.ctx or ctx
            raise

    def _refuse(self, ctx: click.Context, args: list[str]) -> None:
        """Refuse an option that is given again, and a file where ``-f`` was forgotten."""
        values, surplus, order = self.make_parser(ctx).parse_args(list(args))
        given = [one for one in order if isinstance(one, click.Option)]
        if self.get_help_option(ctx) in given:
            return
        for one in given:
            if given.count(one) > 1 and not (one.multiple or one.is_flag or one.count):
                raise UsageError(
                    f"{'/'.join(one.opts)} is given {given.count(one)} times; it takes one value",
                    id="OMK-U-601",
                )
        if any("--file" in one.opts for one in self.params if one not in given):
            named = [values.get(one.name) for one in self.params if isinstance(one, click.Argument)]
            for word in (*named, *surplus):
                if isinstance(word, str) and (word == "-" or word.endswith(_FILES)):
                    again = [*(("-f", one) if one == word else (one,) for one in args)]
                    raise UsageError(
                        f"{shorten(ascii(word)[1:-1], 60)} is a file: did you mean -f?",
                        hint=shlex.join([*ctx.command_path.split(), *itertools.chain(*again)]),
                        id="OMK-U-602",
                    )

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        """Return click's ``--help`` with our way to write."""
        option = super().get_help_option(ctx)
        if option is not None:
            option.callback = _show_help
        return option


def _show_help(ctx: click.Context, _param: click.Parameter, value: Any) -> None:
    if value and not ctx.resilient_parsing:
        _options.app_of(ctx).write(ctx.get_help() + "\n")
        ctx.exit()


def overview() -> None:
    """Write the help of a group that was called without a command."""
    ctx = click.get_current_context()
    if ctx.invoked_subcommand is None:
        _options.app_of(ctx).write(ctx.get_help() + "\n")


class Command(_Helpful):
    """A command whose help begins with examples."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:
        kwargs["context_settings"] = {**CONTEXT, **kwargs.get("context_settings", {})}
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)

    def invoke(self, ctx: click.Context) -> Any:
        """Run it; what is said meanwhile names it as it was called."""
        _options.app_of(ctx).context = ctx
        return super().invoke(ctx)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what it does, examples, usage, arguments and options, in this order."""
        formatter.write_text(inspect.cleandoc(self.help or ""))
        _write_examples(self.examples, formatter)
        formatter.write_paragraph()
        self.format_usage(ctx, formatter)
        self.format_options(ctx, formatter)
        self.format_epilog(ctx, formatter)


class LazyGroup(_Helpful, click.Group):
    """A group that knows its commands by a table."""

    synonyms: Mapping[str, str] = MappingProxyType({})
    """Commands by what somebody may call them."""

    def __init__(
        self,
        *args: Any,
        table: Mapping[str, Entry],
        sections: Mapping[str, Sequence[str]] | None = None,
        examples: Sequence[str] = (),
        default: str = "",
        **kwargs: Any,
    ) -> None:
        kwargs["context_settings"] = {**CONTEXT, **kwargs.get("context_settings", {})}
        super().__init__(*args, **{"callback": overview, "invoke_without_command": True, **kwargs})
        self._table = table
        self._sections = sections or {"Commands": tuple(table)}
        self.examples = tuple(examples)
        self._default = default

    def whole(self, words: list[str]) -> list[str]:
        """Return the words after the group's name with the command that may be left out."""
        known = (*self._table, *CONTEXT["help_option_names"])  # type: ignore[misc]  # a list
        return (
            [self._default, *words] if self._default and words and words[0] not in known else words
        )

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse what follows the group's name."""
        return super().parse_args(ctx, self.whole(args))

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table."""
        return list(self._table)

    def others(self, ctx: click.Context) -> Mapping[str, str]:
        """Return commands that are not in the table, with what the overview says about them."""
        del ctx
        return {}

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command, or None."""
        entry = self._table.get(cmd_name)
        if entry is None:
            return None
        command = getattr(importlib.import_module(entry.module), entry.attribute)
        return command if isinstance(command, click.Command) else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that was typed; raises UsageError with the nearest names."""
        args = self.whole(args)
        name = args[0]
        others = () if name in self._table else self.others(ctx)
        known = (*self._table, *others)
        if name not in known and not name.startswith("-") and not ctx.resilient_parsing:
            near = difflib.get_close_matches(name, known, n=2)
            guess = "; did you mean " + " or ".join(f'"{n}"' for n in near) + "?" if near else ""
            raise UsageError(
                f'unknown command "{name}"{guess}',
                hint=f"{ctx.command_path} {self.synonyms.get(name, '--help')}",
                id="OMK-U-101",
            )
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the summary, examples, commands by section and options."""
        formatter.write_text(inspect.cleandoc(self.help or ""))
        _write_examples(self.examples, formatter)
        for section, names in self._sections.items():
            with formatter.section(section):
                formatter.write_dl([(name, self._table[name].summary) for name in names])
        self.format_others(ctx, formatter)
        click.Command.format_options(self, ctx, formatter)
        self.format_epilog(ctx, formatter)

    def format_others(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what the overview says of commands that are not in the table."""

    def shell_complete(
        self, ctx: click.Context, incomplete: str
    ) -> list[click.shell_completion.CompletionItem]:
        """Complete a command's name without importing any command."""
        from click.shell_completion import CompletionItem

        summaries = {name: entry.summary for name, entry in self._table.items()}
        found = [
            CompletionItem(name, help=summary)
            for name, summary in {**summaries, **self.others(ctx)}.items()
            if name.startswith(incomplete)
        ]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]


def _write_examples(examples: Sequence[str], formatter: click.HelpFormatter) -> None:
    if not examples:
        return
    with formatter.section("Examples"):
        for example in examples:
            formatter.write(f"{'':>{formatter.current_indent}}{example}\n")
