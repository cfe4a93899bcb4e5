"""Who may be connected at once, and who goes."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import pytest

from ohmykube.cache.serve.connection_limit import ConnectionLimit

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
    limit = ConnectionLimit(2, 2)
    first, second, third, fourth = (pair[0] for pair in pairs[:4])
    assert limit.enter(first, NEAR, 0)
    assert limit.enter(second, NEAR, 0)
    limit.begin_request(first)
    limit.end_request(first)  # waits again, after the second
    ended = threading.Timer(0.05, limit.exit, (second,))
    ended.start()
    assert limit.enter(third, NEAR, 10)
    assert [is_open(pair) for pair in pairs[:3]] == [True, False, True]
    ended.join()
    limit.begin_request(first)
    limit.begin_request(third)
    assert not limit.enter(fourth, NEAR, 0.01), "who is being answered stays"
    assert is_open(pairs[0])
    limit.close_all(0.01)
    assert not is_open(pairs[0])
    assert not is_open(pairs[2])


def test_the_end_waits_for_those_that_end(pairs: list[Pair]) -> None:
    limit = ConnectionLimit(4, 2)
    for pair in pairs[:2]:
        assert limit.enter(pair[0], NEAR, 0)
    threads = [
        threading.Timer(0.05 * number, limit.exit, (pair[0],))
        for number, pair in enumerate(pairs[:2], 1)
    ]
    for thread in threads:
        thread.start()
    limit.close_all(10)
    assert limit.enter(pairs[2][0], NEAR, 0)
    assert not limit._waiting.keys() & {pair[0] for pair in pairs[:2]}, "both have left"
    for thread in threads:
        thread.join()


def test_one_address_gets_a_share(pairs: list[Pair]) -> None:
    limit = ConnectionLimit(4, 2)
    for pair in pairs[:2]:
        assert limit.enter(pair[0], FAR, 0)
        limit.begin_request(pair[0])
    assert not limit.enter(pairs[2][0], FAR, 0.01)
    assert limit.enter(pairs[3][0], "192.0.2.8", 0)
    limit.exit(pairs[0][0])
    assert limit.enter(pairs[2][0], FAR, 0)
    assert not limit.enter(pairs[0][0], FAR, 0.01)
    assert not is_open(pairs[2]), "its own one that waits was ended, not another's"
    assert is_open(pairs[3])


def test_tunnels_all_come_from_the_loopback(pairs: list[Pair]) -> None:
    limit = ConnectionLimit(4, 1)
    assert all(limit.enter(pair[0], address, 0) for pair, address in
               zip(pairs, (NEAR, NEAR, "::1", "::1"), strict=False))  # fmt: skip
