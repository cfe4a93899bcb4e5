"""Ports on 127.0.0.1 of the host, forwarded to addresses inside a cluster's network."""

from __future__ import annotations

import contextlib
import zlib
from typing import TYPE_CHECKING

from ohmykube.errors import LockedError, ProviderError, TimeoutExceeded
from ohmykube.kit import process, retry
from ohmykube.providers.nspawn import layout, network

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from ohmykube.providers.nspawn.cgroups import Cgroups
    from ohmykube.providers.nspawn.host_system import HostSystem
    from ohmykube.providers.nspawn.layout import ClusterFiles

# A port is a cluster's for its life and is bound again at each start: not one of those that the
# kernel gives to outgoing connections (from 32768 on, net.ipv4.ip_local_port_range), nor a NodePort
# (30000 to 32767), nor one of Lima's clusters (from 26443 on).
FIRST_PORT, PORTS = 25443, 1000
PROXY = "/lib/systemd/systemd-socket-proxyd"
_LISTEN_WAIT = retry.Wait(seconds=5, every=0.02, factor=1.5, longest=0.2)


def choose(cluster: str, promised: Collection[int], free: Callable[[int], bool]) -> int:
    """Return a port that is free now and reserved for no other cluster.

    Raises:
        LockedError: none is left.
    """
    # Clusters start at different places, so that two of different homes seldom want the same.
    start = zlib.crc32(cluster.encode()) % PORTS
    for step in range(PORTS):
        port = FIRST_PORT + (start + step) % PORTS
        if port not in promised and free(port):
            return port
    raise LockedError(
        f"no port of 127.0.0.1 between {FIRST_PORT} and {FIRST_PORT + PORTS - 1} is free",
        hint="ss -ltn  (what listens there?)",
        id="OMK-P-171",
    )


class PortForwards:
    """The forwarders of clusters, each in a cgroup of its own below its cluster's."""

    def __init__(self, host: HostSystem, cgroups: Cgroups) -> None:
        self._host = host
        self._cgroups = cgroups

    def choose(self, cluster: str, promised: Collection[int]) -> int:
        """Return a port for a new forwarder (see the function of that name)."""
        return choose(cluster, promised, self._host.kernel.port_free)

    def ensure(self, files: ClusterFiles, cluster: str, target: str, port: int) -> None:
        """Listen on 127.0.0.1:``port`` for ``target`` (``address:port``) unless we do already.

        Raises:
            LockedError: something else listens there.
            ProviderError: the forwarder does not start.
        """
        group = layout.forward_group(cluster, port)
        if self._cgroups.pids(group):
            return
        if not self._host.kernel.port_free(port):
            raise LockedError(
                f"port {port} of 127.0.0.1, which leads to {target} of cluster {cluster}, is taken",
                why="another program listens there, or a connection comes from there",
                hint=f"ss -tanp 'sport = :{port}'  (which one?); stop it, then run this again",
                id="OMK-P-172",
            )
        self._cgroups.make(group)
        log = files.forward_log(port)
        listen = ["systemd-socket-activate", "-l", f"127.0.0.1:{port}"]
        argv = [*listen, *network.inside(self._host, cluster), PROXY, target]
        pid = self._host.launch(self._cgroups.join_files(group), argv, log)

        def listens() -> bool | None:
            if not self._host.kernel.port_free(port):
                return True
            return None if (self._host.proc / str(pid)).exists() else False

        started = False
        with contextlib.suppress(TimeoutExceeded):
            started = retry.until(self._host.clock, _LISTEN_WAIT, f"port {port}", listens)
        if not started:
            self._cgroups.kill(group)
            text = log.read_text(errors="replace") if log.exists() else ""
            raise ProviderError(
                f"port {port} of 127.0.0.1 could not be led to {target} of cluster {cluster}",
                why=process.tail(text) or None,
                hint="ohmykube doctor",
                id="OMK-P-173",
            )

    def end(self, cluster: str, port: int) -> None:
        """Stop listening on ``port``; without effect when we do not."""
        group = layout.forward_group(cluster, port)
        if self._cgroups.exists(group):
            self._cgroups.kill(group)
            self._cgroups.remove(group)
