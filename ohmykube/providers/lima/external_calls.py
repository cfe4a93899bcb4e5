"""What the provider calls outside of Python, in one place that tests replace."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ohmykube.kit import process
from ohmykube.providers.lima import guest_shell, host_ports, processes, state
from ohmykube.providers.lima.templates import flatten

if TYPE_CHECKING:
    from collections.abc import Callable

    from ohmykube.providers.lima.limactl import Runner
    from ohmykube.providers.lima.templates import Flatten


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalCalls:
    """What this provider calls outside of Python."""

    program: str = "limactl"
    """Name on PATH, or path."""
    run: Runner = process.run
    """Runs limactl."""
    ask: guest_shell.Guest = guest_shell.run
    """Runs a command in a guest."""
    answers: Callable[[str, int], bool] = state.has_ssh_banner
    """Tells whether ssh answers at a host and port."""
    command_of: Callable[[int], str] = processes.command
    """Tells the command line of a process."""
    flatten: Flatten = flatten
    """Makes a disk stand alone."""
    relay: host_ports.RelayCommand = host_ports.relay_command
    """Returns the command that opens the network of machines to this host."""
