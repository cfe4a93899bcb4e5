"""Which downloads go through a proxy."""

from __future__ import annotations

import urllib.parse
from pathlib import Path

import pytest
import urllib3

from ohmykube.cache import proxies, transport
from ohmykube.errors import NetworkError
from tests import tls_server

DATA = Path(__file__).parents[2] / "data" / "trust"

HERE = (
    "127.0.0.1",
    "localhost",
    "a.localhost",
    "LOCALHOST.",
    "[::1]",
    "127.1",
    "[::ffff:127.0.0.1]",
)
ELSEWHERE = ("10.0.0.1", "mirror.example.com", "localhost.example.com", "127.0.0.1.example.com")


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://proxy.example.com:3128")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, ".corp.example")


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("host", HERE)
def test_this_machine_is_behind_no_proxy(scheme: str, host: str) -> None:
    assert proxies.proxy_for(urllib.parse.urlsplit(f"{scheme}://joe:pw@{host}:5000/v2/")) is None


@pytest.mark.parametrize("host", ELSEWHERE)
def test_others_are_asked_through_the_proxy(host: str) -> None:
    found = proxies.proxy_for(urllib.parse.urlsplit(f"https://{host}/v2/"))
    assert found == "http://proxy.example.com:3128"
    assert proxies.proxy_for(urllib.parse.urlsplit("https://a.corp.example/")) is None


@pytest.mark.linux
@pytest.mark.parametrize("through_pool", [False, True])
def test_an_authority_of_the_cluster_is_trusted_beside_those_of_the_system(
    tmp_path: Path, through_pool: bool
) -> None:
    with tls_server.serving(tmp_path / "ours") as server:
        server.answers["/f"] = (200, "content")
        url = f"https://{server.address}/f"
        once = transport.Timing(attempts=1)
        other = (DATA / "one.pem").read_text()
        for trust in ((), (other,)):
            with pytest.raises(NetworkError, match="cannot be reached") as caught:
                transport.Transport(once, trust=trust).small(url, limit=100)
            assert "certificate verify failed" in (caught.value.why or "")
        trust = (other, server.authority)
        if through_pool:
            assert proxies.pool(None, trust).request("GET", url).data == b"content"
            assert isinstance(proxies.pool("http://p.example:1", trust), urllib3.ProxyManager)
        else:
            assert transport.Transport(once, trust=trust).small(url, limit=100) == b"content"
