"""What ``up`` takes and what it returns, apart from ``up`` itself: that takes long to import."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ohmykube.model.exposure import Exposed
from ohmykube.steps.run_options import RunOptions

if TYPE_CHECKING:
    from pathlib import Path

    from ohmykube.model.change import Plan
    from ohmykube.model.outside import Outside
    from ohmykube.workflows.status import NodeStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class UpOptions(RunOptions):
    """How to run ``up``."""

    plan_only: bool = False
    verify: bool = False
    """Let the playbook look at every node, also where nothing seems to differ."""
    may_delete: frozenset[str] | None = frozenset()
    """What may be deleted where the description does not have it: nodes by name, and add-ons that
    own data as ``addon/NAME``; None for all."""
    forget_unreachable: bool = False
    """Also delete nodes whose hosts cannot be reset because they cannot be reached."""
    wait_seconds: float | None = None
    """How long nodes and DNS may take to become ready; None for what suits the machines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpResult:
    """What ``up`` did."""

    cluster: str
    changed: bool
    nodes: tuple[NodeStatus, ...]
    kubeconfig: Path | None
    """None when only planned."""
    context: str
    seconds: float
    plan: Plan
    kubectl: str
    """How to call kubectl here: its bare name when it is on PATH, else the path of ours."""
    outside: Outside | None = None
    """What nodes reach outside of the cluster; None where the provider does not decide that."""
    exposed: Exposed = field(default_factory=Exposed)
    """Where this host reaches services of the cluster."""
