"""Holds the ports of one cluster until it is killed: ``python -m … ORDERS REPORT``.

It reads its orders at its start and at each SIGHUP, watches services and pods where they name an
API server, and writes what came of it. Both files are JSON (``ohmykube.model.exposure``).
"""

from __future__ import annotations

import asyncio
import resource
import signal
import sys
from contextlib import closing
from pathlib import Path

from ohmykube.kit.net_namespace import NetNamespace
from ohmykube.kube.exposure.keeper import Keeper, read_orders


async def _work(orders_file: Path, report_file: Path) -> None:
    host = NetNamespace(Path("/proc/self/ns/net"))
    cluster = NetNamespace(Path(read_orders(orders_file).netns))
    cluster.enter()
    keeper = Keeper(orders_file, report_file, lambda: host.entered(back=cluster))
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, keeper.reload)
    with closing(keeper):
        await keeper.run()


def main() -> None:
    """Work until killed."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    asyncio.run(_work(Path(sys.argv[1]), Path(sys.argv[2])))


if __name__ == "__main__":
    main()
