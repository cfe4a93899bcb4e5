"""What is remembered of a cluster, and its form on disk.

::

    {"schema": 1, "sha256": "<of the rest>", "cluster": {"id": …, "name": …, …}}

The sum makes a flipped bit or a half-edited file known; a schema above ours is refused.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ohmykube.model import names
from ohmykube.state import migration

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SCHEMA = 2
"""Raised whenever an older release could misread the file. 2: the lock holds sets of artifacts for
several architectures, and the add-ons that were applied are told."""


class DamagedRecord(Exception):
    """The bytes are no whole record; the text says in what way. Only ``state.store`` sees it."""


class NewerRecord(Exception):
    """The record has a schema that this release does not know; the text is its number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What cannot be asked of the machines."""

    id: str
    """Random, made with the cluster: it tells two clusters of one name apart."""
    name: str
    document: Mapping[str, Any]
    """The desired cluster as a ``cluster.yaml`` document (``config.document``)."""
    provider: str
    """The provider that made the machines; never ``auto``."""
    kubernetes_version: str
    """Without a leading v."""
    lock: Mapping[str, Any] | None = None
    """The resolved artifacts, as plain data; None until they are resolved."""
    addons: tuple[Mapping[str, Any], ...] = ()
    """Add-ons that it may have, as plain data (``AppliedAddon``)."""
    done: tuple[str, ...] = ()
    """Names of milestones reached, such as ``configured``."""
    nodes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """What the last whole run configured each node from, by name: digests by what they are of
    (``model.node_state.NodeDigests``). A node that it does not have is to be configured."""
    created: str = ""
    """ISO 8601, UTC; set by the store."""
    updated: str = ""
    """ISO 8601, UTC; set by the store."""
    serial: int = 0
    """Number of writes so far; set by the store."""
    schema: int = SCHEMA


def encode(record: Record) -> bytes:
    """Return the file content for a record."""
    body = dataclasses.asdict(record)
    schema = body.pop("schema")
    content = {"schema": schema, "sha256": _sum(schema, body), "cluster": body}
    return (json.dumps(content, indent=1) + "\n").encode("ascii")


def decode(data: bytes) -> Record:
    """Read back what ``encode`` made.

    Raises:
        NewerRecord: it was written by a newer release.
        DamagedRecord: it is not what a release wrote.
    """
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        what = "it is empty" if not data.strip() else f"it is not JSON ({_short(error)})"
        raise DamagedRecord(what) from None
    if not isinstance(content, dict) or not isinstance(content.get("schema"), int):
        raise DamagedRecord("it has no schema number")
    schema = content["schema"]
    if schema > SCHEMA:
        raise NewerRecord(str(schema))
    body = content.get("cluster")
    if not isinstance(body, dict) or content.get("sha256") != _sum(schema, body):
        raise DamagedRecord("its checksum does not match its content")
    return _record(schema, body)


def _record(schema: int, body: dict[str, Any]) -> Record:
    # The sum is right, so somebody wrote this on purpose: a fork, or an editor who fixed the sum.
    body = {"nodes": {}, **body}  # an earlier release wrote none
    if schema == 1:
        schema, body = SCHEMA, migration.from_1(body)
    wrong = sorted(key for key, fits in _SHAPE.items() if key not in body or not fits(body[key]))
    wrong += sorted(body.keys() - _SHAPE.keys())
    if wrong or schema != SCHEMA or not names.is_name(body["name"]):
        raise DamagedRecord(f"its content is not a record ({', '.join(wrong) or 'name or schema'})")
    lists = {key: tuple(body[key]) for key in ("addons", "done")}
    return Record(**{**body, **lists, "schema": schema})


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_digests(value: object) -> bool:
    return isinstance(value, dict) and all(map(_is_text, value.values()))


_SHAPE: Mapping[str, Callable[[object], bool]] = {
    "id": _is_text,
    "name": _is_text,
    "document": lambda value: isinstance(value, dict),
    "provider": _is_text,
    "kubernetes_version": _is_text,
    "lock": lambda value: value is None or isinstance(value, dict),
    "addons": lambda value: isinstance(value, list) and all(isinstance(v, dict) for v in value),
    "done": _is_texts,
    "nodes": lambda value: isinstance(value, dict) and all(map(_is_digests, value.values())),
    "created": _is_text,
    "updated": _is_text,
    "serial": lambda value: isinstance(value, int) and not isinstance(value, bool),
}


def _sum(schema: int, body: Mapping[str, Any]) -> str:
    text = json.dumps([schema, body], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _short(error: Exception) -> str:
    return str(error).splitlines()[0][:80] if str(error) else type(error).__name__
