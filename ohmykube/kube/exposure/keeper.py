"""From orders, services and pods to ports of this host, over and over."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ohmykube.errors import OhmykubeError
from ohmykube.kit import files
from ohmykube.kube import service_ports
from ohmykube.kube.api_watch import Watched
from ohmykube.kube.exposure.listeners import Listeners
from ohmykube.model import exposure
from ohmykube.model.exposure import Exposed, Report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from ohmykube.kit.dialer import Dialer
    from ohmykube.model.exposure import Orders, Request

log = logging.getLogger(__name__)

GATHER_SECONDS = 0.05
"""How long changes are gathered before they are brought about together."""
AGAIN_SECONDS = 1.0
"""After which a report is tried again that could not be written."""
_RUNNING = "&fieldSelector=status.phase%3DRunning"


def read_orders(path: Path) -> Orders:
    """Return the orders in a file; raises OSError, KeyError, TypeError or ValueError."""
    return exposure.orders(json.loads(path.read_text()))


def read_report(path: Path) -> Report:
    """Return the report in a file; an empty one where there is none of this version."""
    try:
        return exposure.report(json.loads(path.read_text()))
    except (OSError, ValueError, KeyError, TypeError):
        return Report()


class Keeper:
    """What the process does.

    Args:
        orders_file: what is wanted.
        report_file: what is, written with each change; read once, for the places of before.
        outside: enters the network in which ports are held, for as long as the block runs.
        dialer: the way to the cluster's addresses.
        reloaded: called with new orders.
    """

    def __init__(
        self,
        orders_file: Path,
        report_file: Path,
        outside: Callable[[], AbstractContextManager[None]],
        dialer: Dialer,
        reloaded: Callable[[Orders], None] = lambda _orders: None,
    ) -> None:
        self._orders_file = orders_file
        self._report_file = report_file
        self._orders = read_orders(orders_file)
        self._offered = read_report(report_file).offered
        self._report = Report()
        places = read_report(report_file).places
        self._listeners = Listeners(places, self._promised, outside, dialer)
        self._dialer = dialer
        self._reloaded = reloaded
        self._changed = asyncio.Event()
        self._watched: tuple[Watched, ...] = ()
        self._following: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        """Work until cancelled."""
        self._watch()
        while True:
            await self._bring_about()
            await self._changed.wait()
            await asyncio.sleep(GATHER_SECONDS)
            self._changed.clear()

    def close(self) -> None:
        """Hold no port any more; what was told stays in the report."""
        self._unwatch()
        self._listeners.close()

    def reload(self) -> None:
        """Take the orders that are in the file now."""
        before = self._orders
        self._orders = read_orders(self._orders_file)
        self._reloaded(self._orders)
        if self._orders.exposure.access != before.exposure.access:
            self._watch()
        self._changed.set()

    def _unwatch(self) -> None:
        for task in self._following:
            task.cancel()
        self._watched, self._following = (), []

    def _watch(self) -> None:
        self._unwatch()
        access, changed, dialer = self._orders.exposure.access, self._changed.set, self._dialer
        if access is None:
            return
        self._watched = (
            Watched(access, "/api/v1/services", service_ports.reduced, changed, dialer),
            Watched(
                access, "/api/v1/pods", service_ports.of_pod, changed, dialer, selector=_RUNNING
            ),
        )
        loop = asyncio.get_running_loop()
        self._following = [loop.create_task(one.follow()) for one in self._watched]

    async def _bring_about(self) -> None:
        complete = all(one.complete for one in self._watched)
        if complete:
            # Until the API server answers, what it offered last keeps its ports.
            self._offered = tuple(self._now_offered())
        orders = self._orders
        fixed = map(service_ports.of_fixed, orders.exposure.fixed)
        listed = map(service_ports.of_listed, orders.listed)
        ways = tuple(map(service_ports.of_forward, orders.forwards))
        requests = (*ways, *fixed, *listed, *self._offered)
        found = await self._listeners.bring_about(requests, orders.nodes)
        forwards = tuple(found.pop(way.key) for way in ways)
        problem = next((one.problem for one in self._watched if one.problem), None)
        report = Report(
            revision=orders.revision,
            version=orders.version,
            pid=os.getpid(),
            places=dict(self._listeners.places),
            exposed=Exposed(
                ports=tuple(found.values()),
                problem=str(problem or ""),
                refused=problem is not None and problem.denied,
                complete=complete,
            ),
            forwards=forwards,
            offered=self._offered,
        )
        if report != self._report:
            self._tell(report)

    def _tell(self, report: Report) -> None:
        """Write a report; where that is not possible, hold the ports all the same."""
        try:
            files.write(self._report_file, json.dumps(report.document()))
            self._report = report
        except (OhmykubeError, OSError) as error:
            log.warning("no report: %s", error)
            asyncio.get_running_loop().call_later(AGAIN_SECONDS, self._changed.set)

    def _now_offered(self) -> Iterator[Request]:
        if not self._watched:
            return
        services, pods = (list(one.objects.values()) for one in self._watched)
        for asked in self._orders.exposure.asked:
            found = service_ports.of_asked(asked, services)
            if found is not None:
                yield found
        for service in services:
            yield from service_ports.of_service(service)
        for ports in pods:
            yield from ports

    def _promised(self) -> set[str]:
        """Return the places of other clusters, as ``tcp/127.0.0.1:8080``."""
        found: set[str] = set()
        for path in Path(self._orders.clusters).glob(f"*/{self._report_file.name}"):
            if path != self._report_file:
                found.update(read_report(path).held)
        return found
