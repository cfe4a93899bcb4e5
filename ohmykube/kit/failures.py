"""Several failures at once: the first is raised, the others are reported with it.

Things done side by side can fail together, and undoing what a failed attempt made can fail too.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, TypeVar

from ohmykube.errors import Explained

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

E = TypeVar("E", bound=BaseException)
_KEPT = "others"


def told_with(error: E, *others: BaseException) -> E:
    """Return ``error``, which carries ``others`` from now on: to the user, and to a traceback."""
    known = [*_carried(error), error]
    for other in others:
        if not any(other is one for one in known):
            known.append(other)
            error.add_note(f"also: {_line(other)}")
    # An ExceptionGroup would hide from handlers what kind of error this is.
    error.__dict__[_KEPT] = tuple(one for one in known if one is not error)
    return error


def others(error: BaseException) -> tuple[BaseException, ...]:
    """Return what else went wrong, each once: told with it or with its cause, or hidden by it.

    An error raised while another one was on its way (in a ``finally``, by what closes at the end of
    a ``with``) hides that one; Python keeps it as the context.
    """
    found: list[BaseException] = []
    seen: list[BaseException] = []
    todo = [error]
    while todo:
        one = todo.pop(0)
        if any(one is before for before in seen):
            continue
        seen.append(one)
        hidden = one.__context__ if not one.__suppress_context__ else None
        more = [*_carried(one), *([hidden] if isinstance(hidden, Explained) else [])]
        found += [other for other in more if not any(other is known for known in (error, *found))]
        todo += more + ([one.__cause__] if one.__cause__ is not None else [])
    return tuple(found)


def first(failures: Sequence[E]) -> E:
    """Return the one of ``failures`` to raise, with the others; a stop outweighs every error."""
    errors = [one for one in failures if isinstance(one, Exception)]
    stops = [one for one in failures if not isinstance(one, Exception)]
    return told_with((stops or errors)[0], *errors)


@contextlib.contextmanager
def undoing(
    undo: Callable[[], object], *, after: type[BaseException] = BaseException
) -> Iterator[None]:
    """Call ``undo`` when the block fails or is stopped; report its failures with the first one.

    Args:
        undo: takes back what the block did.
        after: only after a failure of this class.
    """
    try:
        yield
    except after as error:
        try:
            undo()
        except BaseException as second:  # noqa: BLE001 - raised or told with the first
            chosen = first([error, second])
            if chosen is not error:
                raise chosen from None
        raise


@contextlib.contextmanager
def closing(close: Callable[[], object]) -> Iterator[None]:
    """Call ``close`` at the end of the block; after a failure as ``undoing``."""
    with undoing(close):
        yield
    close()


def _carried(error: BaseException) -> tuple[BaseException, ...]:
    carried = error.__dict__.get(_KEPT, ())
    return tuple(one for one in carried if isinstance(one, BaseException))


def _line(error: BaseException) -> str:
    if isinstance(error, Explained):
        return f"[{error.id}] {error.message}" + (f": {error.why}" if error.why else "")
    return f"{type(error).__name__}: {error}"
