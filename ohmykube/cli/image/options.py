"""Options that the commands on images share, and how they end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import click

from ohmykube.cli import _options
from ohmykube.cli.image import results, texts

if TYPE_CHECKING:
    from collections.abc import Callable

    from ohmykube.cli._app import App
    from ohmykube.workflows.images import DeliveryResult

F = TypeVar("F", bound="Callable[..., Any]")


def cluster(function: F) -> F:
    """Add ``--name``."""
    return click.option(
        "--name",
        "name_option",
        metavar="CLUSTER",
        shell_complete=_options.complete_clusters,
        help="Name of the cluster; optional when there is only one.",
    )(function)


def nodes(function: F) -> F:
    """Add ``--node``."""
    return click.option(
        "--node",
        "nodes",
        metavar="NODE",
        multiple=True,
        shell_complete=_options.complete_nodes,
        help="Only this node; can be repeated (default: all).",
    )(function)


def show(app: App, result: DeliveryResult) -> None:
    """Write what every node got; then raise the error of those that failed."""
    failure = result.failure
    app.show(
        results.delivered(result),
        texts.delivered(result),
        final=failure is None,
    )
    if failure is not None:
        raise failure
