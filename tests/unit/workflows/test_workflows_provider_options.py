"""`config validate` refuses the options that `up` refuses, with the same words."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from ohmykube.config import load
from ohmykube.config.overrides import Overrides
from ohmykube.errors import ConfigError
from ohmykube.kit import paths
from ohmykube.model.cluster import Host
from ohmykube.progress import Message
from ohmykube.steps.context import Services
from ohmykube.testing.reporter import RecordingReporter
from ohmykube.workflows.provider_options import check_provider_options
from ohmykube.workflows.up import up
from ohmykube.workflows.up_values import UpOptions

if TYPE_CHECKING:
    from ohmykube.model.cluster import Cluster

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


def described(provider: str, options: dict[str, Any]) -> Cluster:
    made = load.from_overrides(Overrides(name="dev", provider="nspawn", workers=0))
    nodes = tuple(
        replace(node, host=Host(address="a") if provider == "ssh" else None) for node in made.nodes
    )
    return replace(made, provider=provider, provider_options=options, nodes=nodes)


@pytest.fixture
def services() -> Services:
    return Services(paths=paths.from_environment(), reporter=RecordingReporter())


@pytest.mark.parametrize(("provider", "options"), WRONG)
def test_wrong_options_are_refused_as_up_refuses_them(
    services: Services, provider: str, options: dict[str, Any]
) -> None:
    cluster = described(provider, options)
    with pytest.raises(ConfigError) as checked:
        check_provider_options(services, cluster)
    with pytest.raises(ConfigError) as run:
        up(services, cluster, UpOptions(plan_only=True))
    assert checked.value.problems == run.value.problems != ()
    assert checked.value.id == run.value.id


@pytest.mark.parametrize(
    ("provider", "options"),
    [("nspawn", {"suite": "trixie"}), ("nspawn", {}), ("lima", {}), ("ssh", {})],
)
def test_right_ones_are_not(services: Services, provider: str, options: dict[str, Any]) -> None:
    check_provider_options(services, described(provider, options))
    assert not services.paths.state.exists()
    assert isinstance(services.reporter, RecordingReporter)
    assert not services.reporter.of(Message)
