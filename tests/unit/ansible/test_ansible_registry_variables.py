"""Registries become what the role ``cache`` takes: who is asked, in which order, and as whom."""

from __future__ import annotations

from typing import Any

import pytest

from ohmykube.ansible.registry_variables import registry_vars
from ohmykube.kit.secret import Secret
from ohmykube.model.registry import Login, LoginPlace, Registry

US = "http://127.0.0.1:5055"
HUB = "https://registry-1.docker.io"
LOGIN: dict[str, Any] = {
    "auth": LoginPlace(username="me", password_env="P"),
    "login": Login(username="me", password=Secret("pw")),
}
NEEDS = {"username": "me", "password": Secret("pw")}


def test_without_registries_the_role_keeps_its_defaults() -> None:
    assert registry_vars((), US) == {}
    assert registry_vars((Registry(name="r.example"),), US) == {}


@pytest.mark.parametrize(
    ("registry", "mirrors", "server", "options"),
    [
        ({"mirrors": ("https://a", "http://b")}, ["https://a", "http://b"], None, []),
        ({"mirrors": ("https://a", "http://b"), "fallback": False}, ["https://a"], "http://b", []),
        ({"plain_http": True}, [], "http://r.example", []),
        ({"ca": ("1", "2")}, [], "https://r.example", [{"ca": "12"}]),
        (LOGIN, [], "https://r.example", [NEEDS]),
        ({**LOGIN, "plain_http": True}, [], "http://r.example", [NEEDS]),
        ({**LOGIN, "name": "docker.io"}, [], HUB, [NEEDS]),
        ({"name": "docker.io", "mirrors": ("https://a",)}, ["https://a"], None, []),
    ],
)
@pytest.mark.parametrize("endpoint", [US, ""])
def test_mirrors_come_in_order_after_us_and_the_registry_itself_last(
    registry: dict[str, Any],
    mirrors: list[str],
    server: str | None,
    options: list[dict[str, Any]],
    endpoint: str,
) -> None:
    one = Registry(**{"name": "r.example", **registry})
    found = registry_vars((one,), endpoint)
    first = [endpoint] if endpoint else []
    others = {"_default": first} if first else {}
    assert found == {
        "cache_mirrors": {**others, one.name: [*first, *mirrors]},
        "cache_servers": {one.name: server} if server else {},
        "cache_mirror_options": [{"url": server, **needs} for needs in options],
    }


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("m.example", "https://m.example/some/path"),
        ("m.example", "https://m.example:443"),
        ("m.example", "http://m.example:80"),
        ("m.example:5000", "http://m.example:5000"),
        ("docker.io", "https://registry-1.docker.io"),
    ],
)
def test_what_is_said_of_a_host_counts_for_it_as_a_mirror(name: str, url: str) -> None:
    described = Registry(name=name, **LOGIN)
    hub = Registry(name="quay.io", mirrors=(url,))
    found: Any = registry_vars((hub, described), US)["cache_mirror_options"]
    assert {"url": url, **NEEDS} in found


def test_a_password_goes_to_no_other_host_and_port() -> None:
    described = Registry(name="m.example", **LOGIN)
    urls = ("https://m.example:5000", "https://other.example", "https://m.example.evil.example")
    found: Any = registry_vars((Registry(name="quay.io", mirrors=urls), described), US)
    assert [one["url"] for one in found["cache_mirror_options"]] == ["https://m.example"]
