"""The machines of a cluster together with the way to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ohmykube.steps.node_shell import NodeShell

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ohmykube.model.machine import Machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Nodes:
    """Nodes that an ssh client configuration leads to."""

    machines: Mapping[str, Machine]
    """By node name."""
    ssh_config: Path
    slowdown: int = 1

    def shell(self, node: str) -> NodeShell:
        """Return a shell on a node, as root."""
        ssh = self.machines[node].ssh
        become = ssh is not None and ssh.become
        return NodeShell(self.ssh_config, node, become=become, slowdown=self.slowdown)
