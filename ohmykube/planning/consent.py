"""Deletions are asked for: what destroys something is done with a yes, or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ohmykube.model.change import Plan


class ConsentNeeded(UsageError):
    """Nothing was touched; ``nodes`` are those that would be deleted."""

    nodes: tuple[str, ...] = ()


def check(cluster: str, plan: Plan, agreed: Iterable[str] | None) -> None:
    """Raise ConsentNeeded for a plan that deletes nodes that nobody has agreed to delete.

    Args:
        cluster: its name.
        plan: what would be done.
        agreed: names of nodes that may go; None for all.
    """
    nodes = tuple(one.node for one in plan.deletions)
    if agreed is None or set(nodes) <= set(agreed):
        return
    word = "node" if len(nodes) == 1 else "nodes"
    error = ConsentNeeded(
        f'cluster "{cluster}" would lose {word} {", ".join(nodes)}, with all data there',
        why=f"{plan.deletions[0].reason}, and deleting needs a yes",
        hint="the same command with --yes",
        id="OMK-U-280",
    )
    error.nodes = nodes
    raise error
