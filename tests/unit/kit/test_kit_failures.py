"""No failure is lost: the first is raised, the others are told with it."""

from __future__ import annotations

import functools
import pickle
import threading
import traceback
from typing import TYPE_CHECKING

import pytest

from ohmykube.errors import Interrupted, NetworkError, NodeError, NotFoundError, ProviderError
from ohmykube.kit import failures, parallel

if TYPE_CHECKING:
    from collections.abc import Callable


def fail(error: BaseException) -> None:
    raise error


def test_the_first_carries_the_others() -> None:
    one, two, three = NodeError("one"), KeyError("two"), ProviderError("three", why="full")
    assert failures.first([one, two, three]) is one
    assert failures.others(one) == (two, three)
    text = "".join(traceback.format_exception(one))
    assert "also: KeyError: 'two'" in text
    assert "also: [OMK-P-013] three: full" in text


def test_one_alone_carries_nothing() -> None:
    error = NodeError("one")
    assert failures.first([error]) is error
    assert failures.others(error) == ()
    assert not hasattr(error, "__notes__")


def test_what_is_told_twice_is_told_once() -> None:
    one, two = NodeError("one"), NodeError("two")
    for _ in range(2):
        failures.first([one, two, one, two])
    assert failures.others(one) == (two,)
    assert len(one.__notes__) == 1


def test_a_stop_outweighs_every_error() -> None:
    error, stop = NodeError("ssh ended"), Interrupted("stopped on request")
    assert failures.first([error, stop]) is stop
    assert failures.others(stop) == (error,)
    assert failures.first([stop, Interrupted("stopped on request")]) is stop
    assert failures.others(stop) == (error,), "that all were stopped is one stop"


def test_others_of_others_and_of_causes_are_found() -> None:
    first = failures.told_with(NodeError("a"), failures.told_with(NodeError("b"), NodeError("c")))
    first.__cause__ = failures.told_with(NetworkError("cause"), NetworkError("other mirror"))
    assert [str(one) for one in failures.others(first)] == ["b", "c", "other mirror"]


def test_circles_end() -> None:
    one, two = NodeError("one"), NodeError("two")
    failures.told_with(one, two)
    failures.told_with(two, one)
    assert failures.others(one) == (two,)
    assert failures.others(two) == (one,)


def while_closing() -> None:
    try:
        fail(NodeError("first"))
    finally:
        fail(ProviderError("while closing"))


def translated() -> None:
    try:
        fail(NotFoundError("none here"))
    except NotFoundError as error:
        raise ProviderError("translated") from error


def handled() -> None:
    try:
        fail(KeyError("no entry"))
    except KeyError:
        fail(ProviderError("asked elsewhere"))


@pytest.mark.parametrize(
    ("call", "told"), [(while_closing, ["first"]), (translated, []), (handled, [])]
)
def test_what_an_error_hid_is_told_but_not_what_it_stands_for(
    call: Callable[[], None], told: list[str]
) -> None:
    with pytest.raises(ProviderError) as caught:
        call()
    assert [str(one) for one in failures.others(caught.value)] == told


def test_they_survive_pickling() -> None:
    again = pickle.loads(pickle.dumps(failures.first([NodeError("one"), ProviderError("two")])))
    assert [str(one) for one in failures.others(again)] == ["two"]


def test_undoing_follows_a_failure_only() -> None:
    done: list[str] = []
    with failures.undoing(lambda: done.append("undone")):
        done.append("made")
    assert done == ["made"]
    with pytest.raises(NodeError), failures.undoing(lambda: done.append("undone")):
        fail(NodeError("no"))
    assert done == ["made", "undone"]


def test_undoing_follows_a_stop_too() -> None:
    done: list[str] = []
    with pytest.raises(Interrupted), failures.undoing(lambda: done.append("undone")):
        fail(Interrupted("stopped"))
    assert done == ["undone"]


def test_what_fails_while_undoing_does_not_hide_the_first() -> None:
    first, second = NodeError("first"), ProviderError("second")
    with pytest.raises(NodeError) as caught, failures.undoing(lambda: fail(second)):
        fail(first)
    assert caught.value is first
    assert failures.others(first) == (second,)


def test_a_stop_while_undoing_is_a_stop() -> None:
    first, stop = NodeError("first"), Interrupted("stopped")
    with pytest.raises(Interrupted) as caught, failures.undoing(lambda: fail(stop)):
        fail(first)
    assert failures.others(caught.value) == (first,)


def test_closing_follows_always_and_its_own_failure_counts() -> None:
    done: list[str] = []
    with failures.closing(lambda: done.append("closed")):
        pass
    with pytest.raises(NodeError), failures.closing(lambda: done.append("closed")):
        fail(NodeError("no"))
    assert done == ["closed", "closed"]
    with pytest.raises(ProviderError), failures.closing(lambda: fail(ProviderError("full"))):
        pass
    with (
        pytest.raises(NodeError, match="no") as caught,
        failures.closing(lambda: fail(ProviderError("full"))),
    ):
        fail(NodeError("no"))
    assert [str(one) for one in failures.others(caught.value)] == ["full"]


def test_all_failures_side_by_side_are_told() -> None:
    with pytest.raises(NodeError, match="node 1") as caught:
        parallel.each(range(4), lambda n: fail(NodeError(f"node {n}")) if n % 2 else None)
    assert [str(one) for one in failures.others(caught.value)] == ["node 3"]


def test_a_stop_side_by_side_with_errors_is_a_stop() -> None:
    meet = threading.Barrier(2, timeout=30)

    def call(number: int) -> None:
        meet.wait()
        fail(Interrupted("stopped") if number else NodeError("ssh ended"))

    with pytest.raises(Interrupted) as caught:
        parallel.each(range(2), call)
    assert [str(one) for one in failures.others(caught.value)] == ["ssh ended"]


@pytest.mark.parametrize(("after", "left"), [(NodeError, 1), (Exception, 2), (BaseException, 3)])
def test_undoing_after_failures_of_a_class_alone(after: type[BaseException], left: int) -> None:
    done: list[str] = []
    for error in (NodeError("a"), NetworkError("b"), Interrupted("c")):
        with (
            pytest.raises(type(error)),
            failures.undoing(functools.partial(done.append, str(error)), after=after),
        ):
            fail(error)
    assert done == ["a", "b", "c"][:left]
