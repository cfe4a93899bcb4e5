"""What plugin authors import; nothing else of this package is stable.

A provider of machines is a subclass of ``Provider`` registered under the entry-point group
``ohmykube.providers``; ``ohmykube.testing`` has the conformance suite that it must pass. A source
of artifacts is a subclass of ``Source`` registered under ``ohmykube.sources``, and an add-on one of
``Addon`` under ``ohmykube.addons``, with a conformance suite as well. A command is a
``click.Command`` registered under ``ohmykube.commands``; its object is a ``CommandContext``.
"""

from __future__ import annotations

from ohmykube.addons.base import Addon
from ohmykube.cache.catalog import (
    ArtifactSet,
    Component,
    CRecipe,
    Download,
    FileSpec,
    GoRecipe,
    ImageSpec,
)
from ohmykube.cache.set_file import read as read_set
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
from ohmykube.model.addon import AddonFacts, Requirements
from ohmykube.model.artifact import Kind
from ohmykube.model.cluster import (
    Cluster,
    Host,
    Network,
    Node,
    Role,
    Sources,
    Taint,
    WantedAddon,
)
from ohmykube.model.machine import Machine, MachineSpec, MachineState, SshTarget
from ohmykube.model.outside import Outside
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
    OpensOutside,
    Provider,
    ProviderContext,
    Template,
    Templates,
)
from ohmykube.sdk.commands import CommandContext

__all__ = [
    "NOT_FROZEN",
    "NO_TEMPLATE",
    "Addon",
    "AddonFacts",
    "ArtifactSet",
    "CRecipe",
    "Capabilities",
    "Check",
    "CheckStatus",
    "Cluster",
    "ClusterError",
    "CommandContext",
    "Component",
    "ConfigError",
    "Download",
    "Event",
    "FileSpec",
    "Fixable",
    "GoRecipe",
    "Host",
    "ImageSpec",
    "IntegrityError",
    "ItemProgress",
    "Kind",
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
    "OpensOutside",
    "Outside",
    "Paths",
    "PermissionDenied",
    "PrerequisiteError",
    "Provider",
    "ProviderContext",
    "ProviderError",
    "Reporter",
    "Requirement",
    "Requirements",
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
    "WantedAddon",
    "read_set",
    "run",
]
