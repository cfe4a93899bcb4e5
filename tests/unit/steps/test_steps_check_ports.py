"""A port that cannot be held is an error before anything is made."""

from __future__ import annotations

import errno
import socket
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ohmykube.errors import ConfigError, LockedError, PrerequisiteError
from ohmykube.kit.paths import Paths
from ohmykube.model.cluster import Cluster, Node, Role
from ohmykube.model.exposure import Exposed, ExposedPort, Exposure, FixedPort, PublishedPort
from ohmykube.progress import Message
from ohmykube.providers.base import ProviderContext
from ohmykube.steps import check_ports as module
from ohmykube.steps.check_ports import check_ports
from ohmykube.steps.context import Context, Services
from ohmykube.testing.fake_exposure import FakeExposingProvider
from ohmykube.testing.fake_provider import FakeProvider
from ohmykube.testing.reporter import RecordingReporter

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.linux
KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


class Following(FakeExposingProvider):
    """Holds the ports that it is told of."""

    held: tuple[PublishedPort, ...] = ()

    def expose(self, cluster: str, exposure: Exposure) -> Exposed:
        """Do nothing."""
        raise NotImplementedError

    def exposed(self, cluster: str) -> Exposed:
        """Return what is held."""
        assert cluster == "dev"
        return Exposed(ports=self.held)


def checked(home: Path, kind: type[FakeProvider], *ports: FixedPort) -> list[str]:
    """Look at ports; return what was said."""
    cluster = Cluster(
        name="dev",
        kubernetes_version="1.36.3",
        provider="fake",
        nodes=(Node(name="cp1", role=Role.CONTROL_PLANE),),
        ports=ports,
    )
    paths = Paths(state=home / "s", data=home / "d", cache=home / "c")
    reporter = RecordingReporter()
    ctx = Context(
        services=Services(paths=paths, reporter=reporter),
        cluster=cluster,
        provider=kind(ProviderContext(paths=paths, reporter=reporter, cluster=cluster)),
        directory=home,
        run_directory=home,
    )
    check_ports(ctx)
    return [message.text for message in reporter.of(Message)]


def bound(protocol: str, address: str = "127.0.0.1") -> socket.socket:
    made = socket.socket(type=KINDS[protocol])
    made.bind((address, 0))
    if protocol == "tcp":
        made.listen()
    return made


@pytest.mark.parametrize("protocol", KINDS)
@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_a_port_that_is_taken_is_named_whoever_has_it(
    tmp_path: Path, protocol: str, address: str
) -> None:
    """Free, it is no error; nor is one that this cluster holds itself."""
    other = bound(protocol, address)
    number = other.getsockname()[1]
    port = FixedPort(host_port=number, node_port=80, protocol=protocol)
    with other, pytest.raises(LockedError, match=f"127.0.0.1:{number}/{protocol}") as caught:
        checked(tmp_path, Following, port)
    assert caught.value.id == "OMK-P-526"
    assert str(number) in str(caught.value.hint)
    assert checked(tmp_path, Following, port) == []
    held = PublishedPort(name="a", target=ExposedPort("", 1, protocol), place=f"127.0.0.1:{number}")
    with bound(protocol) as own:
        port = FixedPort(host_port=own.getsockname()[1], node_port=80, protocol=protocol)
        place = f"127.0.0.1:{port.host_port}"
        ours = type("Ours", (Following,), {"held": (replace(held, place=place),)})
        assert checked(tmp_path, ours, port) == []


def test_an_address_that_the_host_does_not_have_is_refused(tmp_path: Path) -> None:
    port = FixedPort(host_address="192.0.2.1", host_port=8080, node_port=80)
    with pytest.raises(ConfigError, match=r"192\.0\.2\.1:8080") as caught:
        checked(tmp_path, Following, port)
    assert caught.value.id == "OMK-C-521"
    assert caught.value.why == "192.0.2.1 is no address of this host"


def test_a_port_that_only_root_may_have_is_refused() -> None:
    port = FixedPort(host_port=80, node_port=80)
    error = module._problem(port, "port 80", PermissionError(errno.EACCES, "Permission denied"))
    assert isinstance(error, PrerequisiteError)
    assert error.id == "OMK-P-527"
    assert "1024" in str(error.hint)


def test_one_that_is_open_to_all_is_warned_of(tmp_path: Path) -> None:
    with bound("tcp") as other:
        number = other.getsockname()[1]
    port = FixedPort(host_address="0.0.0.0", host_port=number, node_port=80)
    (said,) = checked(tmp_path, Following, port)
    assert f"port {number}/tcp will be open on all addresses" in said


@pytest.mark.parametrize("kind", [FakeProvider, FakeExposingProvider])
def test_a_provider_that_cannot_is_named(tmp_path: Path, kind: type[FakeProvider]) -> None:
    with pytest.raises(ConfigError, match="provider fake") as caught:
        checked(tmp_path, kind, FixedPort(host_port=8080, node_port=80))
    assert caught.value.id == "OMK-C-520"
    assert checked(tmp_path, kind) == []
