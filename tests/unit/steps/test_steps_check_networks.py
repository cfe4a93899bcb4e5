"""Networks that a provider's machines cannot have are an error before anything is made."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ohmykube.errors import ConfigError
from ohmykube.kit.paths import Paths
from ohmykube.model.cluster import Cluster, Network, Node, Role
from ohmykube.progress import NullReporter
from ohmykube.providers.base import Capabilities, ProviderContext
from ohmykube.steps.check_networks import check_networks
from ohmykube.steps.context import Context, Services
from ohmykube.testing.fake_provider import FakeProvider

if TYPE_CHECKING:
    from pathlib import Path

BOTH = "10.244.0.0/16,fd00:10:244::/56"


class Given(FakeProvider):
    """Its machines are in a network that is there."""

    open_outside = None  # type: ignore[assignment]  # what it does not do


def checked(
    home: Path, network: Network, kind: type[FakeProvider] = FakeProvider, **able: object
) -> None:
    class Able(kind):  # type: ignore[valid-type, misc]  # one of two
        @property
        def capabilities(self) -> Capabilities:
            return replace(super().capabilities, **able)

    cluster = Cluster(
        name="dev",
        kubernetes_version="1.36.3",
        provider="fake",
        nodes=(Node(name="cp1", role=Role.CONTROL_PLANE),),
        network=network,
    )
    paths = Paths(state=home / "s", data=home / "d", cache=home / "c")
    context = ProviderContext(paths=paths, reporter=NullReporter(), cluster=cluster)
    check_networks(
        Context(
            services=Services(paths=paths, reporter=NullReporter()),
            cluster=cluster,
            provider=Able(context),
            directory=home,
            run_directory=home,
        )
    )


@pytest.mark.parametrize(
    ("pods", "able", "absent"),
    [
        ("10.244.0.0/16", {4}, ""),
        ("10.244.0.0/16", {4, 6}, ""),
        (BOTH, {4, 6}, ""),
        (BOTH, {4}, "no IPv6 addresses"),
        ("fd00:10:244::/56", {4}, "no IPv6 addresses"),
        ("10.244.0.0/16", {6}, "no IPv4 addresses"),
    ],
)
def test_a_family_that_machines_do_not_have_is_refused(
    tmp_path: Path, pods: str, able: set[int], absent: str
) -> None:
    network = Network(pod_cidr=pods)
    if not absent:
        checked(tmp_path, network, families=frozenset(able))
        return
    with pytest.raises(ConfigError, match=absent) as caught:
        checked(tmp_path, network, families=frozenset(able))
    assert caught.value.id == "OMK-C-660"
    assert pods in str(caught.value.why)


@pytest.mark.parametrize("machines", ["10.9.0.0/24", "10.9.0.0/24,fd00:9::/64"])
def test_a_network_of_machines_is_for_who_makes_it(tmp_path: Path, machines: str) -> None:
    network = Network(machine_cidr=machines)
    checked(tmp_path, network)
    checked(tmp_path, Network(), Given)
    with pytest.raises(ConfigError, match="machineCIDR") as caught:
        checked(tmp_path, network, Given)
    assert caught.value.id == "OMK-C-661"
