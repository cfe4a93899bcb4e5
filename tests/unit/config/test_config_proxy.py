"""``spec.proxy``: what is described is checked, kept and compared, and holds no secret."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ohmykube.config import load
from ohmykube.config.document import to_document
from ohmykube.errors import ConfigError
from ohmykube.planning import differences

if TYPE_CHECKING:
    from ohmykube.model.cluster import Cluster

URL = "http://proxy.example:3128"


def having(proxy: Any) -> Cluster:
    return load.from_document({"spec": {"proxy": proxy}}, desired=True)


@pytest.mark.parametrize(
    "proxy",
    [
        None,
        "host",
        {"http": URL},
        {"https": "https://proxy.example"},
        {"http": URL, "https": URL, "noProxy": [".example", "10.0.0.0/8", "fd00::/8", "*.a.b"]},
        {"http": URL, "auth": {"username": "me", "passwordEnv": "PW"}},
        {"http": "http://[fd00::1]:3128", "auth": {"usernameEnv": "NAME", "passwordEnv": "PW"}},
    ],
)
def test_what_is_described_is_kept(proxy: Any) -> None:
    found = having(proxy)
    document = to_document(found)
    assert document["spec"].get("proxy") == proxy
    again = load.from_document(document, desired=True)
    assert again == found
    assert list(differences.of_clusters(found, again)) == []


@pytest.mark.parametrize(
    ("proxy", "said"),
    [
        ("auto", 'must be "host" or a mapping'),
        (URL, 'must be "host" or a mapping'),
        ([URL], 'must be "host" or a mapping'),
        ({}, "must have http or https"),
        ({"noProxy": ["a"]}, "must have http or https"),
        ({"http": "proxy.example:3128"}, "must have a URL as http, such as"),
        ({"http": "socks5://p:1"}, "must have a URL as http"),
        ({"http": "http://p:99999"}, "must have a URL as http"),
        ({"http": "http://p/path"}, "must have a URL as http"),
        ({"http": "http://p:1?q"}, "must have a URL as http"),
        ({"http": 3128}, "must have a URL as http"),
        ({"http": URL, "no_proxy": []}, "unknown field"),
        ({"http": URL, "noProxy": ".a,.b"}, "must have a list"),
        ({"http": URL, "noProxy": [".a,.b"]}, "must have names, addresses and networks"),
        ({"http": URL, "noProxy": ["a b"]}, "must have names, addresses and networks"),
        ({"http": URL, "auth": {"dockerConfig": "x"}}, "unknown field"),
        ({"http": URL, "auth": {"username": "me"}}, "must have passwordEnv together with"),
    ],
)
def test_what_is_wrong_is_told(proxy: Any, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        having(proxy)
    (problem,) = caught.value.problems
    assert problem.startswith("spec.proxy")
    assert said in problem


@pytest.mark.parametrize(
    "proxy",
    [
        "http://me:s3cret@proxy.example:3128",
        {"http": "http://me:s3cret@proxy.example:3128"},
        {"https": "me:s3cret@proxy.example"},
        {"http": URL, "auth": {"username": "me", "password": "s3cret"}},
        {"http": URL, "auth": {"username": "me", "passwordEnv": "s3cret!"}},
    ],
)
def test_a_password_in_the_file_is_refused_and_not_repeated(proxy: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        having(proxy)
    assert "s3cret" not in f"{caught.value}{caught.value.problems}"
