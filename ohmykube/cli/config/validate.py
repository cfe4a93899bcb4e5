"""``ohmykube config validate``."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

import click

from ohmykube.cli import _options, _output
from ohmykube.cli._lazy import Command
from ohmykube.cli.config import options
from ohmykube.errors import ConfigError
from ohmykube.kit import amounts

if TYPE_CHECKING:
    from pathlib import Path

    from ohmykube.cli._app import App


class ConfigCheck(TypedDict):
    """``ohmykube config validate``."""

    file: str
    valid: bool
    cluster: str
    nodes: int


KINDS: dict[str, type] = {"ConfigCheck": ConfigCheck}
"""Document kinds by name."""


@click.command(
    cls=Command,
    examples=("ohmykube config validate", "ohmykube config validate -f other.yaml -o json"),
)
@options.file
@_options.output
@_options.talk
@_options.pass_app
def validate(app: App, *, file: Path) -> None:
    """Check a cluster.yaml and report all problems at once; changes nothing.

    The exit code is 3 when there are problems.
    """
    from ohmykube.cli import _cluster_file
    from ohmykube.workflows.provider_options import check_description

    try:
        described = _cluster_file.inspect(app, file)
        cluster = app.call(check_description, described)
    except ConfigError as error:
        error.shows_all = True
        raise
    for warning in described.warnings:
        app.note(f"warning: {warning}")
    planes = amounts.count(len(cluster.control_planes), "control plane")
    workers = amounts.count(len(cluster.workers), "worker")
    found = {"file": str(file), "valid": True, "cluster": cluster.name, "nodes": len(cluster.nodes)}
    app.show(
        _output.document("ConfigCheck", found),
        f'{file} is right: cluster "{cluster.name}", {planes}, {workers},'
        f" Kubernetes {cluster.kubernetes_version}\n",
    )
