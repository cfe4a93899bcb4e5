"""What ``cache serve`` tells, as documents and as text for people."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any, TypedDict

from ohmykube.cli import _output
from ohmykube.kit import amounts

if TYPE_CHECKING:
    from ohmykube.progress import Message
    from ohmykube.workflows.serve import ServeResult


class CacheEvent(TypedDict):
    """One thing that happened while ``ohmykube cache serve`` runs; a line of its ``-o json``.

    ``event`` is ``listening``, ``exposed``, ``found``, ``fetched``, ``failed``, ``stale``,
    ``damaged``, ``tunnel-open``, ``tunnel-lost``, ``tunnels`` or one that came later. ``image``,
    ``digest``, ``node`` and ``cluster`` are empty where they mean nothing; ``bytes`` is the size of
    what was fetched.
    """

    time: str
    event: str
    level: str
    text: str
    image: str
    digest: str
    cluster: str
    node: str
    bytes: int


class CacheServed(TypedDict):
    """The end of ``ohmykube cache serve``; ``sent`` in bytes."""

    address: str
    requests: int
    sent: int
    clients: int


KINDS: dict[str, type] = {"CacheEvent": CacheEvent, "CacheServed": CacheServed}


def event(message: Message) -> dict[str, Any]:
    """Return one event."""
    fields = message.fields
    names = ("image", "digest", "cluster", "node")
    return _output.document(
        "CacheEvent",
        {
            "time": dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds"),
            "event": fields["event"],
            "level": message.level,
            "text": message.text,
            **{name: fields.get(name, "") for name in names},
            "bytes": int(fields.get("bytes", 0)),
        },
    )


def served(result: ServeResult) -> dict[str, Any]:
    """Return what was served."""
    return _output.document(
        "CacheServed",
        {
            "address": result.address,
            "requests": result.requests,
            "sent": result.sent,
            "clients": result.clients,
        },
    )


def line(content: dict[str, Any], form: str, *, unicode: bool) -> str:
    """Return a document of a stream: one line of JSON, or a YAML document with its separator."""
    if form == "json":
        return json.dumps(content, ensure_ascii=not unicode) + "\n"
    return "---\n" + _output.render(content, form, unicode=unicode)


def served_text(result: ServeResult) -> str:
    """Return what was served, in one line."""
    requests = amounts.count(result.requests, "request")
    clients = amounts.count(result.clients, "client")
    return f"{requests} answered, {amounts.size(result.sent)} sent to {clients}\n"
