"""What every step is given: the services of the command and the cluster of the run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ohmykube.ansible.variables import NodeTraits
from ohmykube.kit import host_routes
from ohmykube.kit.retry import Clock, SystemClock
from ohmykube.state.store import StateStore
from ohmykube.steps.run_options import RunOptions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ohmykube.kit.host_routes import Route
    from ohmykube.kit.paths import Paths
    from ohmykube.kit.sudo_user import SudoUser
    from ohmykube.model.cluster import Cluster
    from ohmykube.progress import Reporter
    from ohmykube.providers.base import Provider
    from ohmykube.state.record import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What a command brings to a workflow; built once by the CLI."""

    paths: Paths
    reporter: Reporter
    clock: Clock = field(default_factory=SystemClock)
    verbosity: int = 0
    sudo_user: SudoUser | None = None
    """The user behind sudo, who gets a kubeconfig of his own."""
    routes: Callable[[], tuple[Route, ...]] = host_routes.routes
    """Of this host."""
    state: StateStore = field(init=False)
    """One store for all of a command: who holds a cluster's lock is known to the store."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "state", StateStore(self.paths.state))


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """One run of a workflow on one cluster; what steps find out they return instead."""

    services: Services
    cluster: Cluster
    """As it is wanted."""
    provider: Provider
    directory: Path
    """The cluster's state directory."""
    run_directory: Path
    """Private directory of this run, 0700."""
    record: Record | None = None
    """As it was when the run began."""
    recorded: Cluster | None = None
    """The cluster of that record, its provider by name."""
    options: RunOptions = field(default_factory=RunOptions)

    @property
    def slowdown(self) -> int:
        """How many times longer than usual everything takes in the machines."""
        return self.provider.capabilities.slowdown

    @property
    def node_traits(self) -> NodeTraits:
        """How the machines of the provider are."""
        able = self.provider.capabilities
        return NodeTraits(
            system_containers=able.system_containers, made=able.creates, slowdown=able.slowdown
        )
