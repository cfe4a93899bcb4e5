"""What kubeadm could not read is told before there is a machine: place, form, nearest name."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import pytest

from ohmykube.config import kubeadm_types, load, patches
from ohmykube.config.yaml_source import Source
from ohmykube.errors import ConfigError
from ohmykube.model import versions

if TYPE_CHECKING:
    from collections.abc import Iterator

GOOD: dict[str, list[Any]] = {
    "string": ["", "text", "7", "{{ x }}"],
    "bool": [True, False],
    "int": [0, 7, -1],
    "float": [0, 7, 0.5],
    "duration": ["0", "10s", "1h30m", "1.5h", "300ms", "-1s"],
    "quantity": ["1", "500m", "1Gi", "1e3", "0.5", 2],
    "any": ["x", 1, {"a": [1]}],
}
BAD: dict[str, list[Any]] = {
    "string": [7, 0.5, True, ["a"], {"a": "b"}],
    "bool": ["true", "yes", 1, 0],
    "int": ["7", 1.5, True, [1]],
    "float": ["0.5", False],
    "duration": [10, "10", "1 minute", "1d", "", True],
    "quantity": ["1 Gi", "many", 0.5, True, []],
    "any": [],
}


def places(types: kubeadm_types.Types, name: str, path: tuple[Any, ...] = ()) -> Iterator[Any]:
    """Return every scalar field below a type: its path, and its type."""
    for field, wanted in types[name].items():
        here, inner = (*path, field), wanted
        while inner.partition(" ")[2]:
            kind, _, inner = inner.partition(" ")
            here = (*here, 0 if kind == "list" else "key")
        if inner in types:
            yield from places(types, inner, here)
        else:
            yield here, inner


def nested(path: tuple[Any, ...], value: Any) -> Any:
    """Return a document that has a value at a path."""
    for part in reversed(path):
        value = [value] if part == 0 else {part: value}
    return value


def verdict(section: str, document: Any, minor: str) -> list[str]:
    """Return what is wrong with one section, as ``config validate`` reads it from a file."""
    version = {"kubernetes": {"version": versions.PATCHES[minor]}}
    spec = {**version, "kubeadm": {section: document}}
    header = {"apiVersion": "ohmykube.dev/v1", "kind": "Cluster"}
    try:
        load.load_text(json.dumps({**header, "spec": spec}), "c.yaml")
    except ConfigError as error:
        return [one for one in error.problems if "must not be set here" not in one]
    return []


EVERYWHERE = [
    pytest.param(section, minor, id=f"{section}-{minor}")
    for section in patches.OWNED
    for minor in versions.PATCHES
]


@pytest.mark.parametrize(("section", "minor"), EVERYWHERE)
def test_every_field_is_checked_by_its_form(section: str, minor: str) -> None:
    """A value is accepted or refused by what its type is in that version of Kubernetes."""
    types = kubeadm_types.types(minor)
    source = Source(label="c.yaml", data={})
    seen = 0
    for path, kind in places(types, section[0].upper() + section[1:]):
        if path[-1] in ("apiVersion", "kind"):
            continue
        seen += 1
        for value in (*GOOD[kind], None):
            document = nested(path, value)
            assert kubeadm_types.problems({section: document}, f"{minor}.0", source) == []
        for value in BAD[kind]:
            document = nested(path, value)
            found = kubeadm_types.problems({section: document}, f"{minor}.0", source)
            assert [one.path for one in found] == [("spec", "kubeadm", section, *path)], value
            assert found[0].text.startswith("must be ")
    assert seen > 15


@pytest.mark.parametrize(("section", "minor"), EVERYWHERE)
def test_an_unknown_field_is_told_with_the_nearest_name(section: str, minor: str) -> None:
    types = kubeadm_types.types(minor)
    fields = types[section[0].upper() + section[1:]]
    for name in fields:
        if len(name) < 5 or name in ("apiVersion", "kind"):
            continue
        wrong = name[:-1] + "x" if name[:-1] not in fields else name + "xx"
        (problem,) = kubeadm_types.problems(
            {section: {wrong: {}}}, f"{minor}.0", Source(label="c.yaml", data={})
        )
        assert problem.path[-1] == wrong
        assert f'did you mean "{name}"?' in problem.text or any(
            f'did you mean "{other}"?' in problem.text for other in fields if other[:4] == name[:4]
        )


@pytest.mark.parametrize("minor", versions.PATCHES)
@pytest.mark.parametrize("component", ["apiServer", "controllerManager", "scheduler"])
def test_arguments_of_the_earlier_form_are_shown_in_todays(component: str, minor: str) -> None:
    """What stands in most examples is a mapping; kubeadm takes a list since v1beta4."""
    document = {component: {"extraArgs": {"v": 4, "audit-log-maxage": "7"}}}
    (problem,) = verdict("clusterConfiguration", document, minor)
    assert f"clusterConfiguration.{component}.extraArgs" in problem
    assert '{name: v, value: "4"}' in problem
    right = copy.deepcopy(document)
    right[component]["extraArgs"] = [{"name": "v", "value": "4"}]  # type: ignore[assignment]
    assert verdict("clusterConfiguration", right, minor) == []


@pytest.mark.parametrize(
    ("section", "document", "instead"),
    [
        (
            "clusterConfiguration",
            {"apiServer": {"timeoutForControlPlane": "8m0s"}},
            "spec.kubeadm.initConfiguration.timeouts",
        ),
        ("clusterConfiguration", {"dns": {"type": "CoreDNS"}}, "CoreDNS is the only one"),
    ],
)
def test_fields_of_earlier_forms_are_told_with_what_became_of_them(
    section: str, document: dict[str, Any], instead: str
) -> None:
    (problem,) = verdict(section, document, "1.36")
    assert "not a field any more" in problem
    assert instead in problem


def test_a_number_that_must_be_text_is_shown_with_its_quotes() -> None:
    text = (
        "apiVersion: ohmykube.dev/v1\nkind: Cluster\nspec:\n  kubeadm:\n    clusterConfiguration:\n"
        "      scheduler:\n        extraArgs:\n          - {name: v, value: 0.50}\n"
    )
    with pytest.raises(ConfigError) as error:
        load.load_text(text, "c.yaml")
    place = "spec.kubeadm.clusterConfiguration.scheduler.extraArgs[0].value, line 8"
    assert error.value.problems == (f'{place}: must be text, got 0.5; quote it: "0.50"',)


@pytest.mark.parametrize("document", [[], "x", 7])
def test_a_value_that_is_no_mapping_is_told(document: Any) -> None:
    (problem,) = verdict("clusterConfiguration", {"apiServer": document}, "1.36")
    assert "must be a mapping" in problem
    (problem,) = verdict("clusterConfiguration", {"featureGates": document}, "1.36")
    assert "must be a mapping" in problem


def test_a_field_of_a_later_version_is_none_of_an_earlier() -> None:
    document = {"defaultPodSysctls": {"net.ipv4.tcp_syncookies": "1"}}
    assert verdict("kubeletConfiguration", document, "1.37") == []
    assert verdict("kubeletConfiguration", document, "1.36")


def test_a_recorded_cluster_is_loaded_as_it_is() -> None:
    """kubeadm has taken it; what a later release knows of its types does not lock it out."""
    kubeadm = {"kubeletConfiguration": {"goneSince": 1}}
    cluster = load.from_document({"spec": {"kubeadm": kubeadm}})
    assert cluster.kubeadm.kubelet_configuration == {"goneSince": 1}
