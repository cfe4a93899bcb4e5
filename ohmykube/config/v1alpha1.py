"""Reads the older format ``ohmykube.dev/v1alpha1`` and turns it into v1."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ohmykube.config.yaml_source import Source

API_VERSION = "ohmykube.dev/v1alpha1"


def is_ours(data: dict[str, Any]) -> bool:
    """Tell whether a document is in the older format."""
    return data.get("apiVersion") == API_VERSION


def convert(source: Source) -> tuple[Source, list[str]]:
    """Return the v1 document and warnings."""
    return source, []
