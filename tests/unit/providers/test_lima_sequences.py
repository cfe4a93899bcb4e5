"""Random operations with faults: after each the listing is the truth, and at last all is whole."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING

import pytest

from ohmykube.errors import OhmykubeError
from ohmykube.model.machine import MachineSpec, MachineState
from ohmykube.providers.lima import marker
from ohmykube.testing import fake_limactl
from ohmykube.testing.fake_limactl import Fault
from tests.lima_world import World, world

if TYPE_CHECKING:
    from collections.abc import Callable

NODES = ("cp1", "w1")
FAULTS = [fault.value for fault in Fault if fault is not Fault.SLOW]
STEPS = 5


class Sequence:
    """One run of random operations on a home of its own."""

    def __init__(self, place: World, seed: int) -> None:
        self.place = place
        self.random = random.Random(seed)
        self.addresses: dict[str, str] = {}
        self.log: list[str] = []
        self.foreign = 0

    def run(self) -> None:
        """Do it; raises AssertionError with what was done so far."""
        steps: list[Callable[[str], None]] = [
            *(3 * [self.create]), self.start, self.start, self.stop, self.stop, self.delete,
            self.plant, self.plant, self.plant, self.kill, self.kill, self.junk, self.unmark,
        ]  # fmt: skip
        for _ in range(STEPS):
            step, node = self.random.choice(steps), self.random.choice(NODES)
            self.log.append(f"{step.__name__} {node}")
            with contextlib.suppress(OhmykubeError):
                step(node)
            self.check()
        self.mend()
        self.clean()

    def spec(self, node: str) -> MachineSpec:
        return MachineSpec(cluster="dev", node=node, cpus=1, memory_mib=512)

    def create(self, node: str) -> None:
        self.place.provider().create(self.spec(node))

    def start(self, node: str) -> None:
        self.place.provider().start("dev", node)

    def stop(self, node: str) -> None:
        self.place.provider().stop("dev", node)

    def delete(self, node: str) -> None:
        self.addresses.pop(node, None)
        self.place.provider().delete("dev", node)

    def plant(self, _node: str) -> None:
        fault = self.random.choice(FAULTS)
        self.log[-1] = f"plant {fault}"
        self.place.plant(fault)

    def kill(self, _node: str) -> None:
        running = sorted(fake_limactl.processes(self.place.home.root).items())
        if running:
            path, pid = self.random.choice(running)
            self.log[-1] = f"kill {path.name}"
            os.kill(pid, signal.SIGKILL)

    def junk(self, _node: str) -> None:
        self.foreign += 1
        (self.place.home.root / f"junk{self.foreign}").mkdir(parents=True, exist_ok=True)

    def unmark(self, node: str) -> None:
        with contextlib.suppress(AssertionError):
            self.place.damage("dev", node)

    def check(self) -> None:
        """Compare the listing with the processes and files there are."""
        home = self.place.home
        listed = {m.node: m for m in self.place.provider().list("dev")}
        ours = {whose.node for whose in marker.owned(home).values()}
        assert set(listed) == ours, self.log
        processes = fake_limactl.processes(home.root)
        for node, machine in listed.items():
            directory = self.place.directory("dev", node)
            lives = [directory / name in processes for name in ("ha.pid", "qemu.pid")]
            if machine.state is MachineState.RUNNING:
                assert all(lives), self.log
                assert any("usernet_" in path.name for path in processes), self.log
                assert machine.ssh is not None
                assert self.addresses.setdefault(node, machine.address) == machine.address, self.log
            if machine.state is MachineState.STOPPED:
                assert not any(lives), self.log
        for number in range(1, self.foreign + 1):
            assert (home.root / f"junk{number}").is_dir(), self.log

    def mend(self) -> None:
        """Create everything: whatever is still planted may fail once each."""
        if not self.place.limactl.version().at_least(2, 2):
            # An older limactl trips over it; the error says to remove it.
            for number in range(1, self.foreign + 1):
                (self.place.home.root / f"junk{number}").rmdir()
            self.foreign = 0
        provider = self.place.provider()
        left = 3 * STEPS
        while any(m is not MachineState.RUNNING for m in self.states().values()):
            assert left > 0, (self.log, self.states())
            left -= 1
            for node in NODES:
                with contextlib.suppress(OhmykubeError):
                    provider.create(self.spec(node))
        self.check()

    def states(self) -> dict[str, MachineState | None]:
        seen = {m.node: m.state for m in self.place.provider().list("dev")}
        return {node: seen.get(node) for node in NODES}

    def clean(self) -> None:
        """Delete everything: nothing but what is not ours is left."""
        home, provider = self.place.home, self.place.provider()
        for _ in range(STEPS + 1):
            for node in NODES:
                with contextlib.suppress(OhmykubeError):
                    provider.delete("dev", node)
        assert marker.owned(home) == {}, self.log
        assert fake_limactl.processes(home.root) == {}, self.log
        names = sorted(path.name for path in home.root.glob("[!_]*"))
        assert names == sorted(f"junk{n}" for n in range(1, self.foreign + 1)), self.log
        assert not [*home.clusters.glob("*"), *home.claims.glob("*")], self.log
        shutil.rmtree(home.root)


def run(seed: int) -> str:
    """Run one sequence; return what went wrong."""
    with world(("2.0.3", "2.2.0")[seed % 2]) as place:
        sequence = Sequence(place, seed)
        try:
            sequence.run()
        except (AssertionError, OhmykubeError) as error:
            return f"seed {seed}: {type(error).__name__}: {error}\n{sequence.log}"
    return ""


def failed(seeds: range) -> list[str]:
    """Run many sequences beside each other, for most of their time is waiting."""
    with ProcessPoolExecutor(6) as pool:
        return [told for told in pool.map(run, seeds) if told]


def test_some_sequences() -> None:
    assert failed(range(12)) == []


@pytest.mark.nightly
def test_two_hundred_sequences() -> None:
    assert failed(range(1000, 1200)) == []
