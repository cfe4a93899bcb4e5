"""Which downloads go through a proxy."""

from __future__ import annotations

import urllib.parse
from pathlib import Path

import pytest
import urllib3

from ohmykube.cache import proxies, transport
from ohmykube.errors import NetworkError
from ohmykube.kit.secret import Secret
from ohmykube.model.proxy import ProxyUrls
from tests import tls_server
from tests.proxy_double import ProxyDouble, serving

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


@pytest.mark.parametrize("login", [("me", "pw"), ("me@x", "p@ss:w/%20#?"), ("ä", "ö€")])
@pytest.mark.parametrize("described", [False, True])
def test_a_login_is_sent_as_it_is_whatever_it_has(
    monkeypatch: pytest.MonkeyPatch, login: tuple[str, str], described: bool
) -> None:
    """In UTF-8, as containerd, apt and curl send it; of the description as of the environment."""
    with serving(ProxyDouble("127.0.0.1", login)) as proxy:
        words = ":".join(urllib.parse.quote(one, safe="") for one in login)
        url = proxy.url.replace("//", f"//{words}@")
        monkeypatch.setenv("http_proxy", url if not described else "http://127.0.0.1:1")
        found = ProxyUrls(http=Secret(url)) if described else None
        once = transport.Transport(transport.Timing(attempts=1), proxy=found)
        with pytest.raises(NetworkError) as caught:
            once.small("http://nowhere.invalid/f", limit=10)
        assert "502" in str(caught.value.why)
        assert proxy.seen == [("GET", "http://nowhere.invalid/f", 200)]


@pytest.mark.parametrize(
    ("host", "through"),
    [
        *((host, False) for host in HERE),
        ("lab.example", False),
        ("a.lab.example:8443", False),
        ("b.site.example", False),
        ("10.1.2.3", False),
        ("[fd00::5]:5000", False),
        ("port.example:5000", False),
        ("port.example", True),
        ("10.2.0.1", True),
        ("other.example", True),
        ("evillab.example", True),
    ],
)
def test_what_is_described_counts_instead_of_the_environment(host: str, through: bool) -> None:
    exceptions = (".lab.example", "*.site.example", "10.1.0.0/16", "fd00::/8", "port.example:5000")
    found = ProxyUrls(https=Secret("http://described:1"), no_proxy=exceptions)
    parts = urllib.parse.urlsplit(f"https://{host}/v2/")
    assert proxies.proxy_for(parts, found) == ("http://described:1" if through else None)
    assert proxies.proxy_for(urllib.parse.urlsplit(f"http://{host}/"), found) is None
    every = ProxyUrls(https=Secret("http://described:1"), no_proxy=("*",))
    assert proxies.proxy_for(parts, every) is None
