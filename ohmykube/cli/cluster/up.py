"""``ohmykube up``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ohmykube.cli import _numbers, _options
from ohmykube.cli._lazy import Command
from ohmykube.cli.cluster import deletions, options, results, texts
from ohmykube.cli.cluster.plan import show
from ohmykube.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from ohmykube.cli._app import App

LONGEST_WAIT = 86_400


@click.command(
    cls=Command,
    examples=(
        "ohmykube up",
        "ohmykube up --workers 3 --kubernetes 1.36.3",
        "ohmykube up --workers 1 --yes",
        "ohmykube up -f other.yaml --plan",
        "ohmykube config template | ohmykube up -f -",
        "ohmykube up -f cluster.yaml --offline --bundle dev.omk.tar",
    ),
)
@options.described
@click.option("--plan", "plan_only", is_flag=True, help="Show what would be done, change nothing.")
@options.exit_code
@click.option(
    "--verify",
    is_flag=True,
    help="Let the roles look at every node, also where nothing seems to differ.",
)
@click.option(
    "--yes", is_flag=True, help="Do not ask before nodes, or add-ons with data, are deleted."
)
@click.option(
    "--forget-unreachable",
    is_flag=True,
    help="Also delete nodes whose hosts cannot be reached; what is on them stays.",
)
@click.option(
    "--timeout",
    type=_numbers.Whole(1, LONGEST_WAIT),
    metavar="SECONDS",
    help="How long nodes may take to become ready (default: 600, more for emulated ones).",
)
@_options.output
@_options.talk
@_options.pass_app
def up(
    app: App,
    /,
    *,
    file: Path | None,
    plan_only: bool,
    exit_code: bool,
    verify: bool,
    yes: bool,
    forget_unreachable: bool,
    timeout: int | None,
    **chosen: Any,
) -> None:
    """Make a cluster, or bring an existing one to what is described.

    Without a file and a name it is that of cluster.yaml in this directory; where there is none, it
    has one control plane and two workers. Can be stopped at any moment and run again;
    it then finishes the job. Nodes that are not described any more are deleted, after a question.
    """
    from ohmykube.workflows.up_values import UpOptions

    if exit_code and not plan_only:
        raise UsageError("--exit-code goes with --plan", hint="ohmykube plan", id="OMK-U-114")
    cluster = options.cluster(app, file, chosen)
    if not plan_only:
        app.acting()
    wanted = UpOptions(
        plan_only=plan_only,
        verify=verify,
        may_delete=None if yes else frozenset(),
        forget_unreachable=forget_unreachable,
        wait_seconds=timeout,
        offline=chosen["offline"],
        bundles=chosen["bundles"],
        allowed_signers=chosen["allowed_signers"],
    )
    result = deletions.bring_about(app, cluster, wanted)
    if plan_only:
        show(app, result, exit_code=exit_code)
    else:
        app.show(results.up(result), texts.up(result))
