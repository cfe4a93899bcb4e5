"""Refused changes as the error that ends a run before anything is touched."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ohmykube.errors import ConfigError

if TYPE_CHECKING:
    from ohmykube.model.change import Plan, Refuse

LONGEST = 60


def error(cluster: str, plan: Plan) -> ConfigError:
    """Return the error that names all refusals of a plan."""
    return ConfigError(
        f'cluster "{cluster}" exists and differs in what cannot be changed in place',
        problems=tuple(problem(one) for one in plan.refusals),
        hint=f"ohmykube up --name OTHER, or first ohmykube down {cluster}",
        id="OMK-C-180",
    )


def problem(refused: Refuse) -> str:
    """Return one line: the field, both values, why not, and what to do instead."""
    place = f"`{refused.field}`" + (f" of node {refused.node}" if refused.node else "")
    values = f"is {shown(refused.old)} and cannot become {shown(refused.new)}"
    return f"{place} {values}: {refused.why}; {refused.way_out}"


def shown(value: Any) -> str:
    """Return a value as it is read in a sentence: one line, not too long."""
    if value is None:
        return "not set"
    text = value if isinstance(value, str) and value.isprintable() and value else json.dumps(value)
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."
