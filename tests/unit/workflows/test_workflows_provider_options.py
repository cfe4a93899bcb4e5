"""`config validate` refuses what `up` refuses, with the same words, and all of it at once."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ohmykube.config import load
from ohmykube.errors import ConfigError
from ohmykube.kit import paths
from ohmykube.progress import Message
from ohmykube.steps.context import Services
from ohmykube.testing.reporter import RecordingReporter
from ohmykube.workflows.provider_options import check_description
from ohmykube.workflows.up import up
from ohmykube.workflows.up_values import UpOptions

WRONG: list[tuple[str, dict[str, Any]]] = [
    ("nspawn", {"suit": "trixie"}),
    ("nspawn", {"suite": 12}),
    ("nspawn", {"mirror": ""}),
    ("lima", {"imaeg": "x"}),
    ("lima", {"emulation": "yes"}),
    ("lima", {"template": "x.yaml", "image": "y"}),
    ("lima", {"disks": {"w9": ["1GiB"]}}),
    ("ssh", {"port": 22}),
]


# Problems that are found in one pass over the document, none of which may hide another: the part of
# the file, and the place and text that are told.
ELSEWHERE = {
    "a wrong value": ("template: maybe", "spec.template"),
    "an unknown field": ("natwork: {}", 'did you mean "network"?'),
    "a field that kubeadm does not have": (
        "kubeadm: {kubeletConfiguration: {maxPod: 5}}",
        'did you mean "maxPods"?',
    ),
    "an entry of a list": ("network: {certSANs: [a.example.org, 'b c']}", "certSANs[1]"),
    "another CIDR": ("network: {podCIDR: 10.0.0.1/8, serviceCIDR: x}", "spec.network.serviceCIDR"),
    "a wrong source": ("artifacts: {sources: [mirorr]}", 'did you mean "mirror"?'),
    "an add-on": ("addons: [nonsense]", "spec.addons[0]"),
}
NODES = {
    "a taint": ("{taints: [x]}", "taints[0]"),
    "a size": ("{memory: 4}", "memory"),
    "a label": ("{labels: {'a b': c}}", "a b"),
    "a count": ("{count: many}", "count"),
    "a name": ("{names: [w1, 'w 2']}", "names[1]"),
    "a word of Ansible": ("{names: [all]}", "means something else"),
    "a file": ("{files: [{path: x, content: y}]}", "files[0]"),
    "a group that is none": ("[7]", "workers[0]"),
}


def written(provider: str, options: dict[str, Any], **parts: str) -> str:
    """Return a cluster file; ``nodes`` is the text of the workers, ``more`` further lines."""
    workers, planes = parts.get("nodes", "{count: 0}"), "{count: 1}"
    if provider == "ssh":
        workers, planes = parts.get("nodes", "{hosts: []}"), "{hosts: [{address: a}]}"
    chosen = json.dumps({"name": provider, "options": options})
    return (
        "apiVersion: ohmykube.dev/v1\nkind: Cluster\nmetadata: {name: dev}\nspec:\n"
        f"  provider: {chosen}\n  nodes:\n    controlPlane: {planes}\n    workers: {workers}\n"
        f"  {parts.get('more', '')}\n"
    )


def described(text: str) -> load.Inspected:
    return load.inspect(None, text.encode(), "c.yaml")


@pytest.fixture
def services() -> Services:
    return Services(paths=paths.from_environment(), reporter=RecordingReporter())


@pytest.mark.parametrize(("provider", "options"), WRONG)
def test_wrong_options_are_refused_as_up_refuses_them(
    services: Services, provider: str, options: dict[str, Any]
) -> None:
    text = written(provider, options)
    with pytest.raises(ConfigError) as checked:
        check_description(services, described(text))
    with pytest.raises(ConfigError) as run:
        up(services, load.load_text(text, "c.yaml").cluster, UpOptions(plan_only=True))
    # The file is at hand in one of them: the line as well.
    assert {_without_line(one) for one in checked.value.problems} == {*run.value.problems}
    assert all(", line 5: " in one for one in checked.value.problems)


def _without_line(problem: str) -> str:
    return problem.replace(", line 5: ", ": ")


@pytest.mark.parametrize("part", [*ELSEWHERE, *NODES])
@pytest.mark.parametrize(
    ("provider", "options"), [("nspawn", {"suit": "x"}), ("lima", {"disks": {"w1": [], "x": 1}})]
)
def test_no_problem_hides_another(
    services: Services, provider: str, options: dict[str, Any], part: str
) -> None:
    """All problems of a file are told at once, whichever rooms find them."""
    wrong, place = {**ELSEWHERE, **NODES}[part]
    text = written(provider, options, **{"more" if part in ELSEWHERE else "nodes": wrong})
    with pytest.raises(ConfigError) as error:
        check_description(services, described(text))
    told = error.value.problems
    assert any(place in one for one in told), told
    assert any("spec.provider.options." in one and "line 5" in one for one in told), told


@pytest.mark.parametrize("part", ["a count", "a name", "a group that is none"])
def test_a_node_that_may_be_there_is_not_said_to_be_missing(services: Services, part: str) -> None:
    """Nothing is told that only follows from what was left out."""
    text = written("lima", {"disks": {"w1": ["1GiB"]}}, nodes=NODES[part][0])
    with pytest.raises(ConfigError) as error:
        check_description(services, described(text))
    assert len(error.value.problems) == 1


@pytest.mark.parametrize(
    ("provider", "options"),
    [("nspawn", {"suite": "trixie"}), ("nspawn", {}), ("lima", {}), ("ssh", {})],
)
def test_right_ones_are_not(services: Services, provider: str, options: dict[str, Any]) -> None:
    assert check_description(services, described(written(provider, options))).name == "dev"
    assert not services.paths.state.exists()
    assert isinstance(services.reporter, RecordingReporter)
    assert not services.reporter.of(Message)
