"""``ohmykube plan``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ohmykube.cli import _options
from ohmykube.cli._lazy import Command
from ohmykube.cli.cluster import options, plan_results
from ohmykube.errors import ExitCode

if TYPE_CHECKING:
    from pathlib import Path

    from ohmykube.cli._app import App
    from ohmykube.workflows.up_values import UpResult


@click.command(
    cls=Command,
    examples=(
        "ohmykube plan -f cluster.yaml",
        "ohmykube plan --workers 3",
        "ohmykube plan -f cluster.yaml --exit-code",
        "ohmykube plan -f cluster.yaml -o json",
    ),
)
@options.described
@options.exit_code
@_options.output
@_options.talk
@_options.pass_app
def plan(app: App, /, *, file: Path | None, exit_code: bool, **chosen: Any) -> None:
    """Show what `up` would do to a cluster, and change nothing.

    Compares the description with what `up` did before and with the machines there are. What cannot
    be changed is shown with the way out, and makes the exit code 3.
    """
    from ohmykube.workflows import up as workflow
    from ohmykube.workflows.up_values import UpOptions

    cluster = options.cluster(app, file, chosen)
    wanted = UpOptions(
        plan_only=True,
        offline=chosen["offline"],
        bundles=chosen["bundles"],
        allowed_signers=chosen["allowed_signers"],
    )
    show(app, app.call(workflow.up, cluster, wanted), exit_code=exit_code)


def show(app: App, result: UpResult, *, exit_code: bool) -> None:
    """Show a plan.

    Args:
        app: as always.
        result: has the plan.
        exit_code: end with a code of its own when something would change.

    Raises:
        ConfigError: something in it is refused.
    """
    refused = bool(result.plan.refusals)
    app.show(
        plan_results.document(result, app.advised), plan_results.text(result), final=not refused
    )
    if refused:
        from ohmykube.planning import refusal

        raise refusal.error(result.cluster, result.plan, in_plan=True)
    if exit_code and result.plan.changes:
        click.get_current_context().exit(int(ExitCode.CHANGES))
