"""What a step is, and what the steps of one run share."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

from ohmykube.ansible.variables import Nature
from ohmykube.errors import OhmykubeError
from ohmykube.kit.retry import Clock, SystemClock
from ohmykube.model.change import Plan
from ohmykube.planning.observation import Observed
from ohmykube.state.store import StateStore

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ohmykube.cache.serve import Server
    from ohmykube.kit.paths import Paths
    from ohmykube.kit.secret import Secret
    from ohmykube.kit.sudo_user import Invoker
    from ohmykube.model.artifact import ArtifactLock
    from ohmykube.model.cluster import Cluster, Role
    from ohmykube.model.machine import Machine
    from ohmykube.progress import Reporter
    from ohmykube.providers.base import Provider
    from ohmykube.state.record import Record

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What a command brings to a workflow; built once by the CLI."""

    paths: Paths
    reporter: Reporter
    clock: Clock = field(default_factory=SystemClock)
    verbosity: int = 0
    invoker: Invoker | None = None
    """The user behind sudo, who gets a kubeconfig of his own."""
    state: StateStore = field(init=False)
    """One store for all of a command: who holds a cluster's lock is known to the store."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "state", StateStore(self.paths.state))


@dataclass(slots=True, kw_only=True)
class Run:
    """What the steps of one workflow hand to each other.

    Fields are filled by the step named in their comment; ``machines_by_node`` and the like raise a
    clear error when a step comes too early, which only a wrong order of steps can cause.
    """

    services: Services
    cluster: Cluster
    provider: Provider
    directory: Path
    """The cluster's state directory."""
    run_directory: Path
    """Private directory of this run, 0700."""
    offline: bool = False
    """Nothing but the nodes may be connected to."""
    bundles: tuple[Path, ...] = ()
    """Whose blobs are used where they lie."""
    allowed_signers: Path | None = None
    """Take only bundles that one of these has signed."""
    record: Record | None = None
    recorded: Cluster | None = None
    """The cluster of the record as it was when the run began, its provider by name."""
    machines: Mapping[str, Machine] = field(default_factory=dict)
    """By node name: filled by ``plan``, renewed by ``create_nodes``."""
    observed: Observed = field(default_factory=Observed)
    """Filled by ``plan``."""
    plan: Plan = field(default_factory=Plan)
    """Filled by ``plan``."""
    lock: ArtifactLock | None = None
    """Filled by ``resolve``."""
    templates: Mapping[Role, str] = field(default_factory=dict)
    """Key of the template to clone for nodes of a role; filled by ``templates``."""
    templates_made: tuple[str, ...] = ()
    """Keys of those that this run has built."""
    ssh_config: Path | None = None
    """Filled by ``connect``."""
    server: Server | None = None
    """Filled by ``serve``."""
    cache_token: Secret | None = None
    """Filled by ``serve``."""
    inventory: Path | None = None
    """Filled by ``inventory``."""
    kubeconfig: Path | None = None
    """Filled by ``kubeconfig``."""
    changed: bool = False
    """Whether anything was changed so far."""
    cleanup: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    """What must be closed when the run ends, in reverse order."""

    @property
    def slowdown(self) -> int:
        """How many times longer than usual everything takes in the machines."""
        return self.provider.capabilities.slowdown

    @property
    def nature(self) -> Nature:
        """How the machines of the provider are."""
        able = self.provider.capabilities
        return Nature(
            system_containers=able.system_containers, made=able.creates, slowdown=able.slowdown
        )

    def need_ssh_config(self) -> Path:
        """Return the ssh client configuration."""
        return _there(self.ssh_config, "ssh_config")

    def need_lock(self) -> ArtifactLock:
        """Return the artifact lock."""
        return _there(self.lock, "artifact lock")

    def need_machine(self, node: str) -> Machine:
        """Return the machine of a node."""
        return _there(self.machines.get(node), f"machine of {node}")


def _there(value: T | None, what: str) -> T:
    if value is None:
        raise OhmykubeError(f"internal order of steps is wrong: no {what} yet")
    return value


class Step(Protocol):
    """One thing to do. ``run`` returns a short detail for the summary line, or an empty string."""

    name: str
    title: str

    def run(self, run: Run) -> str:
        """Do it; safe to repeat."""
        ...


@runtime_checkable
class Skippable(Protocol):
    """A step that can tell beforehand that there is nothing to do."""

    def skip_reason(self, run: Run) -> str | None:
        """Return why it is skipped, or None to run it."""
        ...


@runtime_checkable
class Expecting(Protocol):
    """A step that can take long and says so beforehand."""

    def expect_seconds(self, run: Run) -> float | None:
        """Return a rough duration in seconds, or None."""
        ...
