"""``spec.proxy`` made whole: of this host or of the file, with logins, as nodes reach it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from ohmykube.config import load
from ohmykube.config.document import to_document
from ohmykube.errors import ConfigError
from ohmykube.model.proxy import Proxy, ProxyUrls
from ohmykube.steps.proxy_urls import with_proxy

URL = "http://proxy.example:3128"
HARD = 'p@ss:w/ö%20 #?"\\$'
ENCODED = "p%40ss%3Aw%2F%C3%B6%2520%20%23%3F%22%5C%24"


def cluster(proxy: Any, *ports: int) -> Any:
    network: dict[str, Any] = {"hostAccess": list(ports)} if ports else {}
    return load.from_document({"spec": {"proxy": proxy, "network": network}})


def both(proxy: Any, *ports: int, **environ: str) -> tuple[ProxyUrls, ProxyUrls]:
    found = with_proxy(cluster(proxy, *ports), environ).proxy
    assert found is not None
    assert found.here is not None
    assert found.nodes is not None
    return found.here, found.nodes


def plain(urls: ProxyUrls) -> tuple[str | None, str | None]:
    http, https = (None if one is None else one.reveal() for one in (urls.http, urls.https))
    return http, https


def test_without_a_proxy_nothing_is_looked_for() -> None:
    one = cluster(None)
    assert with_proxy(one, {"HTTPS_PROXY": URL}) is one


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"HTTPS_PROXY": URL}, (None, URL)),
        ({"https_proxy": URL, "HTTPS_PROXY": "http://other"}, (None, URL)),
        ({"http_proxy": URL}, (URL, None)),
        ({"ALL_PROXY": URL}, (URL, URL)),
        ({"all_proxy": URL, "https_proxy": "http://b:1"}, (URL, "http://b:1")),
        ({"HTTPS_PROXY": "proxy.example:3128/"}, (None, URL)),
        ({"HTTPS_PROXY": f"http://me:{ENCODED}@p:1"}, (None, f"http://me:{ENCODED}@p:1")),
        ({"HTTPS_PROXY": "http://me:a@b@p:1"}, (None, "http://me:a%40b@p:1")),
    ],
)
def test_the_variables_of_this_host_are_taken(
    environ: dict[str, str], expected: tuple[str | None, str | None]
) -> None:
    for one in both("host", **environ):
        assert plain(one) == expected


def test_exceptions_of_this_host_are_taken() -> None:
    here, nodes = both("host", HTTP_PROXY=URL, NO_PROXY=".a.example, 10.0.0.0/8,")
    assert here.no_proxy == nodes.no_proxy == (".a.example", "10.0.0.0/8")


@pytest.mark.parametrize(
    "text",
    ["socks5://p:1", "http://", "http://me:s3cret#x@p:1", "http://p:x", "http://p:0", "http://p/q"],
)
def test_what_is_no_proxy_is_told_and_not_repeated(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        both("host", HTTPS_PROXY=text)
    error = caught.value
    assert "https_proxy" in error.message
    assert "percent-encoded" in str(error.why)
    assert "s3cret" not in f"{error}{error.why}{error.hint}"


def test_a_host_without_a_proxy_is_told() -> None:
    with pytest.raises(ConfigError, match="has none"):
        both("host", HTTPS_PROXY="")


@pytest.mark.parametrize("fields", [("http",), ("https",), ("http", "https")])
def test_a_password_is_encoded_whatever_it_has(fields: tuple[str, ...]) -> None:
    auth = {"username": "me@x", "passwordEnv": "PW"}
    proxy = {**dict.fromkeys(fields, URL), "auth": auth}
    for one in both(proxy, PW=HARD):
        whole = f"http://me%40x:{ENCODED}@proxy.example:3128"
        assert plain(one) == tuple(
            whole if field in fields else None for field in ("http", "https")
        )


def test_a_password_that_is_not_set_is_told() -> None:
    with pytest.raises(ConfigError) as caught:
        both({"http": URL, "auth": {"username": "me", "passwordEnv": "PW"}})
    assert "the variable PW is not set" in str(caught.value.why)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.9.9.9", "[::1]"])
@pytest.mark.parametrize("login", ["", "me:p%40@"])
def test_a_proxy_on_this_host_has_its_name_on_nodes(host: str, login: str) -> None:
    """Where its port is open to them; else nobody there would answer, and that is told."""
    environ = {"HTTPS_PROXY": f"http://{login}{host}:3128"}
    here, nodes = both("host", 3128, **environ)
    assert plain(here) == (None, f"http://{login}{host}:3128")
    assert plain(nodes) == (None, f"http://{login}host.ohmykube.internal:3128")
    for ports in ((), (3129,)):
        with pytest.raises(ConfigError) as caught:
            both("host", *ports, **environ)
        assert "3128" in caught.value.message
        assert "hostAccess: [3128]" in str(caught.value.hint)
        assert "p%40" not in str(caught.value)


def test_addresses_and_logins_stand_in_no_document() -> None:
    asked = cluster("host")
    found = with_proxy(asked, {"HTTPS_PROXY": "http://me:s3cret@p:1"})
    assert found == asked
    assert "s3cret" not in repr(found) + str(to_document(found))
    assert to_document(found)["spec"]["proxy"] == "host"
    assert dataclasses.replace(found, proxy=Proxy(of_host=True)) == found
