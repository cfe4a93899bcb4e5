"""What the commands that change the add-ons of a cluster have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import click

from ohmykube.cli import _cluster_file, _names, _options
from ohmykube.cli.addon import results, texts
from ohmykube.cli.bundle import options as of_bundles
from ohmykube.cli.cluster import deletions
from ohmykube.cli.cluster.plan import show
from ohmykube.cli.image import options as of_cluster
from ohmykube.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ohmykube.cli._app import App
    from ohmykube.config.overrides import AddonChange

F = TypeVar("F", bound="Callable[..., Any]")
_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    of_cluster.cluster,
    click.option(
        "--plan", "plan_only", is_flag=True, help="Show what would be done, change nothing."
    ),
    of_bundles.offline,
    of_bundles.in_place,
    _options.output,
    _options.talk,
    _options.pass_app,
)


def options(function: F) -> F:
    """Add the cluster, how to go about it, and how to tell of it."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def change(
    app: App,
    changes: Sequence[AddonChange],
    *,
    name_option: str | None,
    plan_only: bool,
    yes: bool = False,
    offline: bool,
    bundles: tuple[Path, ...],
) -> None:
    """Bring a cluster to its last description with these changes, or show what that would do.

    Raises:
        NotFoundError: there is no such cluster.
        ConfigError: an add-on is not known, or does not go with the cluster.
    """
    from ohmykube.config.overrides import Overrides
    from ohmykube.workflows.up_values import UpOptions

    name = _names.choose(app, None, name_option)
    try:
        cluster = _cluster_file.existing(app, name, Overrides(addons=tuple(changes)))
    except ConfigError as error:
        if error.problems:
            error.hint = "ohmykube addon list"
        raise
    if not plan_only:
        app.acting()
    options = UpOptions(
        plan_only=plan_only,
        may_delete=None if yes else frozenset(),
        offline=offline,
        bundles=bundles,
    )
    result = deletions.bring_about(app, cluster, options)
    if plan_only:
        show(app, result, exit_code=False)
    else:
        content = results.changed(result, cluster.addons)
        app.show(content, texts.changed(result, cluster.addons))
