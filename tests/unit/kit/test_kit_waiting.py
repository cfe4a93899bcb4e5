from __future__ import annotations

import threading

import pytest

from ohmykube.errors import Interrupted, TimeoutExceeded
from ohmykube.kit import failures, interrupt
from ohmykube.kit.parallel import each, together
from ohmykube.kit.retry import SystemClock, Wait, until
from tests.fake_clock import FakeClock


def test_until_returns_the_first_result_that_is_not_none() -> None:
    answers = iter([None, None, 0])
    clock = FakeClock()
    assert until(clock, Wait(seconds=10), "it", lambda: next(answers)) == 0
    assert clock.sleeps == [0.3, 0.3]


def test_pauses_grow_up_to_the_longest() -> None:
    clock = FakeClock()
    wait = Wait(seconds=16, every=1, factor=2, longest=5)
    with pytest.raises(TimeoutExceeded, match="gave up waiting for the node after 16 s"):
        until(clock, wait, "the node", lambda: None)
    assert clock.sleeps == [1, 2, 4, 5, 4]


def test_the_last_look_is_at_the_deadline() -> None:
    clock = FakeClock()
    wait = Wait(seconds=7, every=5)
    assert until(clock, wait, "it", lambda: "there" if clock.now() >= 7 else None) == "there"


def test_who_is_slow_to_answer_is_left_alone_as_long_again() -> None:
    clock = FakeClock()
    costs = iter([0.1, 4, 4])

    def slow() -> None:
        clock.time += next(costs)

    with pytest.raises(TimeoutExceeded):
        until(clock, Wait(seconds=16.4, every=0.3, rest=2), "it", slow)
    assert clock.sleeps == pytest.approx([0.3, 8])


def test_no_time_means_one_look() -> None:
    looks: list[int] = []
    with pytest.raises(TimeoutExceeded):
        until(FakeClock(), Wait(seconds=0), "it", lambda: looks.append(1))
    assert looks == [1]


def test_rounding_does_not_spin() -> None:
    clock = FakeClock()
    clock.time = 1e12 + 0.1
    with pytest.raises(TimeoutExceeded):
        until(clock, Wait(seconds=0.9, every=0.1), "it", lambda: None)
    assert len(clock.sleeps) < 20


def test_the_system_clock_sleeps_and_is_interrupted() -> None:
    clock = SystemClock()
    before = clock.now()
    clock.sleep(0.01)
    assert clock.now() > before
    interrupt.check()
    interrupt.requested.set()
    with pytest.raises(Interrupted) as caught:
        clock.sleep(60)
    assert caught.value.hint == "run the same command again to go on"
    with pytest.raises(Interrupted):
        interrupt.check()


def test_each_keeps_the_order_and_the_bound() -> None:
    lock = threading.Lock()
    running: list[int] = []
    most: list[int] = []

    def call(number: int) -> int:
        with lock:
            running.append(number)
            most.append(len(running))
        threading.Event().wait(0.001)
        with lock:
            running.remove(number)
        return number * 2

    assert each(range(20), call, at_most=3) == [n * 2 for n in range(20)]
    assert max(most) <= 3


def test_each_really_works_at_the_same_time() -> None:
    barrier = threading.Barrier(4)
    assert each(range(4), lambda n: barrier.wait(30) * 0 + n, at_most=4) == [0, 1, 2, 3]


def test_each_tries_all_and_raises_the_first_failure_in_order() -> None:
    tried: list[int] = []

    def call(number: int) -> None:
        tried.append(number)
        if number in (1, 3):
            raise ValueError(number)

    with pytest.raises(ValueError, match="1") as caught:
        each(range(5), call, at_most=1)
    assert caught.value.args == (1,)
    assert tried == [0, 1, 2, 3, 4]


def test_each_of_nothing() -> None:
    assert each([], str) == []


def test_together_is_side_by_side() -> None:
    barrier = threading.Barrier(2)
    assert together(lambda: barrier.wait(30) * 0, lambda: f"{barrier.wait(30) * 0}") == (0, "0")


@pytest.mark.parametrize("slow", [0, 1])
def test_of_two_things_together_both_are_tried(slow: int) -> None:
    failed, done = threading.Event(), threading.Event()

    def fail() -> None:
        failed.set()
        raise ValueError("no")

    def work() -> None:
        assert failed.wait(30)
        done.set()

    with pytest.raises(ValueError, match="no"):
        together(*((work, fail), (fail, work))[slow])
    assert done.is_set()


def test_of_two_things_together_every_failure_is_told() -> None:
    def fail(text: str) -> None:
        raise ValueError(text)

    with pytest.raises(ValueError, match="disk full") as caught:
        together(lambda: fail("disk full"), lambda: fail("no key"))
    assert [str(one) for one in failures.others(caught.value)] == ["no key"]


def test_of_two_things_together_a_stop_outweighs_an_error() -> None:
    def stop() -> None:
        raise Interrupted("stopped")

    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(Interrupted):
        together(fail, stop)
