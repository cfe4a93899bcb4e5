"""Who may be connected at once, and who goes."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import pytest

from ohmykube.cache.serve.connection_limit import Places

if TYPE_CHECKING:
    from collections.abc import Iterator

FAR, NEAR = "192.0.2.7", "127.0.0.1"
Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pairs() -> Iterator[list[Pair]]:
    made = [socket.socketpair() for _ in range(6)]
    yield made
    for pair in made:
        for one in pair:
            one.close()


def is_open(pair: Pair) -> bool:
    pair[1].setblocking(False)
    try:
        return pair[1].recv(1) != b""
    except BlockingIOError:
        return True


def test_who_waits_longest_goes(pairs: list[Pair]) -> None:
    places = Places(2, 2)
    first, second, third, fourth = (pair[0] for pair in pairs[:4])
    assert places.take(first, NEAR, 0)
    assert places.take(second, NEAR, 0)
    places.asks(first)
    places.waits(first)  # waits again, after the second
    ended = threading.Timer(0.05, places.leave, (second,))
    ended.start()
    assert places.take(third, NEAR, 10)
    assert [is_open(pair) for pair in pairs[:3]] == [True, False, True]
    ended.join()
    places.asks(first)
    places.asks(third)
    assert not places.take(fourth, NEAR, 0.01), "who is being answered stays"
    assert is_open(pairs[0])
    places.hang_up(0.01)
    assert not is_open(pairs[0])
    assert not is_open(pairs[2])


def test_the_end_waits_for_those_that_end(pairs: list[Pair]) -> None:
    places = Places(4, 2)
    for pair in pairs[:2]:
        assert places.take(pair[0], NEAR, 0)
    threads = [
        threading.Timer(0.05 * number, places.leave, (pair[0],))
        for number, pair in enumerate(pairs[:2], 1)
    ]
    for thread in threads:
        thread.start()
    places.hang_up(10)
    assert places.take(pairs[2][0], NEAR, 0)
    assert not places._waiting.keys() & {pair[0] for pair in pairs[:2]}, "both have left"
    for thread in threads:
        thread.join()


def test_one_address_gets_a_share(pairs: list[Pair]) -> None:
    places = Places(4, 2)
    for pair in pairs[:2]:
        assert places.take(pair[0], FAR, 0)
        places.asks(pair[0])
    assert not places.take(pairs[2][0], FAR, 0.01)
    assert places.take(pairs[3][0], "192.0.2.8", 0)
    places.leave(pairs[0][0])
    assert places.take(pairs[2][0], FAR, 0)
    assert not places.take(pairs[0][0], FAR, 0.01)
    assert not is_open(pairs[2]), "its own one that waits was ended, not another's"
    assert is_open(pairs[3])


def test_tunnels_all_come_from_the_loopback(pairs: list[Pair]) -> None:
    places = Places(4, 1)
    assert all(places.take(pair[0], address, 0) for pair, address in
               zip(pairs, (NEAR, NEAR, "::1", "::1"), strict=False))  # fmt: skip
