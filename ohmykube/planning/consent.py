"""Deletions are asked for: what destroys something is done with a yes, or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.errors import UsageError
from ohmykube.model.change import RemoveAddon

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ohmykube.model.change import Plan


class ConsentNeeded(UsageError):
    """Nothing was touched; ``losses`` is what would be lost, as ``check`` takes it."""

    losses: tuple[str, ...] = ()


def check(cluster: str, plan: Plan, agreed: Iterable[str] | None) -> None:
    """Raise ConsentNeeded for a plan that destroys something that nobody has agreed to lose.

    Args:
        cluster: its name.
        plan: what would be done.
        agreed: what may go: names of nodes, and ``addon/NAME`` for add-ons that own data; None for
            everything.
    """
    removed = [one for one in plan.changes if isinstance(one, RemoveAddon) and one.owns]
    nodes = [one.node for one in plan.deletions]
    losses = (*nodes, *(f"addon/{one.addon}" for one in removed))
    if agreed is None or set(losses) <= set(agreed):
        return
    what = [f"add-on {one.addon} with {', '.join(one.owns)}" for one in removed]
    reason = "the description does not have it any more"
    if nodes:
        word = "node" if len(nodes) == 1 else "nodes"
        what.insert(0, f"{word} {', '.join(nodes)}, with all data there")
        reason = plan.deletions[0].reason
    error = ConsentNeeded(
        f'cluster "{cluster}" would lose {" and ".join(what)}',
        why=f"{reason}, and deleting needs a yes",
        hint="the same command with --yes",
        id="OMK-U-280",
    )
    error.losses = losses
    raise error
