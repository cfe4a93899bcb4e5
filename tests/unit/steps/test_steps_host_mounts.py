"""What of this host nodes are to see is compared with provider and data before anything is made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ohmykube.errors import ConfigError
from ohmykube.model.cluster import Mount
from ohmykube.providers.base import Capabilities
from ohmykube.steps.host_mounts import check_host_mounts
from ohmykube.testing.fake_provider import FakeProvider

if TYPE_CHECKING:
    from ohmykube.steps.context import Context


def mounting(ctx: Context, *hosts: Path) -> Context:
    mounts = tuple(Mount(host=host, node=f"/m{n}") for n, host in enumerate(hosts))
    first, *others = ctx.cluster.nodes
    nodes = (first, *(replace(node, mounts=mounts) for node in others))
    return replace(ctx, cluster=replace(ctx.cluster, nodes=nodes))


def test_a_provider_whose_machines_are_elsewhere_refuses_mounts_alone(ctx: Context) -> None:
    without = FakeProvider(ctx.provider.context, Capabilities(creates=True, powers=True))
    check_host_mounts(replace(mounting(ctx), provider=without))
    with pytest.raises(ConfigError) as caught:
        check_host_mounts(replace(mounting(ctx, Path("/etc")), provider=without))
    assert caught.value.id == "OMK-C-550"
    assert "provider fake" in caught.value.message


@pytest.mark.parametrize("above", [0, 1, 2, 100])
def test_what_has_the_roots_of_nodes_in_it_is_mounted_on_none(ctx: Context, above: int) -> None:
    data = ctx.services.paths.data
    host = [data, *data.parents][: above + 1][-1]
    with pytest.raises(ConfigError) as caught:
        check_host_mounts(mounting(ctx, Path("/etc"), host))
    assert caught.value.id == "OMK-C-551"
    assert str(data) in (caught.value.why or "")


def test_a_link_to_it_is_seen_through(ctx: Context, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(ctx.services.paths.data.parent)
    with pytest.raises(ConfigError):
        check_host_mounts(mounting(ctx, link))


@pytest.mark.parametrize("name", ["beside", "data-2", "d"])
def test_what_is_beside_it_can_be_mounted(ctx: Context, name: str) -> None:
    check_host_mounts(mounting(ctx, ctx.services.paths.data.parent / name))
    check_host_mounts(mounting(ctx, ctx.services.paths.data / "inside"))
