"""Bring back what works for a cluster besides its machines, where it has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.errors import OhmykubeError
from ohmykube.progress import Message
from ohmykube.providers.base import KeepsHelpers

if TYPE_CHECKING:
    from ohmykube.steps.context import Context


def restore_helpers(ctx: Context) -> None:
    """Start the helpers of a cluster that runs and have ended; say so where one cannot start.

    That is no failure of the command, which has something else to do or to tell.
    """
    if not isinstance(ctx.provider, KeepsHelpers):
        return
    try:
        ctx.provider.restore_helpers(ctx.cluster.name)
    except OhmykubeError as error:
        why = f": {error.why}" if error.why else ""
        text = f"{error.message}{why}; see: {error.hint}" if error.hint else f"{error.message}{why}"
        ctx.services.reporter.emit(Message(text=text, level="warning"))
