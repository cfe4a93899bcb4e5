"""``ohmykube config`` and its commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ohmykube.cli import _options, _output
from ohmykube.cli._lazy import Command, Entry, LazyGroup

if TYPE_CHECKING:
    from collections.abc import Callable

    from ohmykube.cli._app import App

_HERE = "ohmykube.cli.config"
_TABLE = {
    "template": Entry(_HERE, "template", "Print a commented cluster.yaml to start from."),
    "validate": Entry(_HERE, "validate", "Check a cluster.yaml and tell all its problems."),
    "show": Entry(_HERE, "show", "Print a cluster.yaml with all defaults filled in."),
    "schema": Entry(_HERE, "schema", "Print the JSON schema of cluster.yaml."),
}


def _overview() -> None:
    ctx = click.get_current_context()
    if ctx.invoked_subcommand is None:
        _options.app_of(ctx).write(ctx.get_help() + "\n")


config = LazyGroup(
    "config",
    table=_TABLE,
    examples=(
        "ohmykube config template > cluster.yaml",
        "ohmykube config validate -f cluster.yaml",
    ),
    callback=_overview,
    invoke_without_command=True,
    help="Write, check and explain cluster.yaml.",
)


def _file(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "-f",
        "--file",
        type=click.Path(path_type=Path, allow_dash=True),
        default=Path("cluster.yaml"),
        show_default=True,
        help="The file; - reads stdin.",
    )(function)


@click.command(cls=Command, examples=("ohmykube config template > cluster.yaml",))
@_options.pass_app
def template(app: App) -> None:
    """Print a commented cluster.yaml with every field and its default."""
    from ohmykube.config.starter_file import template as make

    app.write(make())


@click.command(
    cls=Command,
    examples=("ohmykube config validate", "ohmykube config validate -f other.yaml -o json"),
)
@_file
@_options.output
@_options.talk
@_options.pass_app
def validate(app: App, *, file: Path) -> None:
    """Check a cluster.yaml; tells all problems at once, changes nothing.

    Exit code 3 when there are problems.
    """
    from ohmykube.cli import _config

    cluster = _config.load(app, file)
    found = {"file": str(file), "valid": True, "cluster": cluster.name, "nodes": len(cluster.nodes)}
    app.show(
        _output.document("ConfigCheck", found),
        f'{file} is right: cluster "{cluster.name}", {len(cluster.control_planes)} control plane,'
        f" {len(cluster.workers)} workers, Kubernetes {cluster.kubernetes_version}\n",
    )


@click.command(
    cls=Command, examples=("ohmykube config show", "ohmykube config show -f dev.yaml -o json")
)
@_file
@_options.output
@_options.talk
@_options.pass_app
def show(app: App, *, file: Path) -> None:
    """Print a cluster.yaml as it is understood: current version, all defaults filled in."""
    from ohmykube.cli import _config
    from ohmykube.config.document import to_document

    content = to_document(_config.load(app, file))
    app.show(content, lambda: _output.render(content, "yaml", unicode=app.results.unicode))


@click.command(
    cls=Command,
    examples=("ohmykube config schema > cluster.schema.json", "ohmykube config schema output"),
)
@click.argument("what", type=click.Choice(["cluster", "output"]), default="cluster")
@_options.pass_app
def schema(app: App, *, what: str) -> None:
    """Print the JSON schema of cluster.yaml, or of what `-o json` prints."""
    if what == "output":
        from ohmykube.cli import _schema

        content = _schema.schema()
    else:
        from ohmykube.config import json_schema

        content = json_schema.schema()
    app.write(json.dumps(content, indent=2) + "\n")
