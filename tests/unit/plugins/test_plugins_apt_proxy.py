"""apt's proxy: its address for all to read, its login for root, and nothing without apt."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.ohmykube.cluster.plugins.module_utils import apt_proxy
from ansible_collections.ohmykube.cluster.plugins.modules.node_prepare import Preparation

from tests.unit.plugins.preparation import FACTS, PARAMS

if TYPE_CHECKING:
    from .conftest import FakeNode

pytestmark = pytest.mark.linux
URL = "http://proxy.example:3128"
HTTP: dict[str, Any] = {"scheme": "http", "url": URL}
LOGIN = {"username": "me@x", "password": "p@ss:w/%20ö"}
CONFIG, LOGINS = (path.lstrip("/") for path in (apt_proxy.CONFIG, apt_proxy.LOGINS))
STATES: list[list[dict[str, Any]]] = [
    [],
    [HTTP],
    [HTTP, {"scheme": "https", "url": URL, "direct": ["mirror.example"]}],
    [{**HTTP, **LOGIN}, {"scheme": "https", "url": URL, **LOGIN}],
    [HTTP],
    [{**HTTP, **LOGIN}],
    [],
]


def prepare(node: FakeNode, proxies: list[dict[str, Any]], *, check: bool = False) -> list[str]:
    bare = {**PARAMS, "kernel_modules": [], "sysctls": {}, "hosts": {}, "swap": "keep"}
    made = Preparation({**bare, "apt_proxies": proxies}, check, FACTS, root=str(node.root))
    made.present()
    assert LOGIN["password"] not in str(made.diffs)
    return [change for change in made.changes if "/apt/" in change]


@pytest.mark.parametrize(("before", "after"), list(pairwise(STATES)))
def test_files_are_exactly_those_that_are_wanted(
    node: FakeNode, before: list[dict[str, Any]], after: list[dict[str, Any]]
) -> None:
    node.path("etc/apt/apt.conf.d").mkdir(parents=True)
    prepare(node, before)
    changes = prepare(node, after, check=True)
    assert prepare(node, after) == changes
    assert changes
    assert prepare(node, after) == prepare(node, after, check=True) == []
    logins = [one for one in after if "username" in one]
    assert node.path(CONFIG).exists() is bool(after)
    assert node.path(LOGINS).exists() is bool(logins)
    if after:
        text = node.path(CONFIG).read_text()
        assert all(f'Acquire::{one["scheme"]}::Proxy "{URL}/";' in text for one in after)
        assert "me@x" not in text
        assert node.path(CONFIG).stat().st_mode & 0o777 == 0o644
        assert ("mirror.example" in text) is any("direct" in one for one in after)
    if logins:
        line = f"machine {URL}/ login me@x password {LOGIN['password']}\n"
        assert node.path(LOGINS).read_text().count(line) == 1
        assert node.path(LOGINS).stat().st_mode & 0o777 == 0o600


def test_without_apt_or_without_the_role_there_is_no_file(node: FakeNode) -> None:
    assert prepare(node, [HTTP]) == []
    assert not node.path("etc/apt").exists()
    node.path("etc/apt/apt.conf.d").mkdir(parents=True)
    prepare(node, [{**HTTP, **LOGIN}])
    Preparation(PARAMS, False, FACTS, root=str(node.root)).absent()
    assert not node.path(CONFIG).exists()
    assert not node.path(LOGINS).exists()


@pytest.mark.parametrize(
    ("proxies", "said"),
    [
        ([{**HTTP, "url": "http://me:pw@p:1"}], "without a login"),
        ([{**HTTP, "url": 'http://p";x'}], "must be http(s)://HOST"),
        ([{**HTTP, **LOGIN, "password": "a b"}], "blanks"),
        ([{**HTTP, "direct": ['a"; B "']}], "which is no host"),
        ([HTTP, HTTP], "two proxies for http"),
        (STATES[3], ""),
    ],
)
def test_what_apt_cannot_take_is_told(proxies: list[dict[str, Any]], said: str) -> None:
    told = apt_proxy.problems(proxies)
    assert (said in told[0]) if said else told == []
