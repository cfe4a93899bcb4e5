"""``ohmykube kubeconfig``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ohmykube.cli import _names, _options
from ohmykube.cli._lazy import Command
from ohmykube.cli._output import document
from ohmykube.cli.cluster import kubeconfig_merge
from ohmykube.errors import UsageError

if TYPE_CHECKING:
    from ohmykube.cli._app import App


@click.command(
    cls=Command,
    examples=(
        "export KUBECONFIG=$(ohmykube kubeconfig --path)",
        "ohmykube kubeconfig dev > dev.kubeconfig",
        "ohmykube kubeconfig dev --merge",
    ),
)
@_options.cluster
@click.option("--path", "path_only", is_flag=True, help="Print the file's path.")
@click.option("--merge", is_flag=True, help="Add the cluster to --into and make it current.")
@click.option(
    "--into",
    type=click.Path(path_type=Path),
    help="File for --merge (default: $KUBECONFIG, else ~/.kube/config).",
)
@_options.output
@_options.talk
@_options.pass_app
def kubeconfig(
    app: App,
    *,
    name_argument: str | None,
    name_option: str | None,
    path_only: bool,
    merge: bool,
    into: Path | None,
) -> None:
    """Print the administrator's kubeconfig of a cluster, or merge it into yours."""
    from ohmykube.workflows import access

    if path_only and merge:
        raise UsageError("--path and --merge do not go together", id="OMK-U-110")
    if into is not None and not merge:
        raise UsageError("--into goes with --merge", id="OMK-U-110")
    name = _names.choose(app, name_argument, name_option)
    source = app.call(access.kubeconfig, name)
    if merge:
        target = into or _default_target(app)
        app.acting()
        kubeconfig_merge.merge(source, target)
        app.show(
            document("Kubeconfig", {"cluster": name, "path": str(target)}),
            f'Cluster "{name}" is in {target}\n',
        )
    elif path_only:
        app.show(document("Kubeconfig", {"cluster": name, "path": str(source)}), f"{source}\n")
    else:
        # The text itself is the result, whatever form was asked for: it is YAML already.
        app.write(source.read_text(encoding="utf-8"))


def _default_target(app: App) -> Path:
    named = app.environ.get("KUBECONFIG", "").split(":")[0]
    home = Path(app.environ.get("HOME") or Path.home())
    return Path(named) if named else home / ".kube" / "config"
