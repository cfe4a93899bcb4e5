"""``ohmykube doctor``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ohmykube.cli import _documents, _options, _texts
from ohmykube.cli._lazy import Command
from ohmykube.errors import PrerequisiteError
from ohmykube.providers.base import doctor_command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ohmykube.cli._app import App
    from ohmykube.providers.base import Check


@click.command(
    cls=Command,
    examples=("ohmykube doctor", "sudo ohmykube doctor --fix", "ohmykube doctor --provider ssh"),
)
@click.option("--fix", is_flag=True, help="Install what is missing (needs root).")
@click.option(
    "--provider",
    default="auto",
    show_default=True,
    shell_complete=_options.complete_providers,
    help="Check for this provider.",
)
@_options.output
@_options.talk
@_options.pass_app
def doctor(app: App, *, fix: bool, provider: str) -> None:
    """Check whether this host can make clusters; changes nothing without --fix.

    Exit code 0 when no check failed, 7 otherwise.
    """
    from ohmykube.workflows import doctor as workflow

    if fix:
        app.acting()
    report = app.call(workflow.doctor, provider, fix=fix)
    if report.healthy:
        app.show(_documents.doctor(report), lambda: _texts.doctor(report))
        return
    app.show(_documents.doctor(report), lambda: _texts.doctor(report), final=False)
    failed = [check for check in report.checks if check.status == "fail"]
    raise PrerequisiteError(
        f"{len(failed)} of {len(report.checks)} checks failed",
        why="\n".join(check.title for check in failed),
        hint=_next(provider, () if fix else failed),
        id="OMK-H-109",
    )


def _next(provider: str, failed: Sequence[Check]) -> str:
    command = doctor_command(provider, failed)
    if any(check.packages for check in failed):
        return f"sudo {command}"
    return f"do what is said above, then: {command}"
