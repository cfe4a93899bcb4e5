"""A proxy that does not answer, or wants a login, is named before anything is made."""

from __future__ import annotations

import dataclasses
import socket
from typing import TYPE_CHECKING, Any

import pytest

from ohmykube.config import load
from ohmykube.errors import NetworkError
from ohmykube.kit.paths import Paths
from ohmykube.model.cluster import Egress, Network
from ohmykube.progress import Message
from ohmykube.providers.base import ProviderContext
from ohmykube.steps.check_proxy import TARGET, check_proxy
from ohmykube.steps.context import Context, Services
from ohmykube.steps.proxy_urls import with_proxy
from ohmykube.steps.run_options import RunOptions
from ohmykube.testing.fake_provider import FakeProvider
from ohmykube.testing.reporter import RecordingReporter
from tests import tls_server
from tests.proxy_double import ProxyDouble, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOGIN = ("me", "p@ss:w/ö%20")


@pytest.fixture
def proxy() -> Iterator[ProxyDouble]:
    def refuse(_target: tuple[str, int]) -> socket.socket:
        raise ConnectionRefusedError

    with serving(ProxyDouble("127.0.0.1", LOGIN, refuse)) as running:
        yield running


def context(home: Path, url: str, password: str = "") -> Context:
    auth: dict[str, Any] = {"auth": {"username": "me", "passwordEnv": "PW"}} if password else {}
    port = int(url.rpartition(":")[2])
    document = {
        "metadata": {"name": "behind"},
        "spec": {
            "provider": {"name": "fake"},
            "proxy": {"http": url, "https": url, **auth},
            "network": {"hostAccess": [port]},
        },
    }
    cluster = with_proxy(load.from_document(document), {"PW": password})
    paths = Paths(state=home / "s", data=home / "d", cache=home / "c")
    reporter = RecordingReporter()
    return Context(
        services=Services(paths=paths, reporter=reporter),
        cluster=cluster,
        provider=FakeProvider(ProviderContext(paths=paths, reporter=reporter, cluster=cluster)),
        directory=home,
        run_directory=home,
    )


def test_a_proxy_that_takes_the_login_is_asked_once(tmp_path: Path, proxy: ProxyDouble) -> None:
    check_proxy(context(tmp_path, proxy.url, LOGIN[1]))
    assert proxy.seen == [("CONNECT", TARGET, 200)]


@pytest.mark.parametrize(("password", "said"), [("", "a name and a password"), ("x", "another")])
def test_a_proxy_that_wants_another_login_is_told(
    tmp_path: Path, proxy: ProxyDouble, password: str, said: str
) -> None:
    with pytest.raises(NetworkError) as caught:
        check_proxy(context(tmp_path, proxy.url, password))
    assert f"{proxy.url} wants {said}" in caught.value.message
    assert "spec.proxy.auth" in str(caught.value.hint)


def nobody() -> str:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        return "http://{}:{}".format(*closed.getsockname())


def test_a_proxy_that_is_down_is_named_without_its_password(tmp_path: Path) -> None:
    url = nobody()
    with pytest.raises(NetworkError) as caught:
        check_proxy(context(tmp_path, url, "s3cret"))
    error = caught.value
    assert error.message == f"the proxy {url} does not answer"
    assert "refused" in str(error.why)
    assert "s3cret" not in f"{error}{error.why}{error.hint}"


def test_of_a_cluster_that_exists_it_is_a_warning(tmp_path: Path) -> None:
    """Nothing of it may need the proxy now."""
    ctx = context(tmp_path, nobody())
    check_proxy(dataclasses.replace(ctx, record=object()))  # type: ignore[arg-type] - any record
    reporter = ctx.services.reporter
    assert isinstance(reporter, RecordingReporter)
    (warning,) = reporter.of(Message)
    assert warning.level == "warning"
    assert "does not answer" in warning.text


def test_what_needs_no_proxy_does_not_ask_it(tmp_path: Path) -> None:
    ctx = context(tmp_path, nobody())
    closed = dataclasses.replace(ctx.cluster, network=Network(egress=Egress.NONE))
    none = dataclasses.replace(ctx.cluster, proxy=None)
    check_proxy(dataclasses.replace(ctx, cluster=closed))
    check_proxy(dataclasses.replace(ctx, cluster=none))
    check_proxy(dataclasses.replace(ctx, options=RunOptions(offline=True)))


@pytest.mark.linux
def test_a_proxy_that_is_asked_by_https_is_trusted_as_the_cluster_says(tmp_path: Path) -> None:
    with tls_server.serving(tmp_path / "tls") as server:
        ctx = context(tmp_path, f"https://{server.address}")
        with pytest.raises(NetworkError) as caught:
            check_proxy(ctx)
        assert "certificate" in str(caught.value.why)
        trusting = dataclasses.replace(ctx.cluster, trust=(server.authority,))
        check_proxy(dataclasses.replace(ctx, cluster=trusting))
