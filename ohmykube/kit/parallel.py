"""Bounded parallel calls: all are tried, the first failure is raised and carries the others."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from ohmykube.kit import failures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = TypeVar("T")
R = TypeVar("R")


def each(items: Iterable[T], call: Callable[[T], R], *, at_most: int = 8) -> list[R]:
    """Call ``call`` for each item in threads; results in the order of ``items``.

    All items are tried even if one fails. Of several failures the first, in order, is raised and
    carries the others (``failures.others``); a stop outweighs every error.
    """
    todo = list(items)
    if not todo:
        return []
    with ThreadPoolExecutor(max_workers=min(at_most, len(todo))) as pool:
        futures = [pool.submit(call, item) for item in todo]
    _raise_failures(*futures)
    return [future.result() for future in futures]


def together(left: Callable[[], T], right: Callable[[], R]) -> tuple[T, R]:
    """Do two things side by side; return both results. Both are tried; failures as ``each``."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        first, second = pool.submit(left), pool.submit(right)
    _raise_failures(first, second)
    return first.result(), second.result()


def _raise_failures(*futures: Future[Any]) -> None:
    failed = [error for future in futures if (error := future.exception()) is not None]
    if failed:
        raise failures.first(failed)
