"""A result in the format that was asked for."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

API_VERSION = "ohmykube.dev/v1"
FORMATS = ("table", "json", "yaml")


def document(kind: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return a result document with its head."""
    return {"apiVersion": API_VERSION, "kind": kind, **fields}


def time(moment: float) -> str:
    """Return seconds since 1970 as ISO 8601 in UTC; empty for 0, which means never."""
    if not moment:
        return ""
    return dt.datetime.fromtimestamp(moment, dt.UTC).isoformat(timespec="seconds")


def render(content: Mapping[str, Any], form: str, *, unicode: bool) -> str:
    """Return ``content`` as JSON or YAML text; characters beyond ASCII only where they can show."""
    if form == "json":
        return json.dumps(content, indent=2, ensure_ascii=not unicode) + "\n"
    import yaml

    text: str = yaml.safe_dump(
        json.loads(json.dumps(content)), sort_keys=False, allow_unicode=unicode, width=100
    )
    return text
