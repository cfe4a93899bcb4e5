"""Commands on a node over the run's ssh configuration."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from ohmykube.errors import NodeError
from ohmykube.kit import process

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

TIMEOUT = 30


class NodeShell:
    """Runs argv lists on one node; ``become`` puts sudo before them."""

    def __init__(self, ssh_config: Path, node: str, *, become: bool = False) -> None:
        self._prefix = ("ssh", "-F", str(ssh_config), node)
        self._become = ("sudo", "-n", "--") if become else ()
        self.node = node

    def __call__(self, argv: Sequence[str], stdin: str = "") -> str:
        """Return the command's output.

        Raises:
            NodeError: it failed or did not end in time.
        """
        command = shlex.join([*self._become, *argv])
        try:
            return process.run([*self._prefix, "--", command], timeout=TIMEOUT, input=stdin).stdout
        except process.CommandFailed as error:
            raise NodeError(
                f"`{argv[0]}` failed on node {self.node}",
                why=error.why,
                hint=f"ohmykube shell {self.node}",
                id="OMK-N-201",
            ) from error
