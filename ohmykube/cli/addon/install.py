"""``ohmykube addon install``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ohmykube.cli._lazy import Command
from ohmykube.cli.addon import changing
from ohmykube.errors import UsageError

if TYPE_CHECKING:
    from ohmykube.cli._app import App


@click.command(
    cls=Command,
    examples=(
        "ohmykube addon install metrics-server",
        "ohmykube addon install local-path metrics-server --plan",
        "ohmykube addon install local-path --values values.yaml",
        "ohmykube addon install local-path --set path=/srv/volumes",
    ),
)
@click.argument("add_ons", metavar="NAME...", nargs=-1, required=True)
@click.option("--version", help="One of its versions (default: the preferred one).")
@click.option("--namespace", help="Namespace of its objects, where that can be chosen.")
@click.option(
    "--values",
    "values_file",
    type=click.Path(path_type=Path, allow_dash=True),
    help="YAML file with all of its values; - reads stdin.",
)
@click.option(
    "--set",
    "settings",
    metavar="KEY=VALUE",
    multiple=True,
    help="One of its values, the others stay; a.b=1 goes deeper. Can be given several times.",
)
@changing.options
def install(
    app: App,
    /,
    *,
    add_ons: tuple[str, ...],
    version: str | None,
    namespace: str | None,
    values_file: Path | None,
    settings: tuple[str, ...],
    **rest: Any,
) -> None:
    """Install add-ons into a cluster, or change how they are installed.

    It is as if they were named in `spec.addons`. Name them in your cluster file too, or the next
    `up -f` takes them away again.
    """
    from ohmykube.cli import _cluster_file
    from ohmykube.config.overrides import AddonChange

    if len(add_ons) > 1 and (version or namespace or values_file or settings):
        raise UsageError(
            "--version, --namespace, --values and --set are for one add-on",
            why=", ".join(add_ons),
        )
    values = None if values_file is None else _cluster_file.mapping(app, values_file)
    one = AddonChange(
        name=add_ons[0],
        version=version,
        namespace=namespace,
        values=values,
        settings=dict(map(_setting, settings)),
    )
    more = [AddonChange(name=name) for name in add_ons[1:]]
    changing.change(app, [one, *more], **rest)


def _setting(word: str) -> tuple[tuple[str, ...], Any]:
    """Return the keys and the value of ``KEY=VALUE``, which is read as YAML."""
    from ohmykube.config import yaml_source
    from ohmykube.config.problems import echo

    key, equals, text = word.partition("=")
    keys = tuple(key.split("."))
    if not equals or not all(keys):
        raise UsageError(
            f"--set {echo(word)} is not KEY=VALUE",
            why="a key is words with dots between them, such as a.b",
            hint="ohmykube addon install --help",
            id="OMK-U-710",
        )
    return keys, yaml_source.parse_value(text, f"--set {key}")
