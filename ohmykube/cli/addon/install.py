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
@changing.options
def install(
    app: App,
    /,
    *,
    add_ons: tuple[str, ...],
    version: str | None,
    namespace: str | None,
    values_file: Path | None,
    **rest: Any,
) -> None:
    """Install add-ons into a cluster, or change how they are installed.

    It is as if they were named in `spec.addons`. Name them in your cluster file too, or the next
    `up -f` takes them away again.
    """
    from ohmykube.cli import _cluster_file
    from ohmykube.config.overrides import AddonChange

    if len(add_ons) > 1 and (version, namespace, values_file) != (None, None, None):
        raise UsageError(
            "--version, --namespace and --values are for one add-on", why=", ".join(add_ons)
        )
    values = None if values_file is None else _cluster_file.mapping(app, values_file)
    one = AddonChange(name=add_ons[0], version=version, namespace=namespace, values=values)
    more = [AddonChange(name=name) for name in add_ons[1:]]
    changing.change(app, [one, *more], **rest)
