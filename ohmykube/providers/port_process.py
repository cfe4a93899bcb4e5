"""The process that holds a cluster's ports of this host: told what is wanted, asked what is.

It is ``PROGRAM``, and knows more of Kubernetes than a provider does. How it is started, found and
ended is the provider's.
"""

from __future__ import annotations

import contextlib
import json
import signal
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from ohmykube.errors import ProviderError, TimeoutExceeded
from ohmykube.kit import digest, files, process, retry, shell
from ohmykube.model import exposure
from ohmykube.model.exposure import Exposed, Orders, Report

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path

PROGRAM = "ohmykube.kube.exposure"
"""The module that is run."""
STOPPED = "nothing holds ports now: the cluster is stopped, or what held them has ended"
API_WAIT = retry.Wait(seconds=3, every=0.02, factor=1.5, longest=0.2)
"""For the API server's first answer."""
_START_WAIT = retry.Wait(seconds=20, every=0.01, factor=1.5, longest=0.2)


class Keeper(Protocol):
    """Keeps the process of one cluster."""

    def pids(self) -> Collection[int]:
        """Return the processes that are there; none where it has ended, or was never started."""
        ...

    def start(self, argv: Sequence[str], /) -> int:
        """Start it, which does not run yet; return a process that is there while it is."""
        ...

    def alive(self, pid: int, /) -> bool:
        """Tell whether what ``start`` returned is still there."""
        ...

    def signal(self, pid: int, number: int, /) -> None:
        """Send a signal; a process that is gone is no error."""
        ...

    def end(self) -> None:
        """End it, and return when it has; without effect where it does not run."""
        ...

    def output(self) -> str:
        """Return what it has said since it was started."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PortProcess:
    """The process of one cluster. Call all methods but ``exposed`` under the cluster's lock."""

    cluster: str
    orders: Path
    report: Path
    log: Path
    keeper: Keeper
    clock: retry.Clock

    def ensure(self, wanted: Orders, before: Callable[[], None] = lambda: None) -> Report:
        """Hold exactly these ports; return where they are.

        Args:
            wanted: without a revision.
            before: called before the process is told of something new.

        Raises:
            ProviderError: the process does not start.
        """
        text = json.dumps(wanted.document(), sort_keys=True)
        wanted = replace(wanted, revision=digest.of_bytes(text.encode()))
        if wanted.nothing:
            self.remove()
            return Report()
        told = self._at_work(wanted) if wanted == self.ordered() else None
        if told is not None and not all(forward.place for forward in told.forwards):
            self.end()
            told = None
        if told is None:
            before()
            files.write(self.orders, json.dumps(wanted.document()))
            self._tell(wanted)
        return told or self.reported()

    def ordered(self) -> Orders | None:
        """Return what was wanted last; None for nothing, or where that cannot be read."""
        try:
            return exposure.orders(json.loads(self.orders.read_text()))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def reported(self) -> Report:
        """Return what was told last, by a process that may have ended."""
        try:
            return exposure.report(json.loads(self.report.read_text()))
        except (OSError, ValueError, KeyError, TypeError):
            return Report()

    def known(self, limit: retry.Wait = API_WAIT) -> Exposed:
        """Return where ports are once the process has asked the API, or found that it cannot.

        A refusal is final after a while only: what was just granted comes into force a bit later.
        """

        def asked() -> Exposed | None:
            told = self.reported().exposed
            return told if told.complete or (told.problem and not told.refused) else None

        with contextlib.suppress(TimeoutExceeded):
            return retry.until(self.clock, limit, f"services of {self.cluster}", asked)
        return self.reported().exposed

    def exposed(self) -> Exposed:
        """Return where ports are now; asks nobody."""
        if self.runs():
            return self.reported().exposed
        return Exposed(problem=STOPPED if self.orders.exists() else "")

    def runs(self) -> bool:
        """Tell whether the process is there."""
        return bool(self.keeper.pids())

    def end(self) -> None:
        """Hold none; without effect where none is held. ``ensure`` brings them back."""
        self.keeper.end()

    def remove(self) -> None:
        """Hold none, and forget what was wanted and where it was."""
        self.end()
        for path in (self.orders, self.report):
            path.unlink(missing_ok=True)

    def _at_work(self, orders: Orders) -> Report | None:
        """Return the report of the process if it has done what it was told."""
        report = self.reported()
        alive = report.pid in self.keeper.pids()
        return report if alive and report.revision == orders.revision else None

    def _tell(self, orders: Orders) -> None:
        """Let the process read its orders: the one there is, or a new one."""
        before = self.reported()
        pid = before.pid
        if before.version == orders.version and pid in self.keeper.pids():
            self.keeper.signal(pid, signal.SIGHUP)
        else:
            self.end()
            argv = [sys.executable, "-P", "-m", PROGRAM, str(self.orders), str(self.report)]
            pid = self.keeper.start(argv)
        self._wait(orders, pid)

    def _wait(self, orders: Orders, pid: int) -> None:
        def told() -> bool | None:
            if self._at_work(orders) is not None:
                return True
            return None if self.keeper.alive(pid) else False

        with contextlib.suppress(TimeoutExceeded):
            if retry.until(self.clock, _START_WAIT, "ports of this host", told):
                return
        self.end()
        text = self.keeper.output()
        raise ProviderError(
            f"no port of this host could be led into cluster {self.cluster}",
            why=process.tail(text) or "the process that holds them does not answer",
            hint=f"cat {shell.word(self.log)}",
            id="OMK-P-540",
        )
