"""The host as this provider sees it: where the kernel's trees are and how programs are run.

Everything that touches the machine goes through a ``HostSystem``; tests pass one of a directory.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ohmykube.errors import ProviderError
from ohmykube.kit import process
from ohmykube.kit.retry import Clock, SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# Joins the cgroups given before `--`, then becomes the command after it. The shell moves itself, so
# nothing of the command ever runs outside of them.
_JOIN = 'while [ "$1" != -- ]; do echo $$ >"$1" || exit 71; shift; done; shift; exec "$@"'


class Commands(Protocol):
    """Runs programs; the signatures are those of ``kit.process``."""

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float,
        input: str | None = None,
        check: bool = True,
        contained: bool = False,
    ) -> process.Result:
        """Run a program to its end; ``contained`` so that nothing of it outlives us."""
        ...

    def detach(self, argv: Sequence[str], log_file: Path) -> int:
        """Start a program that outlives us."""
        ...

    def which(self, program: str) -> str | None:
        """Find a program on PATH."""
        ...


class SystemCommands:
    """Runs programs on this host."""

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float,
        input: str | None = None,
        check: bool = True,
        contained: bool = False,
    ) -> process.Result:
        """Run a program to its end (``kit.process.run``, ``kit.process.contained``)."""
        whole = process.contained(argv) if contained else argv
        return process.run(whole, timeout=timeout, input=input, check=check)

    def detach(self, argv: Sequence[str], log_file: Path) -> int:
        """Start a program that outlives us (``kit.process.detach``)."""
        return process.detach(argv, log_file)

    def which(self, program: str) -> str | None:
        """Find a program on PATH (``kit.process.which``)."""
        return process.which(program)


class KernelCalls:
    """System calls whose effect a plain directory cannot imitate: control files come and go."""

    def mkdir(self, group: Path) -> None:
        """Make a cgroup."""
        group.mkdir()

    def write(self, control: Path, text: str) -> None:
        """Write a control file: one write(2), and no temp file can be made beside it."""
        with control.open("w") as stream:
            stream.write(text)

    def rmdir(self, group: Path) -> None:
        """Remove a cgroup."""
        group.rmdir()

    def kill(self, pid: int, number: int) -> None:
        """Send a signal."""
        os.kill(pid, number)

    def port_free(self, port: int) -> bool:
        """Tell whether we could listen on that port of 127.0.0.1 now."""
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return False
            return True


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSystem:
    """Roots of the kernel's trees, and the commands."""

    cgroup: Path = Path("/sys/fs/cgroup")
    proc: Path = Path("/proc")
    sys: Path = Path("/sys")
    netns: Path = Path("/run/netns")
    etc: Path = Path("/etc")
    dev: Path = Path("/dev")
    run: Path = Path("/run/ohmykube")
    """Locks and claims of names; empty after a reboot, as namespaces and cgroups are."""
    commands: Commands = field(default_factory=SystemCommands)
    kernel: KernelCalls = field(default_factory=KernelCalls)
    clock: Clock = field(default_factory=SystemClock)

    @property
    def route_tables(self) -> tuple[Path, Path]:
        """The kernel's tables of routes for IPv4 and IPv6, as programs see them that we start."""
        tables = self.proc / "thread-self" / "net"
        return tables / "route", tables / "ipv6_route"

    def mounts(self) -> list[tuple[str, str, frozenset[str]]]:
        """Return (mount point, type, options) of each mount that we see, in order."""
        found = []
        for line in (self.proc / "self" / "mounts").read_text().splitlines():
            fields = line.split(" ")
            point = fields[1].replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
            found.append((point, fields[2], frozenset(fields[3].split(","))))
        return found

    def launch(self, procs: Sequence[Path], argv: Sequence[str], log_file: Path) -> int:
        """Start a detached program inside the cgroups whose ``cgroup.procs`` files are given."""
        joined = ["/bin/sh", "-c", _JOIN, "ohmykube", *map(str, procs), "--", *argv]
        return self.commands.detach(joined, log_file)


def run_checked(
    host: HostSystem,
    what: str,
    argv: Sequence[str],
    *,
    timeout: float = 30,
    contained: bool = False,
) -> process.Result:
    """Run a program whose failure means that ``what`` did not work.

    Args:
        host: where.
        what: as in "could not <what>".
        argv: the program.
        timeout: seconds.
        contained: whether it writes so long that it may not outlive us.

    Raises:
        ProviderError: code other than 0, or it did not end in time.
    """
    return _explained(host, what, argv, timeout, None, contained=contained)


def run_deletion(
    host: HostSystem, what: str, argv: Sequence[str], there: Callable[[], bool]
) -> None:
    """As ``run_checked``, for a program that ends something: it may be gone before that.

    Args:
        host: where.
        what: as in "could not <what>".
        argv: the program.
        there: tells whether the thing is still there; asked when the program has failed.

    Raises:
        ProviderError: it failed, and the thing is still there.
    """
    try:
        run_checked(host, what, argv)
    except ProviderError:
        if there():
            raise


def run_with_input(
    host: HostSystem, what: str, argv: Sequence[str], lines: Sequence[str], *, timeout: float = 30
) -> process.Result:
    """As ``run_checked``, with ``lines`` on the program's standard input."""
    return _explained(host, what, argv, timeout, "\n".join(lines) + "\n")


def _explained(
    host: HostSystem,
    what: str,
    argv: Sequence[str],
    timeout: float,
    data: str | None,
    *,
    contained: bool = False,
) -> process.Result:
    try:
        return host.commands.run(argv, timeout=timeout, input=data, contained=contained)
    except process.CommandFailed as error:
        raise ProviderError(
            f"could not {what}",
            why=f"{error.message}: {error.why or 'no output'}",
            hint="ohmykube doctor",
            id="OMK-P-100",
        ) from error
