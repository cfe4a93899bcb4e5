"""Lima over the limactl without machines: the contract of all providers, and what only Lima has."""

from __future__ import annotations

import inspect
import os
import socket
import sys
from typing import TYPE_CHECKING

import pytest

from ohmykube.kit import relay_server
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
    from pathlib import Path

    from ohmykube.model.exposure import ExposedPort


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


# A network in which all of 192.168.0.0/16 are addresses of one host, as those of machines and of
# their load balancers are; it tells whoever connects where that was. It ends with its process.
NETWORK = """
import socket, subprocess, sys, threading
for command in ("link set lo up", "route add local 192.168.0.0/16 dev lo"):
    subprocess.run(["ip", *command.split()], check=True)
server = socket.create_server(("0.0.0.0", 80))
def serve():
    while True:
        made, _ = server.accept()
        with made:
            made.sendall(made.getsockname()[0].encode())
threading.Thread(target=serve, daemon=True).start()
exec(compile(sys.argv.pop(), "relay", "exec"))
"""


def through_network(_config: Path, _node: str, path: Path) -> tuple[str, ...]:
    """Return a command that opens such a network as ssh to a machine would."""
    program = inspect.getsource(relay_server)
    return ("unshare", "--net", sys.executable, "-c", NETWORK, str(path), program)


def reached(at: str, port: ExposedPort) -> bool:
    """Tell whether a place of this host leads to the address of a port."""
    host, _, number = at.rpartition(":")
    try:
        with socket.create_connection((host, int(number)), 20) as made:
            return made.recv(100).decode() == port.address
    except OSError:
        return False


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make a network namespace")
@pytest.mark.linux
class TestLimaExposure(ExposureConformance):
    """Ports of this host that lead into the network of a cluster's machines."""

    @pytest.fixture
    def subject(self) -> Iterator[Subject]:
        """Give Lima over an empty home."""
        with world("2.0.3", through_network) as place:
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
    found += [path for path in place.home.own.glob("ports/*") if path.is_dir()]
    found += [*place.home.own.glob("clusters/*"), *place.home.own.glob("claims/*")]
    found += [*root.glob("_networks/omk*"), *root.glob("_disks/*")]
    return not found
