"""Bounded parallel calls: all are tried, the first failure is raised and carries the others."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from ohmykube.kit import failures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

T = TypeVar("T")
R = TypeVar("R")


def each(items: Iterable[T], call: Callable[[T], R], *, at_most: int = 8) -> list[R]:
    """Call ``call`` for each item in threads; results in the order of ``items``.

    All items are tried even if one fails; then as ``results``.
    """
    todo = list(items)
    if not todo:
        return []
    with ThreadPoolExecutor(max_workers=min(at_most, len(todo))) as pool:
        futures = [pool.submit(call, item) for item in todo]
    return results(futures)


def results(futures: Sequence[Future[R]]) -> list[R]:
    """Return the results of calls that have ended.

    Of several failures the first, in order, is raised and carries the others (``failures.others``);
    a stop outweighs every error.
    """
    failed = [error for future in futures if (error := future.exception()) is not None]
    if failed:
        raise failures.first(failed)
    return [future.result() for future in futures]
