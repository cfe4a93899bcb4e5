"""Lima over the limactl without machines: the contract of all providers, and what only Lima has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ohmykube.providers.lima.records import every
from ohmykube.providers.lima.usernet import UsernetDown
from ohmykube.testing import fake_limactl
from ohmykube.testing.conformance import (
    BUILDING,
    ExposureConformance,
    ProviderConformance,
    Subject,
    TemplatesConformance,
)
from tests.lima_world import World, world

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ohmykube.model.exposure import ExposedPort
    from ohmykube.providers.lima.usernet import Forward


class TestLima(ProviderConformance):
    """The whole contract."""

    @pytest.fixture(scope="class", params=["2.0.3"])
    @classmethod
    def subject(cls, request: pytest.FixtureRequest) -> Iterator[Subject]:
        """Give Lima over an empty home."""
        with world(request.param) as place:
            yield Subject(
                open=lambda _cluster: place.provider(),
                cluster="dev",
                other="dev-2",
                nodes=("cp1", "w1"),
                answers=place.lives,
                damage=place.damage,
                sizes=place.sizes,
            )
            for cluster in ("dev", "dev-2"):
                for node in ("cp1", "w1"):
                    place.provider().delete(cluster, node)
            assert not fake_limactl.processes(place.home.root)
            assert nothing_left(place)


class TestLimaExposure(ExposureConformance):
    """Services in the network of a cluster's machines."""

    @pytest.fixture
    def subject(self) -> Iterator[Subject]:
        """Give Lima over an empty home; the daemon of the network tells what leads where."""
        with world("2.0.3") as place:

            def reached(at: str, port: ExposedPort) -> bool:
                remote = f"{port.address}:{port.port}"
                records = {record.network for record in every(place.home)}
                return any(
                    (one.local, one.remote.rpartition("//")[2]) == (at, remote)
                    for network in records
                    for one in _forwards(place, network)
                )

            yield Subject(
                open=lambda _cluster: place.provider(),
                cluster="dev",
                other="dev-2",
                nodes=("cp1", "w1"),
                answers=place.lives,
                reached=reached,
            )
            for cluster in ("dev", "dev-2"):
                place.provider().delete(cluster, "cp1")
            assert nothing_left(place)


def _forwards(place: World, network: str) -> tuple[Forward, ...]:
    try:
        return place.networks.daemon(network).forwards()
    except UsernetDown:
        return ()


class TestLimaTemplates(TemplatesConformance):
    """Templates that are cloned."""

    @pytest.fixture(scope="class", params=["2.0.3"])
    @classmethod
    def subject(cls, request: pytest.FixtureRequest) -> Iterator[Subject]:
        """Give Lima over an empty home; a file beside the disk stands for what is on it."""
        with world(request.param) as place:

            def mark(cluster: str, node: str) -> None:
                (place.directory(cluster, node) / "on-disk").touch()

            yield Subject(
                open=lambda _cluster: place.provider(),
                cluster="dev",
                other="dev-2",
                nodes=("cp1", "w1"),
                answers=place.lives,
                mark=mark,
                marked=lambda c, n: (place.directory(c, n) / "on-disk").exists(),
            )
            provider = place.provider()
            for template in provider.templates():
                provider.remove_template(template.key)
            for cluster in (BUILDING, "dev"):
                for machine in provider.list(cluster):
                    provider.delete(cluster, machine.node)
            assert not fake_limactl.processes(place.home.root)
            assert nothing_left(place)


def nothing_left(place: World) -> bool:
    """Tell whether no instance, network, disk, record or claim is left."""
    root = place.home.root
    found = [path for path in root.glob("[!_]*") if path.is_dir()]
    found += [*place.home.own.glob("clusters/*"), *place.home.own.glob("claims/*")]
    found += [*root.glob("_networks/omk*"), *root.glob("_disks/*")]
    return not found
