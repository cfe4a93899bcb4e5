"""Which address a new node of a cluster gets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.providers.nspawn import layout

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ALL = tuple(layout.address(number) for number in range(layout.FIRST_HOST, layout.LAST_HOST + 1))
"""Addresses of nodes, in the order in which they are given."""


def free(node: str, described: Sequence[str], used: Mapping[str, str]) -> str:
    """Return the address of a node's place in the description, or else a free one; or ''.

    Args:
        node: the new one.
        described: the cluster's nodes in their order, by which addresses are given, whichever of
            them is made first.
        used: addresses of the nodes that are there, by their names.
    """
    places = dict(zip(described, ALL, strict=False))
    kept = {at for name, at in places.items() if name != node and name not in used}
    wished = [places[node]] if node in places else []
    rest = [*(at for at in ALL if at not in kept), *ALL]
    return next((at for at in (*wished, *rest) if at not in used.values()), "")
