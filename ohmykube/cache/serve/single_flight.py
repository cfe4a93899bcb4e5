"""One fetch for all who want the same thing at the same time."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """Calls a function once for each key; concurrent callers share its outcome.

    A failure is shared too: with a registry that does not answer, ten clients wait as long as one.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._flying: dict[str, Future[T]] = {}

    def __len__(self) -> int:
        """How many calls are under way."""
        return len(self._flying)

    def do(self, key: str, call: Callable[[], T]) -> T:
        """Return what ``call`` returns, or raise what it raises."""
        with self._guard:
            flying = self._flying.get(key)
            mine = self._flying.setdefault(key, Future())
        if flying is not None:
            return flying.result()
        try:
            result = call()
        except BaseException as error:
            self._land(key)
            mine.set_exception(error)
            raise
        self._land(key)
        mine.set_result(result)
        return result

    def _land(self, key: str) -> None:
        with self._guard:
            del self._flying[key]
