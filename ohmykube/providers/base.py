"""The contract of a provider of machines.

Enforced for every provider, the fake included, by ``ohmykube.testing.conformance``.
"""

from __future__ import annotations

import abc
import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from ohmykube.kit import architecture
from ohmykube.model.machine import Resizing
from ohmykube.model.networks import IPV4

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from ohmykube.kit.paths import Paths
    from ohmykube.model.cluster import Cluster
    from ohmykube.model.exposure import Exposed, ExposedPort, Exposure
    from ohmykube.model.machine import Machine, MachineSpec
    from ohmykube.model.outside import Outside
    from ohmykube.progress import Reporter


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a provider can do; steps ask this instead of catching NotImplementedError."""

    creates: bool
    """Makes and deletes machines. False: the machines exist and are never deleted."""
    powers: bool
    """Can stop and start a machine."""
    system_containers: bool = False
    """Nodes share the host's kernel: roles must leave modules, conntrack and time alone."""
    slowdown: int = 1
    """How many times longer than usual everything takes in the machines, whose processors may be
    emulated: all that waits for them waits that much longer, on this host and in the cluster."""
    resizing: Resizing = field(default_factory=Resizing)
    """What ``create`` changes of a machine that exists, asked for with other sizes."""
    families: frozenset[int] = frozenset({IPV4})
    """IP families in which its machines can have addresses."""
    mounts: bool = False
    """Machines see directories and files of this host, as ``MachineSpec.mounts`` says: a stopped
    one gets those asked for when ``create`` starts it."""


class CheckStatus(enum.StrEnum):
    """Result of one check."""

    OK = "ok"
    NOTE = "note"
    """Not as it could be, and no reason to do anything: only ``doctor`` tells of it."""
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that this host must have; found read-only."""

    id: str
    """kebab-case, stable."""
    title: str
    status: CheckStatus
    evidence: str = ""
    fix: str = ""
    """What to type; empty when nothing is to be done."""
    packages: tuple[str, ...] = ()
    """Debian packages whose absence is the cause: ``doctor --fix`` installs them."""
    for_network: bool = False
    """Only what is made from the network needs it: an offline run goes on without."""


def doctor_command(provider: str, failed: Iterable[Check]) -> str:
    """Return the call of ``doctor`` that installs what failed checks miss, or else explains them.

    Args:
        provider: its name, or ``auto``.
        failed: the checks that failed.
    """
    fix = " --fix" if any(check.packages for check in failed) else ""
    return f"ohmykube doctor{fix}" + ("" if provider == "auto" else f" --provider {provider}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderContext:
    """What a provider is made with."""

    paths: Paths
    reporter: Reporter
    cluster: Cluster | None = None
    """The desired cluster; None for questions that concern no cluster in particular."""


class Provider(abc.ABC):
    """Makes, finds and removes machines.

    The constructor takes a ``ProviderContext`` and MUST NOT touch anything. All methods MUST be
    safe to call from several threads for different nodes, and to repeat after a crash at any
    point. Failures are ``ProviderError``, ``PrerequisiteError``, ``ResourceError`` or
    ``UnreachableError``.
    """

    name: str

    def __init__(self, context: ProviderContext) -> None:
        self.context = context

    @property
    @abc.abstractmethod
    def capabilities(self) -> Capabilities:
        """What this provider can do."""

    @abc.abstractmethod
    def check(self) -> Sequence[Check]:
        """Look whether this host can do the work. MUST be read-only and take at most 2 s."""

    @abc.abstractmethod
    def prepare(self) -> None:
        """Make what all machines need once (base image). MUST return at once when it is there."""

    @abc.abstractmethod
    def list(self, cluster: str) -> Sequence[Machine]:
        """Return the machines of exactly this cluster, as they are now, sorted by node name.

        MUST look at the machines, not at a record; MUST NOT return a machine of a cluster whose
        name merely starts with ``cluster``; MUST NOT create anything.
        """

    def architectures(self, nodes: Sequence[str]) -> Mapping[str, str]:
        """Return the architecture of the machine of each of the cluster's nodes, as ``amd64``.

        Machines that are still to be made count too: what nodes need is fetched before them. MUST
        NOT change anything. Default: all are like this host.
        """
        return dict.fromkeys(nodes, architecture.host())

    @abc.abstractmethod
    def clusters(self) -> Sequence[str]:
        """Return the names of all clusters that have machines here, sorted."""

    @abc.abstractmethod
    def create(self, spec: MachineSpec) -> Machine:
        """Make the machine and start it; return it running.

        MUST return the existing machine when it is there, started when it was stopped, made whole
        when it was broken, and with the sizes asked for as far as ``capabilities.resizing`` says.
        MUST fail and change nothing when it runs with other mounts than those asked for, or when
        one of them is not on this host, or leads elsewhere by a link.
        MUST put an ownership marker on it before anything else.
        """

    @abc.abstractmethod
    def start(self, cluster: str, node: str) -> Machine:
        """Start a stopped machine with the same address; MUST be a no-op on a running one."""

    @abc.abstractmethod
    def stop(self, cluster: str, node: str) -> None:
        """Stop a machine, orderly first; MUST be a no-op on a stopped or absent one."""

    @abc.abstractmethod
    def delete(self, cluster: str, node: str) -> None:
        """Remove the machine and everything made for it.

        MUST succeed when there is none. MUST NOT touch a machine without our marker for exactly
        this cluster and node. When the last machine of a cluster goes, what was made for the
        cluster (network, directories) MUST go too.
        """

    def api_endpoint(self, cluster: str, address: str, port: int) -> tuple[str, int]:
        """Return host and port at which this host reaches ``address:port`` of a node.

        Default: the address itself. MUST be stable for the cluster's life.
        """
        return address, port


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A prepared machine that is kept to be cloned."""

    key: str
    """Hash of everything that went into it."""
    role: str
    """``control-plane`` or ``worker``."""
    summary: str
    """What is in it, for people, such as ``kubernetes 1.36.3``."""
    created_at: float
    """Seconds since the epoch."""
    last_used_at: float
    """When it was last cloned or made; seconds since the epoch."""
    size: int
    """Bytes that removing it gives back at once; what machines share with it is not counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTemplate:
    """What a frozen machine is to be called."""

    key: str
    role: str
    summary: str


@runtime_checkable
class Templates(Protocol):
    """A provider that can freeze a prepared machine and clone it.

    ``create`` of such a provider honours ``MachineSpec.template``: a machine that does not exist
    yet is made as a clone, running, with an identity of its own (host key, machine id, name,
    address, marker). A machine that exists is left as it is. MUST raise ``NotFoundError`` with
    the id ``NO_TEMPLATE`` when there is no such template.

    A write on one machine MUST NOT show in the template or in another clone, and a clone MUST NOT
    need its template any more once it was created: templates may be removed at any time.
    """

    def template_basis(self) -> str:
        """Return what of the provider goes into every machine, as one text; part of the key.

        MUST differ when a template of before could not be cloned into the machine that ``create``
        would make today. MUST NOT touch anything.
        """
        ...

    def templates(self) -> Sequence[Template]:
        """Return the templates there are, sorted by key. MUST NOT touch anything."""
        ...

    def freeze(self, cluster: str, node: str, template: NewTemplate) -> Template:
        """Make a machine a template; the machine is gone then.

        MUST remove what makes the machine itself: names, keys, ids, logs. MUST be atomic: killed
        anywhere, there is the machine (perhaps broken) or the template. When the template is there
        already, MUST only delete the machine.
        """
        ...

    def remove_template(self, key: str) -> None:
        """Remove a template; MUST succeed when there is none, and leave machines alone."""
        ...

    def sweep_templates(self) -> None:
        """Remove the machines and half-made templates that killed builds left.

        For the holder of the build lock alone. Machines of builds are those of clusters whose
        name begins with ``names.HIDDEN``; ``clusters`` MUST NOT return those.
        """
        ...


NO_TEMPLATE = "OMK-P-301"
"""Id of the error of ``create`` when the template that it was to clone is not there."""


NOT_FROZEN = ("OMK-P-302", "OMK-P-303")
"""Ids of the errors of ``freeze`` for a machine whose files cannot be a template."""


@runtime_checkable
class HostExposure(Protocol):
    """A provider whose machines are in a network that their host has no route to."""

    def publish(self, cluster: str, wanted: Sequence[ExposedPort]) -> Mapping[ExposedPort, str]:
        """Let this host reach exactly these services of the cluster; say where, as ``host:port``.

        MUST withdraw those of before that are not wanted any more, give a service the same place
        again, and bring all of them back after the cluster was stopped and started. What is taken
        on this host gets another port. For a cluster without machines there is none. MUST NOT
        change the network of this host.
        """
        ...


@runtime_checkable
class FollowsServices(HostExposure, Protocol):
    """One that also publishes and withdraws what services and pods offer, as they come and go."""

    def expose(self, cluster: str, exposure: Exposure) -> Exposed:
        """Let this host reach exactly this from now on, beside what ``publish`` was told.

        MUST hold until it is called again, also after the cluster was stopped and started, and
        bring back what was killed. Ports of services that are not known in time follow later.
        """
        ...

    def exposed(self, cluster: str) -> Exposed:
        """Return what is reachable now. MUST NOT change anything."""
        ...


@runtime_checkable
class KeepsHelpers(Protocol):
    """A provider that runs programs for a cluster besides its machines."""

    def restore_helpers(self, cluster: str) -> None:
        """Start those that have ended, with the same ports and addresses.

        MUST do nothing where none has, and for a cluster that is stopped or is not there.

        Raises:
            LockedError, PrerequisiteError, ProviderError: one cannot be started.
        """
        ...


@runtime_checkable
class OpensOutside(Protocol):
    """A provider that makes its machines' network, and so decides what they reach beyond it."""

    def open_outside(self, cluster: str, outside: Outside) -> None:
        """Let the machines of a cluster reach exactly this, and close what was open before.

        MUST hold until it is called again: also after the cluster was stopped and started, and for
        machines that are made later. MUST do nothing where all is so already. A cluster for which
        it was never called reaches nothing. MUST NOT change the network of this host.
        """
        ...


@runtime_checkable
class Forgets(Protocol):
    """A provider of machines that exist on their own, and may be lost without having been reset."""

    def forget(self, cluster: str, node: str) -> None:
        """Forget a machine and all that is on it, without asking it; only when the user says so."""
        ...


@runtime_checkable
class Fixable(Protocol):
    """A provider that can install what ``check`` found missing beyond Debian packages."""

    def fix(self, say: Callable[[str], None]) -> None:
        """Install it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnPart:
    """Something that machines are made from and that only the user can bring to another host."""

    name: str
    """What it is, with its place, such as ``machine image /images/a.qcow2``."""
    needed: str
    """What the user has to do about it, on this host or another."""
    here: bool
    """Whether this host has it."""


@runtime_checkable
class Portable(Protocol):
    """A provider whose machines' base can be exported to a host without a network.

    The methods MUST NOT touch anything, except that ``export_base`` gets and ``import_base`` makes
    the base. They may raise ``ConfigError`` where the cluster's options cannot be used, and
    ``PrerequisiteError`` where this host cannot work with them.
    """

    def base_version(self) -> str:
        """Return what identifies the base of the context's cluster; MUST be the same on all hosts.

        It changes when what the base is made from changes. Empty when there is nothing to export:
        then there is nothing to ask of the methods below but ``own_parts``.
        """
        ...

    def own_parts(self) -> Sequence[OwnPart]:
        """Return what machines are made from besides the base, and cannot be exported."""
        ...

    def has_base(self) -> bool:
        """Tell whether machines can be made without getting the base from anywhere."""
        ...

    def export_base(self, target: Path) -> None:
        """Write the base as a plain tar to the file ``target``; get it when it is not here.

        The same base MUST give the same bytes, also one that ``import_base`` has brought.

        Raises:
            IntegrityError: what was got, or is here, is not what it should be.
            NetworkError, ResourceError, PrerequisiteError, ProviderError: it cannot be got.
        """
        ...

    def import_base(self, source: Path) -> None:
        """Make the base from such a tar, in one step or not at all.

        The tar may be hostile: nothing may be written outside of the base's own place.

        Raises:
            IntegrityError: it is not what ``export_base`` writes.
            ResourceError: no space left.
        """
        ...
