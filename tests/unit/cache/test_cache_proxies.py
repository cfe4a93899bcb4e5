"""Which downloads go through a proxy."""

from __future__ import annotations

import urllib.parse

import pytest

from ohmykube.cache import proxies

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
