"""Whether this host can start machines with Lima, as doctor and auto are told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ohmykube.errors import PrerequisiteError
from ohmykube.kit.paths import Paths
from ohmykube.model.cluster import Node, Role
from ohmykube.model.machine import MachineSpec
from ohmykube.providers import registry
from ohmykube.providers.base import Check, CheckStatus, ProviderContext
from ohmykube.providers.lima import preflight
from ohmykube.providers.lima.lima_home import Home
from ohmykube.providers.lima.limactl import Limactl
from ohmykube.providers.lima.options import Options
from ohmykube.providers.lima.preflight import Host
from ohmykube.testing import fake_limactl
from ohmykube.testing.fake_limactl.in_process import InProcess
from ohmykube.testing.reporter import RecordingReporter
from tests.lima_world import World, world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def place() -> Iterator[World]:
    with world("2.2.0") as found:
        yield found


def host(place: World, **more: object) -> Host:
    """Return a host that has everything."""
    device = place.root / "kvm"
    device.touch()
    wanted = {"system": "linux", "uid": 1000, "architecture": "amd64", "kvm": device,
              "which": lambda name: f"/bin/{name}", **more}  # fmt: skip
    return Host(**wanted)  # type: ignore[arg-type]


def looked(
    place: World, where: Host, options: Options | None = None, limactl: Limactl | None = None
) -> dict[str, Check]:
    cluster = place.cluster()
    tool = limactl or place.limactl
    checks = preflight.check(where, place.home, tool, options or Options(), cluster)
    return {check.id: check for check in checks}


def failed(checks: dict[str, Check]) -> set[str]:
    return {name for name, check in checks.items() if check.status is CheckStatus.FAIL}


def test_a_host_that_has_everything(place: World) -> None:
    checks = looked(place, host(place))
    assert failed(checks) == set()
    assert checks["lima-limactl"].evidence == "limactl 2.2.0"
    assert {check.status for check in checks.values()} == {CheckStatus.OK}


def test_root_is_told_that_lima_refuses(place: World) -> None:
    checks = looked(place, host(place, uid=0))
    assert failed(checks) == {"lima-user"}
    assert "--provider nspawn" in checks["lima-user"].fix


def test_without_acceleration_nspawn_is_offered(place: World) -> None:
    where = host(place, kvm=place.root / "absent")
    checks = looked(place, where)
    assert failed(checks) == {"lima-acceleration"}
    assert "cannot be opened" in checks["lima-acceleration"].evidence
    assert "--provider nspawn" in checks["lima-acceleration"].fix
    asked = looked(place, where, Options(emulation=True))["lima-acceleration"]
    assert asked.status is CheckStatus.WARN


def test_without_programs(place: World) -> None:
    checks = looked(place, host(place, which=lambda _name: None))
    assert {"lima-limactl", "lima-program-ssh", "lima-program-qemu-img"} <= failed(checks)
    assert checks["lima-program-qemu-img"].packages == ("qemu-utils",)
    assert "lima-vm.io" in checks["lima-limactl"].fix


def test_a_limactl_that_is_too_old_or_silent(place: World) -> None:
    def told(code: str) -> Check:
        place.program.write_text(f"#!/bin/sh\n{code}\n")
        real = Limactl(place.home.root, program=str(place.program))
        return looked(place, host(place), limactl=real)["lima-limactl"]

    old = told("echo limactl version 1.2.1")
    assert (old.status, old.evidence) == (CheckStatus.FAIL, "limactl 1.2.1")
    assert told("echo what").status is CheckStatus.FAIL
    assert told("echo oh no >&2; exit 3").evidence.endswith("oh no")


def test_root_is_seen_although_the_program_panics(place: World) -> None:
    run = InProcess({"FAKE_LIMA_PROFILE": "2.0.3", "FAKE_LIMA_AS_ROOT": "1"})
    checks = looked(place, host(place), limactl=Limactl(place.home.root, run=run))
    assert failed(checks) == {"lima-limactl"}
    assert "root" in checks["lima-limactl"].evidence


def test_an_older_one_works_with_a_warning(place: World) -> None:
    run = InProcess({"FAKE_LIMA_PROFILE": "2.0.3"})
    check = looked(place, host(place), limactl=Limactl(place.home.root, run=run))["lima-limactl"]
    assert check.status is CheckStatus.WARN


def test_a_path_that_is_too_long(place: World) -> None:
    far = Home(place.root / ("x" * 90))
    (check,) = [
        c
        for c in preflight.check(host(place), far, place.limactl, Options(), None)
        if c.id == "lima-path"
    ]
    assert check.status is CheckStatus.FAIL
    assert "OHMYKUBE_LIMA_HOME" in check.fix


def test_little_space_is_a_warning(place: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "WANTED_GIB", 1 << 30)
    assert looked(place, host(place))["lima-space"].status is CheckStatus.WARN


def test_other_systems(place: World) -> None:
    (check,) = looked(place, host(place, system="win32")).values()
    assert check.status is CheckStatus.FAIL
    mac = looked(place, host(place, system="darwin"))
    assert failed(mac) == set()
    assert "lima-acceleration" not in mac
    assert failed(looked(place, host(place, architecture="riscv64"))) == {"lima-architecture"}


def test_routable_needs_the_daemon_of_macos(place: World) -> None:
    wanted = Options(routable=True)
    assert failed(looked(place, host(place), wanted)) == {"lima-routable"}
    checks = looked(place, host(place, system="darwin"), wanted)
    assert "no such socket" in checks["lima-routable"].evidence


def test_emulation_is_forced_on_linux() -> None:
    forced = preflight.emulation(Host(system="linux", architecture="amd64"))
    assert "-accel tcg" in forced["QEMU_SYSTEM_X86_64"]
    assert set(preflight.emulation(Host(system="darwin", architecture="arm64"))) == {
        "LIMA_USERNET_RESOLVE_IP_ADDRESS_TIMEOUT"
    }


def test_the_provider_says_the_same(place: World) -> None:
    provider = place.provider(host=host(place))
    assert failed({check.id: check for check in provider.check()}) == set()
    assert provider.capabilities.powers


def test_machines_are_slow_where_they_are_emulated(place: World) -> None:
    def slowdown(where: Host, *, emulation: bool) -> int:
        cluster = place.cluster(emulation=emulation)
        return place.provider(cluster, where).capabilities.slowdown

    bare = host(place, kvm=place.root / "no-such-device")
    assert slowdown(bare, emulation=True) > 1
    assert slowdown(bare, emulation=False) == 1, "no machine is made there at all"
    assert slowdown(host(place), emulation=True) == 1, "what is asked for is not needed"


@pytest.mark.parametrize(("disk", "status"), [(5, CheckStatus.FAIL), (20, CheckStatus.WARN)])
def test_other_sizes_are_told_before_anything_is_done(
    place: World, disk: int, status: CheckStatus
) -> None:
    where = host(place)
    spec = MachineSpec(cluster="dev", node="cp1", cpus=1, memory_mib=512, disk_gib=10)
    place.provider(host=where).create(spec)
    node = Node(name="cp1", role=Role.CONTROL_PLANE, cpus=1, memory_mib=512, disk_gib=disk)
    checks = place.provider(place.cluster(node=node), where).check()
    (check,) = [one for one in checks if one.id == "lima-sizes"]
    assert check.status is status
    assert f"cp1: disk 10 GiB, not {disk} GiB" in check.evidence
    same = Node(name="cp1", role=Role.CONTROL_PLANE, cpus=1, memory_mib=512, disk_gib=10)
    checks = place.provider(place.cluster(node=same), where).check()
    assert "lima-sizes" not in {one.id for one in checks}


def test_auto_passes_over_lima_where_it_cannot_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = Paths(state=tmp_path / "s", data=tmp_path / "d", cache=tmp_path / "c")
    context = ProviderContext(paths=paths, reporter=RecordingReporter())
    monkeypatch.setenv("PATH", str(tmp_path))
    found = {name for name in registry.names() if name in registry.AUTO_ORDER}
    assert "nspawn" in found
    with pytest.raises(PrerequisiteError) as caught:
        registry.load("auto", context)
    assert "nspawn: " in str(caught.value.why)
    assert not fake_limactl.processes(tmp_path)
