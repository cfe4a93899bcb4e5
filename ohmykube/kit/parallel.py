"""Bounded parallel calls: all are tried, failures are collected, the first is raised."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = TypeVar("T")
R = TypeVar("R")


def each(items: Iterable[T], call: Callable[[T], R], *, at_most: int = 8) -> list[R]:
    """Call ``call`` for each item in threads; results in the order of ``items``.

    All items are tried even if one fails; then the first failure, in order, is raised.
    """
    todo = list(items)
    if not todo:
        return []
    with ThreadPoolExecutor(max_workers=min(at_most, len(todo))) as pool:
        futures = [pool.submit(call, item) for item in todo]
    return [future.result() for future in futures]
