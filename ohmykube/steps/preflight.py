"""Look whether this host can do the work, before anything is touched."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.errors import PrerequisiteError
from ohmykube.progress import Message
from ohmykube.providers.base import CheckStatus, doctor_command
from ohmykube.steps.step import Step

if TYPE_CHECKING:
    from ohmykube.steps.context import Context

PREFLIGHT = Step("preflight", "Check this host")


def preflight(ctx: Context) -> None:
    """Do the provider's own checks; a warning among them is told.

    Raises:
        PrerequisiteError: names all checks that failed.
    """
    provider = ctx.provider
    with PREFLIGHT.running(ctx.services) as result:
        checks = provider.check()
        for check in checks:
            if check.status is CheckStatus.WARN:
                text = f"{check.title}: {check.evidence}"
                ctx.services.reporter.emit(Message(text=text, level="warning"))
        failed = [
            check
            for check in checks
            if check.status is CheckStatus.FAIL and not (check.for_network and ctx.options.offline)
        ]
        if failed:
            raise PrerequisiteError(
                f"this host cannot make machines with {provider.name}",
                why="\n".join(f"{c.title}: {c.evidence or c.fix}" for c in failed),
                hint=doctor_command(provider.name, failed),
            )
        result.detail = f"provider {provider.name}"
