"""Options that commands share; they fill the ``App``'s settings and are not handed on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from ohmykube.cli import _output
from ohmykube.cli._app import App
from ohmykube.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., Any]")
PROGRESS = ("auto", "live", "plain", "json")


def app_of(ctx: click.Context) -> App:
    """Return the ``App`` of this run."""
    found = ctx.find_root().obj
    if not isinstance(found, App):
        raise TypeError("the root context has no App")
    return found


pass_app = click.make_pass_decorator(App)


def _setting(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def store(ctx: click.Context, _param: click.Parameter, value: Any) -> None:
        # During completion there is no App; a default must not undo what stood before the command.
        if ctx.resilient_parsing or not value:
            return
        settings = app_of(ctx).settings
        setattr(settings, name, value)
        if settings.verbose and settings.quiet:
            raise UsageError("-v and -q do not go together", id="OMK-U-104")

    return store


def output(function: F) -> F:
    """Add ``-o``."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(_output.FORMATS),
        expose_value=False,
        is_eager=True,
        callback=_setting("output"),
        help="Format of the result on stdout (default: table).",
    )(function)


def talk(function: F) -> F:
    """Add ``--progress``, ``-v`` and ``-q``."""
    function = click.option(
        "-q",
        "--quiet",
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=_setting("quiet"),
        help="Show only the result and errors.",
    )(function)
    function = click.option(
        "-v",
        "--verbose",
        count=True,
        expose_value=False,
        is_eager=True,
        callback=_setting("verbose"),
        help="Show what Ansible does; -vv: every command run.",
    )(function)
    return click.option(
        "--progress",
        type=click.Choice(PROGRESS),
        expose_value=False,
        is_eager=True,
        callback=_setting("progress"),
        help="How to show progress (default: auto).",
    )(function)


def cluster_by_name(function: F) -> F:
    """Add ``--name`` where the arguments are something else; hands on ``name_option`` or None."""
    return click.option(
        "--name",
        "name_option",
        metavar="NAME",
        shell_complete=complete_clusters,
        help="Name of the cluster; optional when there is only one.",
    )(function)


def cluster(function: F) -> F:
    """Add the argument ``NAME`` and its twin ``--name``; hands on ``name`` or None."""
    return click.argument(
        "name_argument", metavar="[NAME]", required=False, shell_complete=complete_clusters
    )(cluster_by_name(function))


def complete_clusters(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of clusters that begin with ``incomplete``; asks no machine."""
    from ohmykube.workflows import names

    app = app_of(ctx)
    return [name for name in app.call(names.clusters) if name.startswith(incomplete)]


def complete_nodes(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of nodes that begin with ``incomplete``; asks no machine."""
    from ohmykube.workflows import names

    app = app_of(ctx)
    chosen = ctx.params.get("name_option")
    clusters = [chosen] if chosen else app.call(names.clusters)
    nodes = [node for name in clusters for node in app.call(names.nodes, name)]
    return sorted({node for node in nodes if node.startswith(incomplete)})


def complete_places(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the beginnings of paths of nodes, and let the shell find those of this host."""
    nodes = [CompletionItem(f"{node}:") for node in complete_nodes(ctx, param, incomplete)]
    return [*nodes, CompletionItem(incomplete, type="file")]


def complete_providers(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of installed providers that begin with ``incomplete``."""
    from ohmykube.providers import registry

    return [name for name in ("auto", *registry.names()) if name.startswith(incomplete)]
