"""Add-ons of a cluster file: what is refused, with what to write instead; what is filled in."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from ohmykube.addons import registry
from ohmykube.config import load
from ohmykube.config.document import to_document
from ohmykube.errors import ConfigError
from ohmykube.model.cluster import WantedAddon
from tests import foreign_addon

if TYPE_CHECKING:
    from pathlib import Path

    from ohmykube.model.cluster import Cluster

HEAD = "apiVersion: ohmykube.dev/v1\nkind: Cluster\nspec:\n"


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return foreign_addon.install(tmp_path / "site", monkeypatch)


def read(spec: str) -> Cluster:
    return load.load_text(f"{HEAD}  {spec}\n", "c.yaml").cluster


def refused(spec: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(spec)
    return "\n".join(caught.value.problems)


@pytest.mark.parametrize(
    "names", ["echo, echo", "nosuch, nosuch", "nosuch, echo, nosuch, ping, echo, echo", "a, b, c"]
)
def test_each_entry_has_one_line(names: str) -> None:
    """An entry that is not right has one problem, in its own place, whatever stands beside it."""
    each = names.split(", ")
    known = ("echo", "ping")
    wrong = [n for n, name in enumerate(each) if name in each[:n] or name not in known]
    places = [line.partition(",")[0] for line in refused(f"addons: [{names}]").splitlines()]
    assert [place.removesuffix(".name") for place in places] == [f"spec.addons[{n}]" for n in wrong]


def test_a_name_alone_is_enough() -> None:
    found = read("addons: [echo, {name: ping, version: 1.0.0, namespace: x}]")
    assert found.addons == (
        WantedAddon(name="echo", version="1.1.0"),
        WantedAddon(name="ping", version="1.0.0", namespace="x"),
    )
    assert load.from_document(to_document(found), desired=True) == found
    assert read("addons:").addons == ()


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        (
            "addons: [ecko]",
            (
                'must be "echo", "flannel", "local-path", "metrics-server" or "ping", got "ecko"; '
                'did you mean "echo"?'
            ),
        ),
        (
            "addons: [echo, echo]",
            'spec.addons[1], line 4: has the add-on "echo", which spec.addons',
        ),
        ("addons: [{name: echo, version: 2.0.0}]", 'must be "1.1.0" or "1.0.0", got "2.0.0"'),
        ("addons: [{name: echo, version: 1.1}]", 'must be text, got 1.1; quote it: "1.1"'),
        (
            "addons: [{name: echo, values: {txt: a}}]",
            "spec.addons[0].values.txt, line 4: is none of its values: text; did",
        ),
        ("addons: [{name: echo, values: {text: 1}}]", "Input should be a valid string"),
        ("addons: [{name: echo, vaules: {}}]", 'did you mean "values"?'),
        ("addons: [{version: 1.1.0}]", "must be given"),
        ("addons: [{name: flannel, values: {a: 1}}]", "has no effect: flannel takes no values"),
        ("addons: [{name: flannel, namespace: a}]", "has no effect: that of flannel is fixed"),
        ("addons: [flannel]\n  network: {cni: none}", "set spec.network.cni to flannel too"),
        ("network: {cni: echo}", 'must be "flannel" or "none", got "echo"'),
        (
            'addons: [echo]\n  kubernetes: {version: "1.35.4"}',
            "echo 1.1.0 wants Kubernetes 1.36 or newer, and this is 1.35.4",
        ),
        (
            "addons: [echo]\n  nodes: {workers: {names: [big, small], memory: 2000MiB}}",
            "echo wants 2048 MiB of memory on each node; too small: big, small",
        ),
    ],
)
def test_what_does_not_fit_is_told(spec: str, told: str) -> None:
    assert told in refused(spec)


def test_a_wrong_version_of_kubernetes_says_nothing_of_add_ons() -> None:
    text = refused('addons: [echo]\n  kubernetes: {version: "1.20.0"}')
    assert "must be one of the supported versions" in text
    assert "echo" not in text


def facts(monkeypatch: pytest.MonkeyPatch, name: str, **more: tuple[str, ...]) -> None:
    """Let an add-on say something else of itself."""
    addon = type(registry.load(name))
    monkeypatch.setattr(addon, "facts", dataclasses.replace(addon.facts, **more))


def test_what_add_ons_are_to_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    facts(monkeypatch, "echo", needs=("ping",))
    assert "echo needs the add-on ping: list it too" in refused("addons: [echo]")
    assert read("addons: [echo, ping]").addons
    facts(monkeypatch, "ping", conflicts=("echo",))
    assert "ping does not work beside echo: leave one of them out" in refused(
        "addons: [echo, ping]"
    )
    facts(monkeypatch, "echo", needs=(), provides=("default-storage-class",))
    facts(monkeypatch, "ping", conflicts=(), provides=("default-storage-class",))
    text = refused("addons: [echo, ping]")
    assert "a cluster has one default-storage-class only, and these are: echo, ping" in text


def test_a_second_pod_network_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    facts(monkeypatch, "echo", provides=("cni",))
    assert read("network: {cni: echo}").network.cni == "echo"
    spec = "network: {cni: echo, flannel: {backend: host-gw}}"
    loaded = load.load_text(f"{HEAD}  {spec}\n", "c.yaml")
    assert loaded.warnings == ("spec.network.flannel has no effect with cni: echo",)
    found = read("network: {cni: echo}\n  addons: [{name: echo, values: {text: hi}}]")
    assert found.addons[0].values == {"text": "hi"}
    assert "spec.network.cni to flannel too, it is echo" in refused(
        "network: {cni: echo}\n  addons: [flannel]"
    )


def test_a_broken_package_is_told_where_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = "[ohmykube.addons]\ngone = echo_addon:Gone\n"
    foreign_addon.install(tmp_path / "other", monkeypatch, points=points)
    assert 'plugin "gone" of echo-addon 1.0 cannot be loaded' in refused("addons: [gone]")
    assert read("network: {cni: flannel}").network.cni == "flannel"


def test_a_record_may_name_what_was_uninstalled_since() -> None:
    document = to_document(read("addons: [{name: echo, version: 1.0.0}]"))
    document["spec"]["addons"][0]["name"] = "uninstalled"
    document["spec"]["network"]["cni"] = "uninstalled-too"
    found = load.from_document(document)
    assert (found.addons[0].name, found.network.cni) == ("uninstalled", "uninstalled-too")
    with pytest.raises(ConfigError, match="2 problems"):
        load.from_document(document, desired=True)
