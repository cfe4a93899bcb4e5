"""From ``-f`` and flags to a checked cluster."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ohmykube.config import load as loader
from ohmykube.config.overrides import Overrides

if TYPE_CHECKING:
    from ohmykube.model.cluster import Cluster

STDIN = Path("-")


def overrides(chosen: dict[str, Any], default_name: str | None = None) -> Overrides:
    """Return the flags of ``up`` as overrides of the file's values."""
    return Overrides(
        name=chosen["name"] or default_name,
        kubernetes_version=chosen["kubernetes"],
        provider=chosen["provider"],
        control_planes=chosen["control_planes"],
        workers=chosen["workers"],
        cpus=chosen["cpus"],
        memory=chosen["memory"],
        cni=chosen["cni"],
        proxy_mode=chosen["proxy_mode"],
        mirror=chosen["mirror"],
    )


def load(file: Path | None, wanted: Overrides) -> Cluster:
    """Return the cluster described by a file (``-``: stdin) and flags, or by flags alone.

    Raises:
        ConfigError: all problems at once.
    """
    if file is None:
        return loader.from_overrides(wanted)
    if file == STDIN:
        return loader.load_text(sys.stdin.buffer.read(), wanted)
    return loader.load_file(file, wanted)
