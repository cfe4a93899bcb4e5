"""Refused changes as the error that ends a run before anything is touched."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ohmykube.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ohmykube.model.change import Plan, Refuse

LONGEST = 60
MOST_FIELDS = 3
"""Fields that are named beside one of several ways out."""


def error(cluster: str, plan: Plan, *, in_plan: bool = False) -> ConfigError:
    """Return the error that names all refusals of a plan, and each way out once.

    Args:
        cluster: its name.
        plan: what is refused of it.
        in_plan: the plan itself is shown, with all reasons: none is repeated for people.
    """
    found = ConfigError(
        f'cluster "{cluster}" exists and differs in what cannot be changed in place',
        problems=tuple(map(problem, alike(plan.refusals))),
        why=f"{len(plan.refusals)} refused: see the plan" if in_plan else None,
        hint="\n".join(_ways_out(plan.refusals)),
        id="OMK-C-180",
    )
    found.shows_all = not in_plan
    return found


def alike(refusals: Iterable[Refuse]) -> list[tuple[Refuse, ...]]:
    """Return refusals that differ in the node alone together, in their order."""
    found: dict[str, list[Refuse]] = {}
    for one in refusals:
        key = json.dumps([one.field, one.old, one.new, one.why, one.way_out])
        found.setdefault(key, []).append(one)
    return [tuple(group) for group in found.values()]


def problem(refused: Sequence[Refuse]) -> str:
    """Return one line for refusals that are alike: the field, both values and why not."""
    first = refused[0]
    nodes = [one.node for one in refused if one.node]
    of = f" of {'node' if len(nodes) == 1 else 'nodes'} {', '.join(nodes)}" if nodes else ""
    values = f"is {shown(first.old)} and cannot become {shown(first.new)}"
    return f"`{first.field}`{of} {values}: {first.why}"


def _ways_out(refusals: Iterable[Refuse]) -> list[str]:
    """Return what can be done instead; of several ways each says which fields it is for."""
    ways: dict[str, dict[str, None]] = {}
    for one in refusals:
        ways.setdefault(one.way_out, {})[one.field] = None
    return list(ways) if len(ways) == 1 else [f"{way}  ({_names(ways[way])})" for way in ways]


def _names(fields: Mapping[str, None]) -> str:
    names = list(fields)
    left = len(names) - MOST_FIELDS
    return ", ".join(names[:MOST_FIELDS]) + (f" and {left} more" if left > 0 else "")


def shown(value: Any) -> str:
    """Return a value as it is read in a sentence: one line, not too long; 2.0 is 2."""
    if value is None:
        return "not set"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = value if isinstance(value, str) and value.isprintable() and value else json.dumps(value)
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."
