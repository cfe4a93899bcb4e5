"""Unpack once on this host, and pack cheaper, what several nodes would have to gunzip each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.cache import repack
from ohmykube.errors import LockedError, PermissionDenied, ResourceError
from ohmykube.kit import amounts
from ohmykube.progress import Message, item

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ohmykube.cache.repack import Image
    from ohmykube.cache.store import Store
    from ohmykube.progress import Reporter

SEVERAL = 2
"""So many nodes have to lack an image before its layers are repacked for them: packing costs about
as much processor time as two nodes save by it."""


def repack_layers(reporter: Reporter, store: Store, images: Sequence[Image]) -> bool:
    """Repack what is worth it; tell whether anything was.

    A cache that cannot be written or is full costs time on the nodes, and no more.
    """
    todo = repack.plan(store, images)
    if not todo.images:
        return False
    try:
        count = len(todo.images)
        with item(reporter, amounts.count(count, "image"), "repacked"):
            repack.make(store, todo)
    except (LockedError, PermissionDenied, ResourceError) as error:
        text = f"layers are sent as they are: {error.message}"
        reporter.emit(Message(level="warning", text=text))
        return False
    return True
