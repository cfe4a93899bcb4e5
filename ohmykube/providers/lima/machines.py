"""Making, starting, stopping and removing one instance, with limactl's races and hangs kept out.

Three things must not meet, and a lock of the home keeps them apart: a directory that is half there
(held alone), a machine whose start has just begun (held alone until limactl calls it running), and
a stop, at whose end limactl ends the networks of all machines that do not run (held together).
"""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ohmykube.errors import LockedError, ProviderError, TimeoutExceeded
from ohmykube.kit import failures, files, retry, shell
from ohmykube.progress import NodeProgress
from ohmykube.providers.lima import boot_log, lima_yaml, marker, processes, records
from ohmykube.providers.lima.disks import Disks
from ohmykube.providers.lima.events import Events
from ohmykube.providers.lima.limactl_errors import LimactlError
from ohmykube.providers.lima.limactl_output import Status
from ohmykube.providers.lima.state import Inspection, State
from ohmykube.providers.lima.version_workarounds import Quirk

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ohmykube.kit.retry import Clock
    from ohmykube.progress import Reporter
    from ohmykube.providers.lima.lima_home import Home
    from ohmykube.providers.lima.limactl import Limactl
    from ohmykube.providers.lima.limactl_output import Instance, LogEntry
    from ohmykube.providers.lima.marker import Marker
    from ohmykube.providers.lima.network import Networks
    from ohmykube.providers.lima.state import Inspector

BOOT_SECONDS = 600.0
EMULATED_FACTOR = 6
BEGIN_SECONDS = 60.0
"""A start that is not under way by then has hung; the lock is given back."""
ORDERLY_SECONDS = 100.0
ORDERLY_EMULATED_SECONDS = 200.0
"""limactl itself gives up after 190."""
_POLL = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long to wait, in seconds."""

    boot: float = BOOT_SECONDS
    """For the guest; limactl itself may take a minute more."""
    orderly: float = ORDERLY_SECONDS
    """For a guest that was asked to switch itself off."""
    answer: float = 30.0
    """For ssh of a guest that is up, and for the network to know it."""
    at_once: int = 4
    """How many guests boot at the same time."""


class Machines:
    """The instances of one home. The caller holds the node's lock."""

    def __init__(
        self,
        home: Home,
        limactl: Limactl,
        networks: Networks,
        inspector: Inspector,
        *,
        reporter: Reporter,
        timeouts: Timeouts,
        command_of: Callable[[int], str] = processes.command,
    ) -> None:
        self._home = home
        self._limactl = limactl
        self._networks = networks
        self._inspector = inspector
        self._disks = Disks(home, limactl)
        self._reporter = reporter
        self._timeouts = timeouts
        self._command_of = command_of
        self._clock: Clock = home.clock
        self._slots = threading.BoundedSemaphore(max(1, timeouts.at_once))

    def inspect(self, name: str) -> Inspection:
        """Look at one instance."""
        return self._inspector.inspect(name, self._instance(name))

    def _instance(self, name: str) -> Instance | None:
        if not (self._home.directory(name) / "lima.yaml").is_file():
            return None  # limactl trips over a half-made one, or calls it broken
        return next((i for i in self._limactl.list(name) if i.name == name), None)

    # --- making

    def make(
        self,
        claimed: Marker,
        build: Callable[[], tuple[LogEntry, ...]],
        disks: Sequence[int],
        text: str = "",
    ) -> None:
        """Make an instance that is not there, and leave nothing of it when that fails.

        Args:
            claimed: whose it will be.
            build: lets limactl make it, by ``create`` or ``clone``.
            disks: sizes in GiB of its additional disks.
            text: the template, to be compared with what limactl made of it; empty for a clone.

        Raises:
            LockedError: somebody made one of that name meanwhile.
        """
        name = claimed.instance
        with self._home.exclusive():
            self._tidy()
            if self._home.directory(name).exists():
                raise foreign(name, self._home.directory(name))
            marker.claim(self._home, claimed)
            with failures.undoing(lambda: self._discard(name)):
                self._disks.ensure(name, disks)
                build()
                self._refuse_other(name, text)
                marker.write(self._home.directory(name), claimed)
            marker.drop_claim(self._home, name)

    def _refuse_other(self, name: str, text: str) -> None:
        """Compare: limactl takes what it does not know for a trifle."""
        made = self._instance(name)
        wrong = lima_yaml.differences(text, made.config) if made and text else ()
        if made is None or wrong:
            raise ProviderError(
                f"limactl made {name} otherwise than it was asked to",
                why="\n".join(wrong) or "it does not list it",
                hint="limactl --version  (2.0 to 2.2 are known to work)",
                id="OMK-P-531",
            )

    def reshape(self, name: str, fields: Sequence[str], disks: Sequence[int]) -> None:
        """Change a stopped instance by yq expressions, and its additional disks."""
        with self._home.exclusive():
            before = len(self._disks.of(name))
            self._disks.ensure(name, disks)
            expressions = list(fields)
            if len(disks) > before:
                entries = lima_yaml.disk_entries(name, len(disks))
                expressions += lima_yaml.expressions({"additionalDisks": entries})
            if expressions:
                self._limactl.edit(name, *expressions)

    # --- starting

    def boot(self, whose: Marker) -> Inspection:
        """Start an instance that does not run, and wait until it is READY; tries twice.

        A start that gives up leaves the machine running: it is looked at, and ended when it is not
        ready after all.

        Raises:
            ProviderError: it did not come up; it is stopped.
        """
        name = whose.instance
        failed: LimactlError | None = None
        seen = Inspection(state=State.STOPPED, marker=whose)
        for _attempt in range(2):
            failed = self._start(whose)
            seen = self._settle(name)
            if seen.state is State.READY:
                return seen
            self.reset(whose)
        reasons = [seen.why, *((failed.message, failed.why) if failed else ())]
        raise ProviderError(
            f"machine {whose.node} of cluster {whose.cluster} did not come up",
            why="\n".join(reason for reason in reasons if reason)
            + boot_log.last(self._home.directory(name)),
            hint="ohmykube start" if seen.state is State.NETDEAD else "ohmykube doctor",
            id="OMK-P-532",
        ) from failed

    def _start(self, whose: Marker) -> LimactlError | None:
        name = whose.instance
        with self._slots, ThreadPoolExecutor(1, thread_name_prefix=name) as pool:
            with self._home.exclusive():
                self._tidy()
                self.clear_dead_daemon(whose)
                starting = pool.submit(self._limactl.start, name, timeout=self._timeouts.boot)
                self._wait_begun(name, starting)
            self._follow(whose, starting)
            try:
                starting.result()
            except LimactlError as error:
                return error
        return None

    def _wait_begun(self, name: str, starting: Future[tuple[LogEntry, ...]]) -> None:
        """Wait until limactl calls it running: from then on a stop elsewhere spares its network."""
        end = self._clock.now() + BEGIN_SECONDS
        while not starting.done() and self._clock.now() < end:
            with contextlib.suppress(LimactlError):
                instance = self._instance(name)
                if instance is not None and instance.status is Status.RUNNING:
                    return
            self._clock.sleep(_POLL)

    def _follow(self, whose: Marker, starting: Future[tuple[LogEntry, ...]]) -> None:
        told = Events(self._home.directory(whose.instance))
        ended = False
        while not ended:
            ended = (
                starting.done()
            )  # asked first, so that events before the end are still passed on
            for activity in filter(None, map(boot_log.activity, told.new())):
                self._reporter.emit(NodeProgress(node=whose.node, activity=activity))
            self._clock.sleep(0 if ended else _POLL)

    def _settle(self, name: str) -> Inspection:
        """Look until a machine that was started is READY, or cannot become so any more."""
        return self._await(
            lambda: self._learn(name), (State.NETDEAD, State.SILENT), self._timeouts.answer
        )

    def _learn(self, name: str) -> Inspection:
        """Look, and note the address of a machine that runs for the first time."""
        instance, whose = self._instance(name), marker.owner(self._home, name)
        if instance is None or whose is None:
            return self._inspector.inspect(name, instance)
        record = records.read(self._home, whose.cluster)
        up = (
            self._inspector.inspect_processes(replace(whose, complete=True), instance)[0]
            is State.READY
        )
        if up and record is not None:
            with contextlib.suppress(ProviderError):
                address = self._networks.address_of(record, instance.ssh_port)
                if address and address == (whose.address or address):
                    mac = self._networks.daemon(record.network).leases().get(address, "")
                    noted = replace(whose, address=address, mac=mac or whose.mac, complete=True)
                    if noted != whose:
                        marker.write(self._home.directory(name), noted)
                    self._networks.endpoint(whose.cluster, f"{address}:22")
        return self._inspector.inspect(name, instance)

    def await_ready(self, name: str, seconds: float) -> Inspection:
        """Wait for a machine that is starting; return its last state."""
        return self._await(lambda: self.inspect(name), (State.BOOTING, State.SILENT), seconds)

    def _await(
        self, see: Callable[[], Inspection], passing: Sequence[State], seconds: float
    ) -> Inspection:
        """Look until the state is none of those that may pass; return the last one."""
        found: list[Inspection] = []

        def probe() -> Inspection | None:
            found.append(see())
            return None if found[-1].state in passing else found[-1]

        with contextlib.suppress(TimeoutExceeded):
            wait = retry.Wait(seconds=seconds, every=_POLL, factor=1.3, longest=1)
            retry.until(self._clock, wait, "a machine", probe)
        return found[-1]

    def clear_dead_daemon(self, whose: Marker) -> None:
        """Clear away what a dead daemon of its network left; needs the home's exclusive lock."""
        ours = marker.owned(self._home).values()
        known = {m.address: m.mac for m in ours if m.network == whose.network}
        self._networks.clear_dead_daemon(
            whose.network, {a: mac for a, mac in known.items() if a and mac}
        )

    # --- ending

    def halt(self, seen: Inspection) -> None:
        """Stop an instance, orderly where that can work.

        Raises:
            ProviderError: it still runs.
        """
        whose = _ours(seen)
        if seen.state is State.STOPPED or seen.instance is None:
            return
        if seen.state in (State.READY, State.BOOTING, State.DEGRADED, State.NETDEAD):
            with self._home.exclusive():
                self._tidy()
            with self._home.shared(), contextlib.suppress(LimactlError):
                self._limactl.stop(whose.instance, timeout=self._timeouts.orderly)
        if self._runs(whose.instance):
            self.reset(whose)

    def stopped(self, seen: Inspection) -> Marker:
        """Stop an instance and return its mark."""
        self.halt(seen)
        return _ours(seen)

    def _runs(self, name: str) -> bool:
        instance = self._instance(name)
        return instance is not None and instance.status is not Status.STOPPED

    def reset(self, whose: Marker) -> None:
        """End an instance's processes; safe on one that does not run.

        Raises:
            ProviderError: it still runs.
        """
        with self._home.exclusive():
            self._tidy()
            self.clear_dead_daemon(whose)  # ending a machine may start its network's daemon anew
        with self._home.shared():
            self._limactl.stop(whose.instance, force=True)
        if self._runs(whose.instance):
            raise ProviderError(
                f"machine {whose.node} of cluster {whose.cluster} cannot be stopped",
                why=f"limactl does not call {whose.instance} stopped after `stop --force`",
                hint="ohmykube stop  (once more), or reboot this host",
                id="OMK-P-533",
            )

    def remove(self, seen: Inspection) -> None:
        """Remove an instance, its disks, and the network when it was the cluster's last."""
        whose = _ours(seen)
        with self._home.exclusive():
            # Were it killed half-way, the claim says that the rest may go.
            marker.claim(self._home, whose)
            self._tidy(besides=whose.instance)
            self._discard(whose.instance)
        self.forget(whose)

    def forget(self, whose: Marker) -> None:
        """Remove a deleted machine's network resources, and with the last one the cluster's."""
        with self._home.exclusive():
            self._networks.forget(whose.cluster, whose.address)
            left = marker.owned(self._home).values()
            if whose.cluster and all(other.cluster != whose.cluster for other in left):
                self._networks.remove(whose.cluster)

    def _tidy(self, besides: str = "") -> None:
        """Remove what killed runs left half-made or half-removed; the home is held alone.

        Before 2.2 limactl neither starts, stops nor deletes anything while such a directory is
        there. One that is not ours stays, and is named.

        Raises:
            LockedError: there is one that is not ours.
        """
        for path in self._home.claims.glob("*.yaml"):
            there = self._home.directory(path.stem)
            if path.stem != besides and not (there / "lima.yaml").exists():
                self._discard(path.stem)
        if not Quirk.HALF_MADE_BREAKS_LIST.of(self._limactl.version()):
            return
        for name in self._limactl.half_made():
            if name != besides:
                directory = self._home.directory(name)
                raise LockedError(
                    f"{directory} keeps limactl from working",
                    why="it is no machine, for it has no lima.yaml, and ohmykube did not make it",
                    hint=f"ls -la {shell.word(directory)}  (then remove it, or update Lima to 2.2)",
                    id="OMK-P-535",
                )

    def _discard(self, name: str) -> None:
        """Remove the directory, disks and claim of an instance of ours; the home is held alone."""
        directory = self._home.directory(name)
        if marker.owner(self._home, name) is not None:
            if (directory / "lima.yaml").is_file():
                self._limactl.delete(name, force=True)
            if directory.exists():
                # limactl neither lists nor deletes what has no lima.yaml.
                for pid_file in directory.glob("*.pid"):
                    processes.end(pid_file, directory, self._command_of)
                files.remove_tree(directory)
        self._disks.remove(name)
        marker.drop_claim(self._home, name)


def _ours(seen: Inspection) -> Marker:
    if seen.marker is None:
        raise ProviderError("internal: an instance that is not ours was to be changed")
    return seen.marker


def foreign(name: str, directory: Path) -> LockedError:
    """Return the error for an instance of our name that is not ours."""
    return LockedError(
        f"there is a virtual machine {name} that ohmykube did not make",
        why=f"{directory} has no mark of this cluster and node; it is left as it is",
        hint="choose another cluster name, or rename that machine with limactl",
        id="OMK-P-534",
    )
