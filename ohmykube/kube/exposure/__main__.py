"""Holds the ports of one cluster until it is killed: ``python -m … ORDERS REPORT``.

It reads its orders at its start and at each SIGHUP, watches services and pods where they name an
API server, and writes what came of it. Both files are JSON (``ohmykube.model.exposure``).
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ohmykube.kit.dialer import DirectDialer
from ohmykube.kit.net_namespace import NetNamespace
from ohmykube.kit.relay import Relay
from ohmykube.kube.exposure.keeper import Keeper, read_orders

if TYPE_CHECKING:
    from ohmykube.model.exposure import Orders

MOST_FILES = 1 << 20
"""Open files, where the system names no limit: macOS takes no larger one."""


async def _work(orders_file: Path, report_file: Path) -> None:
    orders = read_orders(orders_file)
    if orders.relay_socket:
        await _work_through(orders, orders_file, report_file)
        return
    host = NetNamespace(Path("/proc/self/ns/net"))
    cluster = NetNamespace(Path(orders.netns))
    cluster.enter()
    keeper = Keeper(
        orders_file, report_file, lambda: host.entered(back=cluster), dialer=DirectDialer()
    )
    await _keep(keeper)


async def _work_through(orders: Orders, orders_file: Path, report_file: Path) -> None:
    """Reach targets through a relay, which is kept beside."""
    socket_file = Path(orders.relay_socket)
    relay = Relay(socket_file, report_file.with_name("relay.log"))
    relay.use(orders.relays)
    keeper = Keeper(
        orders_file,
        report_file,
        contextlib.nullcontext,
        dialer=relay,
        reloaded=lambda told: relay.use(told.relays),
    )
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(relay.run())
        tasks.create_task(_keep(keeper))


async def _keep(keeper: Keeper) -> None:
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, keeper.reload)
    with contextlib.closing(keeper):
        await keeper.run()


def main() -> None:
    """Work until killed."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most == resource.RLIM_INFINITY:
        most = MOST_FILES
    with contextlib.suppress(ValueError, OSError):  # fewer will do
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    asyncio.run(_work(Path(sys.argv[1]), Path(sys.argv[2])))


if __name__ == "__main__":
    main()
