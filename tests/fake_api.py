"""An API server that knows services and pods, lists and watches, and can be told to misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from ohmykube.model.exposure import ApiAccess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TOKEN = "t0ken"
PAGE = 2
"""Objects that it returns at once, however many are asked for."""


def certificate(directory: Path) -> tuple[str, str]:
    """Return the files of a certificate for ``kubernetes`` and of its key."""
    cert, key = str(directory / "api.pem"), str(directory / "api.key")
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    argv += ["-nodes", "-keyout", key, "-out", cert, "-days", "2", "-subj", "/CN=api"]
    argv += ["-addext", "subjectAltName=DNS:kubernetes"]
    subprocess.run(argv, check=True, capture_output=True)
    return cert, key


class FakeApi:
    """Objects by their kind and name; each change has a version."""

    def __init__(self, files: tuple[str, str]) -> None:
        self._files = files
        self.version = 1
        self.objects: dict[str, dict[str, dict[str, Any]]] = {"services": {}, "pods": {}}
        self.status = 200
        self.cut = False
        """Answers end in the middle."""
        self.asked: list[str] = []
        """Paths and queries."""
        self._watches: list[tuple[str, asyncio.StreamWriter]] = []
        self._writers: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None
        self.access: ApiAccess

    @contextlib.asynccontextmanager
    async def served(self, port: int = 0) -> AsyncIterator[FakeApi]:
        """Serve while the block runs."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self._files)
        server = await asyncio.start_server(self._answer, "127.0.0.1", port, ssl=context)
        place = "{}:{}".format(*server.sockets[0].getsockname())
        authority = Path(self._files[0]).read_text()
        self.access = ApiAccess(servers=(place,), authority=authority, token=TOKEN)
        try:
            yield self
        finally:
            self.end_watches()
            server.close()
            for writer in self._writers:  # a relay in between may not have said farewell
                writer.transport.abort()
            await asyncio.sleep(0)

    def put(self, kind: str, item: dict[str, Any]) -> None:
        """Make or change an object."""
        name = f"{item['metadata']['namespace']}/{item['metadata']['name']}"
        before = self.objects[kind].get(name)
        self.version += 1
        item["metadata"] |= {"uid": f"{kind}/{name}", "resourceVersion": str(self.version)}
        self.objects[kind][name] = item
        self._tell(kind, "MODIFIED" if before else "ADDED", item)

    def delete(self, kind: str, name: str) -> None:
        """Delete an object by ``namespace/name``."""
        self.version += 1
        item = self.objects[kind].pop(name)
        item["metadata"]["resourceVersion"] = str(self.version)
        self._tell(kind, "DELETED", item)

    def say(self, kind: str, event: dict[str, Any]) -> None:
        """Send any event to those that watch."""
        for watched, writer in self._watches:
            if watched == kind:
                writer.write(json.dumps(event).encode() + b"\n")

    def end_watches(self, *, half: bool = False) -> None:
        """End all, in the middle of an event if asked for."""
        for _, writer in self._watches:
            if half:
                writer.write(b'{"type": "ADD')
            writer.close()
        self._watches.clear()

    @property
    def watched(self) -> int:
        """How many watches there are."""
        return len(self._watches)

    def _tell(self, kind: str, what: str, item: dict[str, Any]) -> None:
        self.say(kind, {"type": what, "object": item})

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        address = urlsplit(head.split(" ")[1])
        self.asked.append(f"{address.path}?{address.query}")
        query = {name: values[0] for name, values in parse_qs(address.query).items()}
        kind = address.path.rpartition("/")[2]
        status = self.status if f"Bearer {TOKEN}" in head else 401
        writer.write(f"HTTP/1.0 {status} said\r\nContent-Type: application/json\r\n\r\n".encode())
        if status != 200:
            writer.close()
        elif "watch" in query:
            self._watches.append((kind, writer))
            self._catch_up(kind, int(query["resourceVersion"]))
        else:
            first = int(query.get("continue", "0"))
            names = sorted(self.objects[kind])
            more = str(first + PAGE) if len(names) > first + PAGE else ""
            items = [self.objects[kind][name] for name in names[first : first + PAGE]]
            about = {"resourceVersion": str(self.version), "continue": more}
            text = json.dumps({"metadata": about, "items": items}).encode()
            writer.write(text[: len(text) // 2] if self.cut else text)
            writer.close()

    def _catch_up(self, kind: str, version: int) -> None:
        """Tell what has happened between a list and the watch."""
        for item in self.objects[kind].values():
            if int(item["metadata"]["resourceVersion"]) > version:
                self._tell(kind, "MODIFIED", item)


def service(
    name: str, *ports: dict[str, Any], kind: str = "LoadBalancer", ip: str = "", **spec: Any
) -> dict[str, Any]:
    """Return a Service as the API has it."""
    return {
        "metadata": {"namespace": "default", "name": name},
        "spec": {"type": kind, "ports": list(ports), **spec},
        "status": {"loadBalancer": {"ingress": [{"ip": ip}]} if ip else {}},
    }


def pod(
    name: str, *ports: dict[str, Any], namespace: str = "default", **more: Any
) -> dict[str, Any]:
    """Return a Pod as the API has it."""
    return {
        "metadata": {"namespace": namespace, "name": name, **more.pop("metadata", {})},
        "spec": {"containers": [{"name": "it", "ports": list(ports)}], **more},
    }
