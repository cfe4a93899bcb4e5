"""``ohmykube kubeconfig``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ohmykube.cli import _names, _options
from ohmykube.cli._lazy import Command
from ohmykube.cli._output import document, render
from ohmykube.errors import UsageError
from ohmykube.kit import paths

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ohmykube.cli._app import App
    from ohmykube.kit.sudo_user import SudoUser


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
    help="File for --merge (default: the one that kubectl uses).",
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
    from ohmykube.workflows import access, merged_kubeconfigs

    if path_only and merge:
        raise UsageError("--path and --merge do not go together", id="OMK-U-110")
    if into is not None and not merge:
        raise UsageError("--into goes with --merge", id="OMK-U-110")
    name = _names.choose(app, name_argument, name_option)
    if merge:
        target = (
            paths.expanded(str(into))
            if into is not None
            else default_target(app.environ, app.services.sudo_user)
        )
        app.acting()
        app.call(merged_kubeconfigs.merge, name, target)
        app.show(
            document("Kubeconfig", {"cluster": name, "path": str(target)}),
            f'Cluster "{name}" is in {target}\n',
        )
        return
    source = app.call(access.kubeconfig, name)
    if path_only:
        app.show(document("Kubeconfig", {"cluster": name, "path": str(source)}), f"{source}\n")
    else:
        app.write(_in_form(source.read_text(encoding="utf-8"), app))


def _in_form(text: str, app: App) -> str:
    """Return a kubeconfig as it is, which is YAML, or as JSON: kubectl reads either."""
    if app.settings.output != "json":
        return text
    from ohmykube.kit import plain_yaml

    return render(plain_yaml.load(text), "json", unicode=app.results.unicode)


def default_target(environ: Mapping[str, str], sudo_user: SudoUser | None) -> Path:
    """Return the file that kubectl writes: of $KUBECONFIG the first that exists, else the last.

    Args:
        environ: of the process.
        sudo_user: who called sudo; without $KUBECONFIG it is a file of this user.
    """
    # To kubectl an empty part of the list is nothing, and "~" is a name like others.
    parts = [part for part in environ.get("KUBECONFIG", "").split(os.pathsep) if part]
    named = [Path(part) for part in dict.fromkeys(parts)]  # of a name that is there twice the first
    if named:
        return paths.absolute(next((path for path in named if path.exists()), named[-1]))
    home = sudo_user.home if sudo_user is not None else paths.home_of(environ)
    return paths.absolute(home / ".kube" / "config")
