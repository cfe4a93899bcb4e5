"""Real nodes, and the real limactl, for contract tests of providers."""

from __future__ import annotations

import contextlib
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from ohmykube.kit.paths import Paths
from ohmykube.model.machine import MachineSpec
from ohmykube.providers.base import ProviderContext
from ohmykube.providers.nspawn.provider import NspawnProvider
from ohmykube.testing.reporter import RecordingReporter
from tests import lima_binary, quick_sshd
from tests.contract.outside import new_cluster_name, reach
from tests.contract.own_containerd import containerd, containerd_programs

__all__ = ["containerd", "containerd_programs"]

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ohmykube.model.machine import Machine
    from tests.lima_binary import RealLimactl


@pytest.fixture(scope="module")
def real_limactl() -> Iterator[RealLimactl | str]:
    """Give the real limactl, or why there is none; see ``lima_binary.must_be_real``."""
    with contextlib.ExitStack() as stack:
        try:
            found: RealLimactl | str = stack.enter_context(lima_binary.installed())
        except lima_binary.Unavailable as error:
            found = str(error)
        yield found


@pytest.fixture
def cluster_name() -> str:
    """Return a name that no other run uses on this host."""
    return new_cluster_name()


@pytest.fixture(scope="session")
def nspawn_at(shared_cache: Path) -> Callable[[Path], NspawnProvider]:
    """Return a maker of providers over a data directory, with the shared base image."""

    def make(home: Path) -> NspawnProvider:
        paths = Paths(state=home / "state", data=home / "data", cache=shared_cache)
        return NspawnProvider(ProviderContext(paths=paths, reporter=RecordingReporter()))

    return make


@pytest.fixture(scope="session")
def bare_nodes(
    shared_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[NspawnProvider, str, list[Machine]]]:
    """Give three running nodes for tests that need machines which exist already."""
    home = tmp_path_factory.mktemp("bare")
    cluster = f"b-{uuid.uuid4().hex[:8]}"
    paths = Paths(state=home / "state", data=home / "data", cache=shared_cache)
    provider = NspawnProvider(ProviderContext(paths=paths, reporter=RecordingReporter()))
    names = ["h1", "h2", "h3"]
    provider.prepare()
    try:
        with ThreadPoolExecutor(3) as pool:
            specs = [MachineSpec(cluster=cluster, node=name) for name in names]
            machines = list(pool.map(provider.create, specs))
            for done in pool.map(lambda one: reach(one, home, quick_sshd.SCRIPT), machines):
                assert done.code == 0, done.stderr
        yield provider, cluster, machines
    finally:
        for name in names:
            provider.delete(cluster, name)
