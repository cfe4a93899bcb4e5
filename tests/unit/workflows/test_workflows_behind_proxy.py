"""What a description only names is looked for by `up` and `plan`, before anything is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ohmykube.addons import selection
from ohmykube.cache import resolve
from ohmykube.cache.sources.upstream import UpstreamSource
from ohmykube.cache.store import Store
from ohmykube.config import load
from ohmykube.errors import ConfigError, NetworkError, OhmykubeError
from ohmykube.kit import paths
from ohmykube.model.change import CreateNode
from ohmykube.steps.context import Services
from ohmykube.steps.proxy_urls import with_proxy
from ohmykube.testing.reporter import RecordingReporter
from ohmykube.workflows.up import up
from ohmykube.workflows.up_values import UpOptions
from tests.proxy_double import ProxyDouble, serving

if TYPE_CHECKING:
    import socket

    from ohmykube.cache.sources.base import SourceContext

LOGIN = ("me", "p@ss:w/ö%20")
AUTH = {"username": "me", "passwordEnv": "BEHIND_SECRET"}


def refuse(_target: tuple[str, int]) -> socket.socket:
    raise ConnectionRefusedError


def described(**spec: Any) -> Any:
    document = {
        "metadata": {"name": "behind"},
        "spec": {
            "provider": {"name": "fake"},
            "nodes": {"workers": {"count": 0}},
            **spec,
        },
    }
    return load.from_document(document)


@pytest.mark.parametrize("only_plan", [True, False])
@pytest.mark.parametrize(
    ("spec", "error"),
    [
        ({"registries": {"r.example": {"auth": AUTH}}}, "OMK-C-640"),
        ({"proxy": {"http": "http://p.example:1", "auth": AUTH}}, "OMK-C-644"),
        ({"proxy": {"http": "http://127.0.0.1:1"}}, "OMK-C-642"),
    ],
)
def test_what_is_not_to_be_found_is_told_before_anything_is_made(
    spec: dict[str, Any], error: str, *, only_plan: bool
) -> None:
    services = Services(paths=paths.from_environment(), reporter=RecordingReporter())
    with pytest.raises(ConfigError) as caught:
        up(services, described(**spec), UpOptions(plan_only=only_plan))
    assert caught.value.id == error
    assert not services.paths.state.exists()
    assert not services.paths.data.exists()


def test_a_proxy_is_asked_before_anything_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    services = Services(paths=paths.from_environment(), reporter=RecordingReporter())
    with serving(ProxyDouble("127.0.0.1", LOGIN, refuse)) as proxy:
        port = int(proxy.url.rpartition(":")[2])
        wanted = described(proxy={"https": proxy.url, "auth": AUTH}, network={"hostAccess": [port]})
        monkeypatch.setenv("BEHIND_SECRET", LOGIN[1])
        plan = up(services, wanted, UpOptions(plan_only=True)).plan
        assert {type(one) for one in plan.changes} == {CreateNode}
        monkeypatch.setenv("BEHIND_SECRET", "another")
        with pytest.raises(NetworkError, match="wants another name or password"):
            up(services, wanted, UpOptions(plan_only=True))
        assert [status for _, _, status in proxy.seen] == [200, 407]


def test_downloads_of_a_cluster_go_through_its_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the variables of the process say."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    with serving(ProxyDouble("127.0.0.1", LOGIN, refuse)) as proxy:
        port = int(proxy.url.rpartition(":")[2])
        asked = described(
            proxy={"https": proxy.url, "auth": AUTH},
            network={"hostAccess": [port]},
            artifacts={"sources": ["upstream"]},
        )
        cluster = with_proxy(asked, {"BEHIND_SECRET": LOGIN[1]})
        made: list[UpstreamSource] = []

        def loaded(_name: str, context: SourceContext) -> UpstreamSource:
            made.append(UpstreamSource(context))
            raise NetworkError("not now", why="", hint="")

        store = Store(paths.from_environment().cache)
        release = selection.release_of(cluster)
        with pytest.raises(OhmykubeError):
            resolve.resolve(cluster, release, store, RecordingReporter(), load=loaded)
        with pytest.raises(NetworkError):
            made[0].transport.small("https://nowhere.invalid/f", limit=10)
        assert set(proxy.seen) == {("CONNECT", "nowhere.invalid:443", 200)}
