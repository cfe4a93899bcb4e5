"""Lima over the limactl without machines: the contract of all providers, and what only Lima has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ohmykube.testing import fake_limactl
from ohmykube.testing.conformance import ProviderConformance, Subject
from tests.lima_world import World, world

if TYPE_CHECKING:
    from collections.abc import Iterator


class TestLima(ProviderConformance):
    """The whole contract."""

    @pytest.fixture(params=["2.0.3"])
    def subject(self, request: pytest.FixtureRequest) -> Iterator[Subject]:
        """Give Lima over an empty home."""
        with world(request.param) as place:
            yield Subject(
                open=lambda _cluster: place.provider(),
                cluster="dev",
                other="dev-2",
                nodes=("cp1", "w1"),
                answers=place.lives,
                damage=place.damage,
            )
            for cluster in ("dev", "dev-2"):
                for node in ("cp1", "w1"):
                    place.provider().delete(cluster, node)
            assert not fake_limactl.processes(place.home.root)
            assert nothing_left(place)


def nothing_left(place: World) -> bool:
    """Tell whether no instance, network, disk, record or claim is left."""
    root = place.home.root
    found = [path for path in root.glob("[!_]*") if path.is_dir()]
    found += [*place.home.own.glob("clusters/*"), *place.home.own.glob("claims/*")]
    found += [*root.glob("_networks/omk*"), *root.glob("_disks/*")]
    return not found
