"""What `up` does as far as that needs no node."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.steps.create_nodes import create_nodes
from ohmykube.steps.plan import make_plan
from ohmykube.steps.preflight import preflight
from ohmykube.steps.write_record import record_end, record_start

if TYPE_CHECKING:
    from ohmykube.model.machine import Machine
    from ohmykube.steps.context import Context


def begin(ctx: Context) -> dict[str, Machine]:
    """Make the machines and the record, as a run that is killed afterwards."""
    preflight(ctx)
    observed, plan = make_plan(ctx)
    record_start(ctx, observed, plan)
    return create_nodes(ctx, observed, plan, {})


def end(ctx: Context) -> None:
    """Complete the record of a run that has begun, as a whole one."""
    _, plan = make_plan(ctx)
    record_end(ctx, plan)
