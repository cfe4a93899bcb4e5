"""Look whether this host can do the work, before anything is touched."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.errors import PrerequisiteError
from ohmykube.progress import Message
from ohmykube.providers.base import CheckStatus, doctor_command

if TYPE_CHECKING:
    from ohmykube.steps.base import Run


class Preflight:
    """The provider's own checks; a failed one ends the run, a warning is said."""

    name = "preflight"
    title = "Check this host"

    def run(self, run: Run) -> str:
        """Raise PrerequisiteError naming all failed checks."""
        checks = run.provider.check()
        for check in checks:
            if check.status is CheckStatus.WARN:
                text = f"{check.title}: {check.evidence}"
                run.services.reporter.emit(Message(text=text, level="warning"))
        failed = [
            check
            for check in checks
            if check.status is CheckStatus.FAIL and not (check.for_network and run.offline)
        ]
        if failed:
            raise PrerequisiteError(
                f"this host cannot make machines with {run.provider.name}",
                why="\n".join(f"{c.title}: {c.evidence or c.fix}" for c in failed),
                hint=doctor_command(run.provider.name, failed),
            )
        return f"provider {run.provider.name}"
