"""What plugin authors import; nothing else of this package is stable.

A provider of machines is a subclass of ``Provider`` registered under the entry-point group
``ohmykube.providers``; ``ohmykube.testing`` has the conformance suite that it must pass. A source
of artifacts is a subclass of ``Source`` registered under ``ohmykube.sources``. A command is a
``click.Command`` registered under ``ohmykube.commands``; its object is a ``CommandContext``.
"""

from __future__ import annotations

from ohmykube.cache.catalog import Component, ImageSpec
from ohmykube.cache.sources.base import Requirement, Source, SourceContext
from ohmykube.errors import (
    ClusterError,
    ConfigError,
    IntegrityError,
    LockedError,
    NetworkError,
    NodeError,
    NotFoundError,
    OhmykubeError,
    PermissionDenied,
    PrerequisiteError,
    ProviderError,
    ResourceError,
    TimeoutExceeded,
    UnreachableError,
    UsageError,
)
from ohmykube.kit.paths import Paths
from ohmykube.kit.process import run
from ohmykube.model.cluster import Cluster, Host, Network, Node, Role, Sources, Taint
from ohmykube.model.machine import Machine, MachineSpec, MachineState, SshTarget
from ohmykube.progress import (
    Event,
    ItemProgress,
    Message,
    NodeProgress,
    Reporter,
    Status,
    StepEnded,
    StepStarted,
)
from ohmykube.providers.base import (
    NO_TEMPLATE,
    NOT_FROZEN,
    Capabilities,
    Check,
    CheckStatus,
    Fixable,
    NewTemplate,
    Provider,
    ProviderContext,
    Template,
    Templates,
)
from ohmykube.sdk.commands import CommandContext

__all__ = [
    "NOT_FROZEN",
    "NO_TEMPLATE",
    "Capabilities",
    "Check",
    "CheckStatus",
    "Cluster",
    "ClusterError",
    "CommandContext",
    "Component",
    "ConfigError",
    "Event",
    "Fixable",
    "Host",
    "ImageSpec",
    "IntegrityError",
    "ItemProgress",
    "LockedError",
    "Machine",
    "MachineSpec",
    "MachineState",
    "Message",
    "Network",
    "NetworkError",
    "NewTemplate",
    "Node",
    "NodeError",
    "NodeProgress",
    "NotFoundError",
    "OhmykubeError",
    "Paths",
    "PermissionDenied",
    "PrerequisiteError",
    "Provider",
    "ProviderContext",
    "ProviderError",
    "Reporter",
    "Requirement",
    "ResourceError",
    "Role",
    "Source",
    "SourceContext",
    "Sources",
    "SshTarget",
    "Status",
    "StepEnded",
    "StepStarted",
    "Taint",
    "Template",
    "Templates",
    "TimeoutExceeded",
    "UnreachableError",
    "UsageError",
    "run",
]
