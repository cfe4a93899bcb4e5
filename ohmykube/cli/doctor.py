"""``ohmykube doctor``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypedDict

import click

from ohmykube.cli import _options
from ohmykube.cli._lazy import Command
from ohmykube.cli._output import document
from ohmykube.errors import PrerequisiteError
from ohmykube.providers.base import CheckStatus, doctor_command
from ohmykube.ui.tables import table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ohmykube.cli._app import App
    from ohmykube.providers.base import Check
    from ohmykube.workflows.doctor import DoctorReport


class Finding(TypedDict):
    """One check of ``ohmykube doctor``."""

    id: str
    title: str
    status: Literal["ok", "note", "warn", "fail"]
    evidence: str
    fix: str


class Doctor(TypedDict):
    """``ohmykube doctor``."""

    healthy: bool
    checks: list[Finding]
    fixed: list[str]


KINDS: dict[str, type] = {"DoctorReport": Doctor}
"""Document kinds by name."""


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
    help="Provider to check for.",
)
@_options.output
@_options.talk
@_options.pass_app
def doctor(app: App, *, fix: bool, provider: str) -> None:
    """Check whether this host can make clusters; changes nothing without --fix.

    The exit code is 7 when a check fails, 0 otherwise.
    """
    from ohmykube.workflows import doctor as workflow

    if fix:
        app.acting()
    report = app.call(workflow.doctor, provider, fix=fix)
    if report.healthy:
        app.show(_document(report), lambda: _text(report))
        return
    app.show(_document(report), lambda: _text(report), final=False)
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


def _document(report: DoctorReport) -> dict[str, Any]:
    return document(
        "DoctorReport",
        {
            "healthy": report.healthy,
            "checks": [_check(check) for check in report.checks],
            "fixed": list(report.fixed),
        },
    )


def _check(check: Check) -> dict[str, str]:
    return {
        "id": check.id,
        "title": check.title,
        "status": str(check.status),
        "evidence": check.evidence,
        "fix": check.fix,
    }


def _text(report: DoctorReport) -> str:
    failed = CheckStatus.FAIL
    rows = [
        ("FAIL" if c.status is failed else c.status, c.title, c.evidence) for c in report.checks
    ]
    text = table(("state", "check", "found"), rows)
    fixes = [c for c in report.checks if c.fix and c.status is not CheckStatus.OK]
    if fixes:
        text += "\n" + "".join(f"{c.title}: {c.fix}\n" for c in fixes)
    if report.fixed:
        text += f"\nInstalled: {' '.join(report.fixed)}\n"
    return text
