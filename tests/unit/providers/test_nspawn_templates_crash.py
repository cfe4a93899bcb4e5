"""Freezing and cloning on a simulated host, killed before each of many system calls."""

from __future__ import annotations

import json
import os
import random
import traceback
from typing import TYPE_CHECKING, Any

import pytest
import simulated_host
from simulated_host import Simulation
from test_nspawn_provider import files_left, provider_at
from test_nspawn_templates import DATABASE, KEY, NEW, machine, node_files, prepared, sums

from ohmykube.errors import NotFoundError
from ohmykube.kit.files import TEMP_PREFIX
from ohmykube.model.machine import MachineState
from ohmykube.testing.conformance import BUILDING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.linux

KERNEL = simulated_host.__file__
SEED = 20261123
CALLS = ("link", "mkdir", "rename", "replace", "rmdir", "symlink", "unlink", "chown")
"""What changes names and owners on a disk; between them nothing becomes visible."""


class Killed(BaseException):
    """The process ends here: no handler below runs that asks for an Exception."""


class Killer:
    """Counts the calls, and lets the process end before one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int | None = None) -> None:
        self.count = 0
        self._at = at
        for name in CALLS:
            monkeypatch.setattr(os, name, self._guarded(getattr(os, name)))

    def _guarded(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **more: Any) -> Any:
            if in_the_kernel():
                return real(*args, **more)
            self.count += 1
            # Once dead, nothing more happens: not even what `finally` would clean up.
            if self._at is not None and self.count >= self._at:
                raise Killed
            return real(*args, **more)

        return call


def in_the_kernel() -> bool:
    """Tell whether the simulated kernel makes the call: what that does is done at once."""
    return any(frame.f_code.co_filename == KERNEL for frame, _ in traceback.walk_stack(None))


def points(count: int, number: int) -> list[int]:
    """Return the first, the last and some calls between them."""
    chosen = random.Random(SEED).sample(range(1, count + 1), min(number, count))
    return sorted({1, count, *chosen})


def traces(simulation: Simulation) -> list[str]:
    """Return what is left on the host but for temp files that the next reboot clears."""
    return [path for path in simulation.traces() if TEMP_PREFIX not in path]


def counted(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> int:
    with monkeypatch.context() as patch:
        killer = Killer(patch)
        act()
    return killer.count


def killed(monkeypatch: pytest.MonkeyPatch, at: int, act: Callable[[], object]) -> None:
    with monkeypatch.context() as patch:
        killer = Killer(patch, at)
        try:
            act()
        except Killed:
            return
    # How often a directory is looked for again depends on what else goes on.
    assert killer.count > at * 0.9, "it was never killed"


def test_a_killed_freeze_gives_a_whole_template_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulation = Simulation(root=tmp_path / "host", version=2)
    provider = provider_at(simulation, tmp_path)

    def freeze() -> None:
        provider.freeze(BUILDING, "worker", NEW)

    prepared(provider, tmp_path)
    total = counted(monkeypatch, freeze)
    whole = sums(tmp_path / "d/nspawn-templates" / KEY)
    assert total > 30
    provider.remove_template(KEY)
    seen = set()
    for at in points(total, 12):
        prepared(provider, tmp_path)
        killed(monkeypatch, at, freeze)
        again = provider_at(simulation, tmp_path)
        found = [template.key for template in again.templates()]
        seen.add(len(found))
        if found:
            assert sums(tmp_path / "d/nspawn-templates" / KEY) == whole, f"seed {SEED}, call {at}"
        assert list(again.clusters()) == []
        again.sweep_templates()
        again.remove_template(KEY)
        assert traces(simulation) == [], f"seed {SEED}, call {at}"
        assert set(files_left(tmp_path)) <= {"d/nspawn"}, f"seed {SEED}, call {at}"
    assert seen == {0, 1}


def test_a_killed_creation_of_a_clone_is_ended_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulation = Simulation(root=tmp_path / "host", version=2)
    provider = provider_at(simulation, tmp_path)
    prepared(provider, tmp_path)
    provider.freeze(BUILDING, "worker", NEW)
    store = tmp_path / "d/nspawn-templates" / KEY
    whole = sums(store)
    spec = machine("w1", template=KEY)
    files = node_files(tmp_path, "dev", "w1")
    for _ in range(2):  # the first one also makes what is made once
        total = counted(monkeypatch, lambda: provider.create(spec))
        provider.delete("dev", "w1")
    assert total > 30
    for at in points(total, 12):
        killed(monkeypatch, at, lambda: provider.create(spec))
        again = provider_at(simulation, tmp_path)
        assert again.create(spec).state is MachineState.RUNNING
        assert (files.root / "usr/local/bin/kubelet").read_text() == "usr/local/bin/kubelet"
        assert (files.root_dir / "containerd" / DATABASE).read_text() == DATABASE
        assert json.loads(files.marker.read_text())["complete"] is True
        assert sums(store) == whole, f"seed {SEED}, call {at}"
        again.delete("dev", "w1")
        assert traces(simulation) == [], f"seed {SEED}, call {at}"


def test_a_killed_removal_leaves_no_half_template(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulation = Simulation(root=tmp_path / "host", version=2)
    provider = provider_at(simulation, tmp_path)

    def make() -> None:
        prepared(provider, tmp_path)
        provider.freeze(BUILDING, "worker", NEW)

    make()
    total = counted(monkeypatch, lambda: provider.remove_template(KEY))
    for at in points(total, 4):
        make()
        whole = sums(tmp_path / "d/nspawn-templates" / KEY)
        killed(monkeypatch, at, lambda: provider.remove_template(KEY))
        again = provider_at(simulation, tmp_path)
        if again.templates():
            assert sums(tmp_path / "d/nspawn-templates" / KEY) == whole
        else:
            with pytest.raises(NotFoundError):
                again.create(machine("w1", template=KEY))
        again.sweep_templates()
        again.remove_template(KEY)
        assert files_left(tmp_path) == [], f"seed {SEED}, call {at}"
