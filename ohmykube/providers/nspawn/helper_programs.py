"""Programs that work for a cluster besides its nodes, each kept in a cgroup of its own.

One that a signal ends (a user's, the kernel's for want of memory, its own fault) is started again
at once. One that ends by itself has a reason that would be the same again: the next command that
needs the cluster starts it, and says why where it cannot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.providers.nspawn import layout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ohmykube.providers.nspawn.cgroups import Cgroups
    from ohmykube.providers.nspawn.host_system import HostSystem
    from ohmykube.providers.nspawn.layout import ClusterFiles

# A shell's $? is above 128 for a signal. The pause keeps one that always crashes from a busy loop.
_KEEP = 'until "$@"; do code=$?; [ $code -gt 128 ] || exit $code; sleep 1; done'


class HelperPrograms:
    """The helpers of all clusters. Call all methods but ``pids`` under the cluster's lock."""

    def __init__(self, host: HostSystem, cgroups: Cgroups) -> None:
        self._host = host
        self._cgroups = cgroups

    def start(self, cluster: str, paths: ClusterFiles, helper: str, argv: Sequence[str]) -> int:
        """Start a helper, which does not run yet; return the process that is there while it is.

        The output goes to ``paths.helper_log(helper)``, which is begun anew.
        """
        group = layout.helper_group(cluster, helper)
        self._cgroups.make(group)
        log = paths.helper_log(helper)
        log.unlink(missing_ok=True)
        kept = ["/bin/sh", "-c", _KEEP, "ohmykube", *argv]
        return self._host.launch(self._cgroups.join_files(group), kept, log)

    def pids(self, cluster: str, helper: str) -> list[int]:
        """Return the processes of a helper; none where it has ended, or was never started."""
        return self._cgroups.pids(layout.helper_group(cluster, helper))

    def signal(self, pid: int, number: int) -> None:
        """Send a signal; a process that is gone is no error."""
        self._cgroups.signal(pid, number)

    def end(self, cluster: str, helper: str) -> None:
        """End a helper; without effect where it does not run."""
        group = layout.helper_group(cluster, helper)
        if self._cgroups.exists(group):
            self._cgroups.kill(group)
            self._cgroups.remove(group)

    def output(self, paths: ClusterFiles, helper: str) -> str:
        """Return what a helper has said since it was started; empty where that cannot be read."""
        try:
            return paths.helper_log(helper).read_text(errors="replace")
        except OSError:
            return ""
