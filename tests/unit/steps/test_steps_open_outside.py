"""What is open to a cluster is the file's word, on each run, or it is refused before anything."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import pytest

from ohmykube.errors import ConfigError
from ohmykube.model.cluster import Egress, Network
from ohmykube.model.outside import Outside
from ohmykube.progress import Status, StepEnded
from ohmykube.steps.open_outside import open_outside, wanted_outside
from ohmykube.steps.run_options import RunOptions
from ohmykube.testing.fake_provider import FakeProvider

if TYPE_CHECKING:
    from ohmykube.steps.context import Context


class Elsewhere(FakeProvider):
    """Its machines are in a network that is not its own."""

    open_outside = None  # type: ignore[assignment]


def described(ctx: Context, network: Network, *, offline: bool = False) -> Context:
    cluster = replace(ctx.cluster, network=network)
    return replace(ctx, cluster=cluster, options=RunOptions(offline=offline))


def ended(ctx: Context) -> StepEnded:
    events = ctx.services.reporter.events  # type: ignore[attr-defined]
    return [event for event in events if isinstance(event, StepEnded)][-1]


@pytest.mark.parametrize("offline", [False, True])
@pytest.mark.parametrize(
    "network",
    [
        Network(),
        Network(egress=Egress.NONE),
        Network(egress=Egress.FULL, host_access=(80,)),
        Network(egress=("a.b", "192.0.2.0/24")),
    ],
)
def test_the_provider_is_given_what_the_file_and_the_run_say(
    ctx: Context, network: Network, offline: bool
) -> None:
    run = described(ctx, network, offline=offline)
    open_outside(run)
    provider = run.provider
    assert isinstance(provider, FakeProvider)
    found = provider.outside(run.cluster.name)
    wanted = wanted_outside(run)
    assert wanted is not None
    assert found == {key: _json(value) for key, value in asdict(wanted).items()}
    assert wanted.everything is (
        network.egress is Egress.FULL or (network.egress is None and not offline)
    )
    assert (ended(run).status, ended(run).detail) == (Status.OK, str(wanted))


def _json(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


@pytest.mark.parametrize("network", [Network(), Network(egress=Egress.FULL)])
def test_a_provider_without_a_network_of_its_own_is_left_alone(
    ctx: Context, network: Network
) -> None:
    run = replace(described(ctx, network), provider=Elsewhere(ctx.provider.context))
    assert wanted_outside(run) is None
    open_outside(run)
    assert ended(run).status is Status.SKIPPED


@pytest.mark.parametrize(
    ("network", "named"),
    [
        (Network(egress=Egress.NONE), "spec.network.egress cannot"),
        (Network(egress=("a.b",)), "spec.network.egress cannot"),
        (Network(host_access=(1,)), "spec.network.hostAccess cannot"),
        (
            Network(egress=Egress.NONE, host_access=(1,)),
            "spec.network.egress and spec.network.hostAccess cannot",
        ),
    ],
)
def test_what_such_a_provider_cannot_do_is_refused(
    ctx: Context, network: Network, named: str
) -> None:
    run = replace(described(ctx, network), provider=Elsewhere(ctx.provider.context))
    with pytest.raises(ConfigError) as caught:
        wanted_outside(run)
    assert caught.value.id == "OMK-C-450"
    assert caught.value.message.startswith(named)


def test_nothing_open_is_nothing_to_say(ctx: Context) -> None:
    run = described(ctx, Network(egress=Egress.NONE))
    open_outside(run)
    assert ended(run).detail == str(Outside())
