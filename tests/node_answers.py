"""Nodes that say what they are like from files: an ``ssh`` that leads to them, and the files.

The file of a node lies beside the ssh configuration that leads to it, in ``answers``; a node
without one refuses.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ohmykube.kit import files

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from ohmykube.model.node_state import NodeState

SSH = """\
#!/bin/sh
directory=${2%/*}
echo "$3" >>"$directory/asked"
cat >/dev/null
case "$*" in
*"-- true") exit 0 ;;
*"systemctl try-restart kubelet.service")
    echo "ohmykube: output of the command"
    echo "$3" >>"$directory/restarted"; exit 0 ;;
*" python3 -I -S -"*)
    echo "ohmykube: output of the command"
    [ ! -r "$directory/answers/$3" ] || exec cat "$directory/answers/$3" ;;
esac
echo "ssh: connect to host $3: Connection refused" >&2
exit 255
"""


def install(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the ``ssh`` first on PATH."""
    program = files.ensure_directory(directory) / "ssh"
    program.write_text(SSH)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")


def say(directory: Path, node: str, state: NodeState) -> None:
    """Let a node say what it is like; ``directory`` is the cluster's."""
    files.write(files.ensure_directory(directory / "answers") / node, json.dumps(document(state)))


def refuse(directory: Path, node: str) -> None:
    """Let a node answer no more."""
    (directory / "answers" / node).unlink(missing_ok=True)


def asked(directory: Path) -> set[str]:
    """Return who was asked so far."""
    path = directory / "asked"
    return set(path.read_text().split()) if path.exists() else set()


def restarted(directory: Path) -> set[str]:
    """Return whose kubelet was restarted so far."""
    path = directory / "restarted"
    return set(path.read_text().split()) if path.exists() else set()


def document(state: NodeState) -> dict[str, Any]:
    """Return what the program on a node prints."""
    nodes = None
    if state.nodes is not None:
        nodes = [{**asdict(node), "taints": sorted(node.taints)} for node in state.nodes]
    return {
        "record": state.record,
        "kubeadm": "joined" if state.joined else "begun" if state.begun else "",
        "differs": list(state.differs),
        "nodes": nodes,
        "services": list(state.services),
        "api": state.api_problem,
        "objects": {name: [one.applied_at, one.problem] for name, one in state.objects.items()},
        "dns": state.dns_answers,
        "pulling": state.pulling,
        "reached": sorted(state.reached),
        "admin": state.admin.reveal(),
    }
