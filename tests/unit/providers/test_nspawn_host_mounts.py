"""What systemd-nspawn is told of mounts comes out of its own rules as it was meant."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from simulated_host import Simulation, split_bind

from ohmykube.errors import IntegrityError, ProviderError
from ohmykube.kit.paths import Paths
from ohmykube.model.cluster import Mount
from ohmykube.model.machine import MachineSpec
from ohmykube.providers.base import NewTemplate, ProviderContext
from ohmykube.providers.nspawn import host_mounts, records
from ohmykube.providers.nspawn.provider import NspawnProvider
from ohmykube.testing.reporter import RecordingReporter

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.linux
PATHS = ["/a", "/a b", "/a:b:rbind", "/a\\:b\\\\", "/\"'", "/日本", "/$A `b` %h", "/a,b", "/ a "]


@pytest.mark.parametrize("host", PATHS)
@pytest.mark.parametrize("node", PATHS)
@pytest.mark.parametrize("read_only", [False, True])
def test_any_two_paths_are_two_parts_of_an_option(host: str, node: str, read_only: bool) -> None:
    (option,) = host_mounts.options([Mount(host=Path(host), node=node, read_only=read_only)])
    assert split_bind(option) == ("--bind-ro" if read_only else "--bind", [host, node])


def provider_at(simulation: Simulation, home: Path) -> NspawnProvider:
    paths = Paths(state=home / "s", data=home / "d", cache=home / "c")
    context = ProviderContext(paths=paths, reporter=RecordingReporter())
    return NspawnProvider(context, simulation.host())


@pytest.fixture
def simulation(tmp_path: Path) -> Simulation:
    return Simulation(root=tmp_path / "host", version=2)


def mount(host: Path, node: str = "/src", *, read_only: bool = False) -> Mount:
    host.mkdir(exist_ok=True)
    return Mount(host=host, node=node, read_only=read_only)


def spec(*mounts: Mount) -> MachineSpec:
    return MachineSpec(cluster="dev", node="cp1", mounts=mounts)


def marker(home: Path) -> Path:
    return home / "d/nspawn/dev/nodes/cp1/machine.json"


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_machine_with_mounts_is_of_a_schema_that_knows_them(
    simulation: Simulation, tmp_path: Path, count: int
) -> None:
    mounts = tuple(mount(tmp_path / f"m {n}", f"/m{n}", read_only=n == 1) for n in range(count))
    provider = provider_at(simulation, tmp_path)
    provider.create(spec(*mounts))
    found = records.read(marker(tmp_path), records.MachineRecord)
    assert found is not None
    assert (found.mounts, found.schema) == (mounts, records.MOUNTS if count else 1)
    provider.stop("dev", "cp1")
    provider.create(spec())
    found = records.read(marker(tmp_path), records.MachineRecord)
    assert found is not None
    assert (found.mounts, found.schema) == ((), 1)


def test_a_clone_whose_mounts_go_is_a_clone_still(simulation: Simulation, tmp_path: Path) -> None:
    provider = provider_at(simulation, tmp_path)
    provider.create(replace(spec(), cluster=".build"))
    provider.freeze(".build", "cp1", NewTemplate(key="k", role="worker", summary="s"))
    wanted = replace(spec(mount(tmp_path / "m")), template="k")
    provider.create(wanted)
    provider.stop("dev", "cp1")
    provider.create(replace(wanted, mounts=()))
    found = records.read(marker(tmp_path), records.MachineRecord)
    assert found is not None
    assert (found.template, found.schema) == ("k", records.CLONES)


@pytest.mark.parametrize("mounts", [[1], ["/a"], [{"host": "/a"}], [{"host": "/a", "x": 1}], 3])
def test_mounts_of_a_record_that_are_none_are_not_guessed(
    simulation: Simulation, tmp_path: Path, mounts: Sequence[object]
) -> None:
    provider = provider_at(simulation, tmp_path)
    provider.create(spec())
    content = json.loads(marker(tmp_path).read_text())
    marker(tmp_path).write_text(json.dumps(content | {"mounts": mounts}))
    with pytest.raises(IntegrityError):
        provider.list("dev")


@pytest.mark.parametrize("way", ["create", "start"])
def test_a_mount_that_is_gone_stops_a_node_before_it_starts(
    simulation: Simulation, tmp_path: Path, way: str
) -> None:
    provider = provider_at(simulation, tmp_path)
    wanted = spec(mount(tmp_path / "here"), mount(tmp_path / "gone", "/b"))
    provider.create(wanted)
    provider.stop("dev", "cp1")
    (tmp_path / "gone").rmdir()
    before = len(simulation.ran)
    with pytest.raises(ProviderError) as caught:
        provider.create(wanted) if way == "create" else provider.start("dev", "cp1")
    assert caught.value.id == "OMK-P-582"
    assert caught.value.why == f"not on this host: {tmp_path}/gone"
    assert not [argv for argv in simulation.ran[before:] if "systemd-nspawn" in argv]
    (tmp_path / "gone").mkdir()
    assert provider.start("dev", "cp1") == provider.create(wanted)


@pytest.mark.parametrize("way", ["create", "start"])
@pytest.mark.parametrize("above", [False, True])
def test_a_link_that_has_come_in_the_place_of_a_mount_is_not_followed(
    simulation: Simulation, tmp_path: Path, way: str, above: bool
) -> None:
    """A node that may write beside what it mounts could let the next start mount anything."""
    (tmp_path / "above").mkdir()
    (tmp_path / "secret").mkdir()
    provider = provider_at(simulation, tmp_path)
    wanted = spec(mount(tmp_path / "above" / "here"))
    provider.create(wanted)
    provider.stop("dev", "cp1")
    turned = tmp_path / "above" if above else tmp_path / "above" / "here"
    turned.rename(tmp_path / "away")
    turned.symlink_to(tmp_path / "secret")
    (tmp_path / "secret" / "here").mkdir()
    with pytest.raises(ProviderError) as caught:
        provider.create(wanted) if way == "create" else provider.start("dev", "cp1")
    assert caught.value.id == "OMK-P-582"
    assert f"leads by a link to {tmp_path}/secret" in (caught.value.why or "")


def test_a_node_that_runs_keeps_what_it_has(simulation: Simulation, tmp_path: Path) -> None:
    provider = provider_at(simulation, tmp_path)
    has = spec(mount(tmp_path / "a"))
    provider.create(has)
    before = marker(tmp_path).read_bytes()
    for other in (spec(), spec(*has.mounts, mount(tmp_path / "b", "/b"))):
        with pytest.raises(ProviderError) as caught:
            provider.create(other)
        assert caught.value.id == "OMK-P-583"
        assert marker(tmp_path).read_bytes() == before
    assert provider.create(has) == provider.start("dev", "cp1")
