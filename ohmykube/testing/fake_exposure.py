"""A fake provider with a network that its host has no route to."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ohmykube.kit import files
from ohmykube.model.exposure import LOOPBACK, OWN_PORTS
from ohmykube.testing.fake_provider import FakeProvider

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ohmykube.model.exposure import ExposedPort


class FakeExposingProvider(FakeProvider):
    """Gives each port a place, and keeps places in ``<data>/fake-ports/<cluster>.json``."""

    def publish(self, cluster: str, wanted: Sequence[ExposedPort]) -> Mapping[ExposedPort, str]:
        """Give each of these its own port, or one that no other has."""
        if not self.list(cluster):
            return {}
        known, theirs = self._places(cluster), self._of_others(cluster)
        found: dict[ExposedPort, str] = {}
        for port in wanted:
            key = f"{port.address}:{port.port}/{port.protocol}"
            numbers = (port.port, *OWN_PORTS)
            wished = (known.get(key, ""), *(f"{LOOPBACK}:{number}" for number in numbers))
            taken = theirs | {f"{one.protocol}/{place}" for one, place in found.items()}
            free = (p for p in wished if p and f"{port.protocol}/{p}" not in taken)
            known[key] = found[port] = next(free)
        files.ensure_directory(self._path(cluster).parent)
        files.write(self._path(cluster), json.dumps(known))
        return found

    def delete(self, cluster: str, node: str) -> None:
        """Remove a machine; with the last one, the places of its cluster."""
        super().delete(cluster, node)
        if not self.list(cluster):
            self._path(cluster).unlink(missing_ok=True)

    def _path(self, cluster: str) -> Path:
        return self.context.paths.data / "fake-ports" / f"{cluster}.json"

    def _places(self, cluster: str) -> dict[str, str]:
        path = self._path(cluster)
        found: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
        return found

    def _of_others(self, cluster: str) -> set[str]:
        """Return the places of other clusters, as ``tcp/127.0.0.1:80``."""
        found: set[str] = set()
        for path in self._path(cluster).parent.glob("*.json"):
            if path != self._path(cluster):
                places = json.loads(path.read_text())
                found |= {f"{key.rpartition('/')[2]}/{place}" for key, place in places.items()}
        return found
