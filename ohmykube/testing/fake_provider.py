"""A provider whose machines are lines in a file: for tests of everything above providers.

The machines of a cluster are kept in ``<data>/fake/<cluster>.json``, so several processes see the
same ones. Faults are asked for in ``<data>/fake/faults.json`` (see ``inject``).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ohmykube.errors import NotFoundError, ProviderError
from ohmykube.kit import files, locks
from ohmykube.model.machine import (
    Machine,
    MachineSpec,
    MachineState,
    Resize,
    Resizing,
    SshTarget,
)
from ohmykube.model.names import HIDDEN
from ohmykube.providers.base import Capabilities, Check, CheckStatus, Provider

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from ohmykube.kit.paths import Paths
    from ohmykube.model.outside import Outside
    from ohmykube.providers.base import ProviderContext


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    node: str
    state: str
    address: str
    cpus: float | None = None
    memory_mib: int | None = None
    disk_gib: int | None = None
    mounts: tuple[tuple[str, str, bool], ...] = ()
    """Place on the host and on the node, and whether it is read only."""


def inject(paths: Paths, method: str, *, call: int = 1) -> None:
    """Let the ``call``-th call of ``method`` from now on fail, once.

    The failure comes half-way where there is one: ``create`` leaves a broken machine.
    """
    store = _Store(paths.data / "fake")
    with store.locked():
        store.save_faults({**store.faults(), method: call})


class _Store:
    def __init__(self, root: Path) -> None:
        self.root = root

    def locked(self) -> AbstractContextManager[int]:
        return locks.exclusive(self.root / "lock", "the fake machines", wait_seconds=10)

    def _clusters(self) -> Path:
        return self.root / "clusters"

    def _path(self, cluster: str) -> Path:
        return self._clusters() / f"{cluster}.json"

    def clusters(self) -> list[str]:
        return sorted(path.stem for path in self._clusters().glob("*.json"))

    def machines(self, cluster: str) -> dict[str, _Stored]:
        path = self._path(cluster)
        if not path.exists():
            return {}
        items = [
            {**item, "mounts": tuple(map(tuple, item["mounts"]))}
            for item in json.loads(path.read_text())
        ]
        return {item["node"]: _Stored(**item) for item in items}

    def save(self, cluster: str, machines: dict[str, _Stored]) -> None:
        if machines:
            files.ensure_directory(self._clusters())
            content = [asdict(machines[node]) for node in sorted(machines)]
            files.write(self._path(cluster), json.dumps(content, indent=1))
        else:
            self._path(cluster).unlink(missing_ok=True)
            self._outside(cluster).unlink(missing_ok=True)
        if any(machine.state == MachineState.RUNNING for machine in machines.values()):
            self.helpers(cluster).touch()
        else:
            self.helpers(cluster).unlink(missing_ok=True)

    def helpers(self, cluster: str) -> Path:
        """Return the file that is there while the helpers of a cluster run."""
        return self.root / f"{cluster}.helpers"

    def _outside(self, cluster: str) -> Path:
        return self.root / f"{cluster}.outside.json"

    def save_outside(self, cluster: str, outside: Outside) -> None:
        files.write(self._outside(cluster), json.dumps(asdict(outside)))

    def outside(self, cluster: str) -> dict[str, Any]:
        path = self._outside(cluster)
        found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        return found

    def faults(self) -> dict[str, int]:
        path = self.root / "faults.json"
        found: dict[str, int] = json.loads(path.read_text()) if path.exists() else {}
        return found

    def save_faults(self, faults: dict[str, int]) -> None:
        files.write(self.root / "faults.json", json.dumps(faults))


class FakeProvider(Provider):
    """Keeps the whole contract of a provider without a machine."""

    name = "fake"

    def __init__(self, context: ProviderContext, capabilities: Capabilities | None = None) -> None:
        super().__init__(context)
        self._capabilities = capabilities or Capabilities(
            creates=True,
            powers=True,
            mounts=True,
            resizing=Resizing(cpus=Resize.LIVE, memory=Resize.LIVE, disk=Resize.ON_START),
        )
        self._store = _Store(context.paths.data / "fake")

    @property
    def capabilities(self) -> Capabilities:
        """As given; by default machines that can be made and powered."""
        return self._capabilities

    def check(self) -> Sequence[Check]:
        """Return one check that is fine, or that fails once a fault is due."""
        try:
            if self._store.root.exists():
                self._due("check")
        except ProviderError as error:
            return [Check(id="fake", title="fake", status=CheckStatus.FAIL, evidence=error.message)]
        return [Check(id="fake", title="fake", status=CheckStatus.OK, evidence="always works")]

    def prepare(self) -> None:
        """Do nothing, or fail once a fault is due."""
        self._due("prepare")

    def list(self, cluster: str) -> Sequence[Machine]:
        """Return the machines of exactly this cluster."""
        if not self._store.root.exists():
            return []
        self._due("list")
        stored = self._store.machines(cluster)
        return [_machine(cluster, stored[node]) for node in sorted(stored)]

    def clusters(self) -> Sequence[str]:
        """Return the clusters that have machines."""
        return [name for name in self._store.clusters() if not name.startswith(HIDDEN)]

    def create(self, spec: MachineSpec) -> Machine:
        """Make a machine, or make an existing one run."""
        with self._store.locked():
            machines = self._store.machines(spec.cluster)
            found = machines.get(spec.node)
            mounts = _mounts(spec)
            if found and found.state == MachineState.RUNNING and found.mounts != mounts:
                raise ProviderError(f"node {spec.node} runs with other mounts")
            if found is None:
                used = {machine.address for machine in machines.values()}
                free = (f"192.0.2.{n}" for n in range(11, 255))
                address = next(a for a in free if a not in used)
                found = _Stored(node=spec.node, state=MachineState.BROKEN, address=address)
            disk = found.disk_gib if found.state == MachineState.RUNNING else spec.disk_gib
            sized = replace(
                found, cpus=spec.cpus, memory_mib=spec.memory_mib, disk_gib=disk, mounts=mounts
            )
            self._store.save(spec.cluster, {**machines, spec.node: sized})
            self._count("create")
            return self._become(spec.cluster, spec.node, MachineState.RUNNING)

    def sizes(self, cluster: str, node: str) -> tuple[float | None, int | None, int | None]:
        """Return cores, MiB of memory and GiB of disk of a machine."""
        found = self._store.machines(cluster)[node]
        return found.cpus, found.memory_mib, found.disk_gib

    def mounts(self, cluster: str, node: str) -> Sequence[tuple[str, str, bool]]:
        """Return what a machine sees of the host: where on both, and whether it is read only."""
        return self._store.machines(cluster)[node].mounts

    def path_of(self, cluster: str, node: str, path: str) -> tuple[Path | None, bool]:
        """Return where a file of a machine is on this host, and whether it is read only there."""
        for host, place, read_only in reversed(self.mounts(cluster, node)):
            if Path(path).is_relative_to(place):
                return Path(host) / Path(path).relative_to(place), read_only
        return None, True

    def start(self, cluster: str, node: str) -> Machine:
        """Start a machine."""
        with self._store.locked():
            if node not in self._store.machines(cluster):
                raise NotFoundError(f'cluster "{cluster}" has no node "{node}"')
            self._count("start")
            return self._become(cluster, node, MachineState.RUNNING)

    def stop(self, cluster: str, node: str) -> None:
        """Stop a machine."""
        with self._store.locked():
            self._count("stop")
            if node in self._store.machines(cluster):
                self._become(cluster, node, MachineState.STOPPED)

    def delete(self, cluster: str, node: str) -> None:
        """Remove a machine."""
        with self._store.locked():
            self._count("delete")
            machines = self._store.machines(cluster)
            if node in machines:
                self._store.save(cluster, {k: v for k, v in machines.items() if k != node})

    def break_machine(self, cluster: str, node: str) -> None:
        """Leave a machine as a crash would."""
        with self._store.locked():
            self._become(cluster, node, MachineState.BROKEN)

    def _become(self, cluster: str, node: str, state: MachineState) -> Machine:
        machines = self._store.machines(cluster)
        changed = replace(machines[node], state=state.value)
        self._store.save(cluster, {**machines, node: changed})
        return _machine(cluster, changed)

    def has_helpers(self, cluster: str) -> bool:
        """Tell whether what works for a cluster besides its machines does so."""
        return self._store.helpers(cluster).exists()

    def kill_helpers(self, cluster: str) -> None:
        """End it as a kill would."""
        self._store.helpers(cluster).unlink()

    def restore_helpers(self, cluster: str) -> None:
        """Start it again where a machine runs."""
        self._due("restore_helpers")
        with self._store.locked():
            self._store.save(cluster, self._store.machines(cluster))

    def open_outside(self, cluster: str, outside: Outside) -> None:
        """Write down what is open to the cluster."""
        self._due("open_outside")
        with self._store.locked():
            self._store.save_outside(cluster, outside)

    def outside(self, cluster: str) -> dict[str, Any]:
        """Return the fields of what is open to a cluster; none where nothing was ever said."""
        return self._store.outside(cluster)

    def _due(self, method: str) -> None:
        with self._store.locked():
            self._count(method)

    def _count(self, method: str) -> None:
        """Count a call of ``method`` down to its fault; the store is locked."""
        faults = self._store.faults()
        if method not in faults:
            return
        left = faults.pop(method) - 1
        self._store.save_faults({**faults, method: left} if left > 0 else faults)
        if left <= 0:
            raise ProviderError(
                f"{method} failed as asked", why="an injected fault", hint="try again"
            )


def _mounts(spec: MachineSpec) -> tuple[tuple[str, str, bool], ...]:
    for one in spec.mounts:
        if not one.host.exists() or one.host.resolve() != one.host:
            raise ProviderError(f"node {spec.node} cannot start without {one.host}")
    return tuple((str(one.host), one.node, one.read_only) for one in spec.mounts)


def _machine(cluster: str, stored: _Stored) -> Machine:
    state = MachineState(stored.state)
    target = None
    if state is MachineState.RUNNING:
        target = SshTarget(address=stored.address, user="root")
    return Machine(
        cluster=cluster, node=stored.node, state=state, address=stored.address, ssh=target
    )
