"""A watch ends with what the API server has, whatever happens on the way."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from ohmykube.kit.dialer import DirectDialer
from ohmykube.kube import api_watch
from ohmykube.kube.api_watch import ApiProblem, Watched
from tests.fake_api import FakeApi, certificate, service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

pytestmark = pytest.mark.linux
PORT = {"port": 80}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return certificate(tmp_path_factory.mktemp("tls"))


class Following:
    """A watch of services and how often it told of something."""

    def __init__(self, api: FakeApi, **access: Any) -> None:
        self.changes = 0
        told = {"servers": api.access.servers, "authority": api.access.authority}
        self.watched = Watched(
            type(api.access)(**{**told, "token": api.access.token, **access}),
            "/api/v1/services",
            lambda item: item["metadata"]["name"],
            self._changed,
            DirectDialer(),
        )

    def _changed(self) -> None:
        self.changes += 1

    @property
    def names(self) -> list[str]:
        return sorted(self.watched.objects.values())

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Following]:
        task = asyncio.create_task(self.watched.follow())
        try:
            yield self
        finally:
            task.cancel()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, half a minute at most."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.002)


def test_all_pages_are_read_and_changes_follow(files: tuple[str, str]) -> None:
    async def work() -> None:
        api = FakeApi(files)
        for name in "abcde":
            api.put("services", service(name, PORT))
        async with api.served(), Following(api).running() as found:
            await until(lambda: found.watched.complete and api.watched == 1)
            assert found.names == list("abcde")
            api.put("services", service("f", PORT))
            await until(lambda: found.names == list("abcdef"))
            api.delete("services", "default/a")
            await until(lambda: found.names == list("bcdef"))
            changes = found.changes
            api.put("services", service("b", {"port": 81}))  # nothing of what is kept
            api.say("services", bookmark(api))
            api.put("services", service("g", PORT))
            await until(lambda: found.names == list("bcdefg"))
            assert found.changes == changes + 1

    asyncio.run(work())


def bookmark(api: FakeApi) -> dict[str, Any]:
    about = {"resourceVersion": str(api.version), "annotations": {}}
    return {"type": "BOOKMARK", "object": {"kind": "Service", "metadata": about}}


GONE = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old"}}
ODD = {"type": "ERROR", "object": {"kind": "Status", "code": 500, "message": "etcd is gone"}}


@pytest.mark.parametrize(
    "happens",
    [
        lambda api: api.end_watches(),
        lambda api: api.end_watches(half=True),
        lambda api: api.say("services", GONE),
        lambda api: api.say("services", ODD),
        lambda api: api.say("services", {"type": "ADDED", "object": {}}),
        lambda api: api.say("services", {"type": "ADDED", "object": []}),
    ],
    ids=["ended", "cut off", "version too old", "another error", "no object", "no mapping"],
)
def test_what_changed_while_nothing_was_watched_is_found(
    files: tuple[str, str], happens: Callable[[FakeApi], None]
) -> None:
    async def work() -> None:
        api = FakeApi(files)
        api.put("services", service("a", PORT))
        async with api.served(), Following(api).running() as found:
            await until(lambda: api.watched == 1)
            happens(api)
            api.end_watches()
            api.put("services", service("b", PORT))
            await until(lambda: found.names == ["a", "b"])
            await until(lambda: found.watched.problem is None)

    asyncio.run(work())


def test_what_was_deleted_before_a_new_list_is_gone(files: tuple[str, str]) -> None:
    async def work() -> None:
        api = FakeApi(files)
        for name in "ab":
            api.put("services", service(name, PORT))
        async with api.served(), Following(api).running() as found:
            await until(lambda: api.watched == 1)
            api.say("services", GONE)
            api.end_watches()
            del api.objects["services"]["default/a"]
            await until(lambda: found.names == ["b"])

    asyncio.run(work())


@pytest.mark.parametrize(("status", "denied"), [(401, True), (403, True), (500, False)])
def test_a_refusal_is_told_and_ends_by_itself(
    files: tuple[str, str], status: int, denied: bool
) -> None:
    async def work() -> None:
        api = FakeApi(files)
        api.status = status
        async with api.served(), Following(api).running() as found:
            await until(lambda: found.watched.problem is not None)
            problem = found.watched.problem
            assert problem is not None
            assert problem.denied is denied
            assert str(status) in str(problem)
            assert not found.watched.complete
            api.status = 200
            api.put("services", service("a", PORT))
            await until(lambda: found.names == ["a"] and found.watched.problem is None)

    asyncio.run(work())


def test_a_wrong_token_is_a_refusal(files: tuple[str, str]) -> None:
    async def work() -> None:
        api = FakeApi(files)
        async with api.served(), Following(api, token="other").running() as found:
            await until(lambda: found.watched.problem is not None)
            assert found.watched.problem is not None
            assert found.watched.problem.denied

    asyncio.run(work())


def test_an_answer_that_ends_too_early_is_asked_for_again(files: tuple[str, str]) -> None:
    async def work() -> None:
        api = FakeApi(files)
        api.put("services", service("a", PORT))
        api.cut = True
        async with api.served(), Following(api).running() as found:
            await until(lambda: found.watched.problem is not None)
            assert "too early" in str(found.watched.problem)
            api.cut = False
            await until(lambda: found.names == ["a"])

    asyncio.run(work())


@pytest.mark.parametrize(
    ("head", "told"),
    [
        (b"", "answers nothing"),
        (b"what\r\n", "answers nothing"),
        (b"HTTP/1.1 often\r\n", "answers often"),
        (b"HTTP/1.1 404 Not Found\r\n", "answers 404 Not Found"),
    ],
)
def test_what_is_no_success_is_told_as_it_came(head: bytes, told: str) -> None:
    async def work() -> None:
        reader = asyncio.StreamReader()
        reader.feed_data(head)
        reader.feed_eof()
        await api_watch._accepted(reader)

    with pytest.raises(ApiProblem, match=f"{told}$"):
        asyncio.run(work())


def test_another_control_plane_is_asked_when_one_is_gone(files: tuple[str, str]) -> None:
    async def work() -> None:
        first, second = FakeApi(files), FakeApi(files)
        second.put("services", service("a", PORT))
        async with first.served(), second.served():
            servers = (*first.access.servers, *second.access.servers)
            async with Following(second, servers=servers).running() as found:
                await until(lambda: first.watched == 1)
                first.status = 503
                first.end_watches()
                await until(lambda: found.names == ["a"])

    asyncio.run(work())


def test_a_server_with_another_authority_is_not_believed(
    files: tuple[str, str], tmp_path: Path
) -> None:
    async def work() -> None:
        api, other = FakeApi(files), FakeApi(certificate(tmp_path))
        api.put("services", service("a", PORT))
        async with api.served(), other.served():
            authority = other.access.authority
            async with Following(api, authority=authority).running() as found:
                await until(lambda: found.watched.problem is not None)
                assert "CERTIFICATE_VERIFY_FAILED" in str(found.watched.problem)
                assert api.asked == []

    asyncio.run(work())
