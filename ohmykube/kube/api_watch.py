"""All objects of a kind, kept up to date by a watch of the API; for processes that must stay small.

Kubernetes' rules for that: list, then watch from the list's resource version on; when that version
is too old (410), list again (API concepts, "Efficient detection of changes").
"""

from __future__ import annotations

import asyncio
import json
import ssl
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from ohmykube.kit.tcp_forward import keep_alive
from ohmykube.model.networks import host_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from ohmykube.kit.dialer import Dialer
    from ohmykube.model.exposure import ApiAccess

PAGE = 100
"""Objects that are read at once."""
WATCH_SECONDS = 300
"""After which the API server ends a watch, and the next one begins."""
_ANSWER_SECONDS = 10
_LARGEST = 16 << 20
"""Bytes of one event at most; an object has 1.5 MiB in etcd."""
_PAUSES = (0.2, 0.5, 1.0, 2.0)
"""Seconds before the next attempt, the last one for all that follow."""
_GONE = 410
_DENIED = (401, 403)


class ApiProblem(Exception):
    """The API server did not answer as it should; ``code`` is that of HTTP, 0 without an answer."""

    def __init__(self, text: str, code: int = 0) -> None:
        super().__init__(text)
        self.code = code

    @property
    def denied(self) -> bool:
        """Tell whether it does not know the token, or not allow the question."""
        return self.code in _DENIED


class Watched:
    """What the objects of one kind come to.

    Args:
        access: the way to the API.
        path: of the kind, such as ``/api/v1/services``.
        reduced: what is kept of an object.
        changed: called with each change, and with each problem.
        dialer: the way to the API server.
        selector: further words of the query.
    """

    def __init__(
        self,
        access: ApiAccess,
        path: str,
        reduced: Callable[[Mapping[str, Any]], Any],
        changed: Callable[[], None],
        dialer: Dialer,
        *,
        selector: str = "",
    ) -> None:
        self._access = access
        self._path = path
        self._selector = selector
        self._reduced = reduced
        self._changed = changed
        self._dialer = dialer
        self._tls = _tls(access)
        self._server = 0
        self.objects: dict[str, Any] = {}
        """By uid."""
        self.complete = False
        """All of them have been read at least once."""
        self.problem: ApiProblem | None = None

    async def follow(self) -> None:
        """Keep ``objects`` up to date until cancelled."""
        version, failures = "", 0
        while True:
            try:
                version = version or await self._list()
                self._well()
                version, failures = await self._watch(version), 0
                await asyncio.sleep(_PAUSES[0])  # one that ends all watches at once is not urged
            except (ApiProblem, LookupError, TypeError) as error:
                problem = error if isinstance(error, ApiProblem) else _odd(error)
                if problem.code == _GONE or problem is not error:
                    version = ""
                if problem.code == _GONE:
                    continue
                self.problem = problem
                self._changed()
                self._server += 1
                await asyncio.sleep(_PAUSES[min(failures, len(_PAUSES) - 1)])
                failures += 1

    def _well(self) -> None:
        if self.problem is not None or not self.complete:
            self.problem, self.complete = None, True
            self._changed()

    async def _list(self) -> str:
        """Read all objects; return the version that a watch goes on from."""
        found: dict[str, Any] = {}
        more = ""
        while True:
            query = f"limit={PAGE}{self._selector}" + (f"&continue={more}" if more else "")
            document = _parsed(await self._body(query))
            for item in document["items"]:
                found[item["metadata"]["uid"]] = self._reduced(item)
            more = document["metadata"].get("continue", "")
            if not more:
                break
        if found != self.objects:
            self.objects = found
            self._changed()
        return str(document["metadata"]["resourceVersion"])

    async def _body(self, query: str) -> bytes:
        async with aclosing(self._lines(query)) as lines:
            return b"".join([line async for line in lines])

    async def _watch(self, version: str) -> str:
        """Follow the changes from a version on until the server ends that; return the last one."""
        query = (
            f"watch=1&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}"
            f"&resourceVersion={version}{self._selector}"
        )
        async with aclosing(self._lines(query, WATCH_SECONDS + _ANSWER_SECONDS)) as lines:
            async for line in lines:
                version = self._changed_by(_parsed(line)) or version
        return version

    def _changed_by(self, event: Mapping[str, Any]) -> str:
        item = event["object"]
        if event["type"] == "ERROR":
            raise ApiProblem(str(item.get("message")), int(item.get("code", 0)))
        if event["type"] != "BOOKMARK":
            uid = item["metadata"]["uid"]
            before = self.objects.pop(uid, None)
            after = None if event["type"] == "DELETED" else self._reduced(item)
            if after is not None:
                self.objects[uid] = after
            if after != before:
                self._changed()
        return str(item["metadata"]["resourceVersion"])

    async def _lines(
        self, query: str, seconds: float = _ANSWER_SECONDS
    ) -> AsyncGenerator[bytes, None]:
        """Ask, and return the lines of the answer's body; each may take ``seconds``."""
        servers = self._access.servers
        server = servers[self._server % len(servers)]
        host, port = host_of(server), server.rpartition(":")[2]
        writer = None
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                found = await self._dialer.connect((host, int(port)))
                # A node that is gone is noticed within some seconds.
                keep_alive(found, idle=5, every=2, times=3)
                reader, writer = await asyncio.open_connection(
                    sock=found,
                    ssl=self._tls,
                    # kubeadm's certificates have this name, wherever the server is reached.
                    server_hostname="kubernetes",
                    limit=_LARGEST,
                )
                writer.write(self._question(query))
                await _accepted(reader)
            while True:
                async with asyncio.timeout(seconds):
                    line = await reader.readline()
                if not line:
                    return
                yield line
        except (OSError, ValueError, asyncio.IncompleteReadError) as error:
            reason = str(error) or type(error).__name__
            raise ApiProblem(f"the API server at {server} does not answer: {reason}") from error
        finally:
            if writer is not None:
                writer.transport.abort()

    def _question(self, query: str) -> bytes:
        # By HTTP/1.0 a body is no more than what comes until the end of the connection.
        lines = (
            f"GET {self._path}?{query} HTTP/1.0",
            "Host: kubernetes",
            f"Authorization: Bearer {self._access.token}",
            "Accept: application/json",
            "User-Agent: ohmykube-ports",
        )
        return "\r\n".join((*lines, "", "")).encode()


def _odd(error: Exception) -> ApiProblem:
    return ApiProblem(f"the API server answers what is no list and no event: {error!r}")


def _parsed(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ApiProblem("the API server ended its answer too early") from error


async def _accepted(reader: asyncio.StreamReader) -> None:
    """Read the head of an answer; raises ApiProblem for one that is none of success."""
    status = (await reader.readline()).decode("latin-1").split(" ", 2)
    while (await reader.readline()).strip():
        pass
    code = int(status[1]) if len(status) > 1 and status[1].isdecimal() else 0
    if code != 200:
        raise ApiProblem(
            f"the API server answers {' '.join(status[1:]).strip() or 'nothing'}", code
        )


def _tls(access: ApiAccess) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=access.authority)
    return context
