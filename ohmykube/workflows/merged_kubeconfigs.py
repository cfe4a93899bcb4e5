"""The kubeconfigs of the user that have a cluster of ours: merged into, and cleared by ``down``."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ohmykube.errors import OhmykubeError
from ohmykube.kit import files
from ohmykube.kube import kubeconfig_file
from ohmykube.kube.kubeconfig import context_name
from ohmykube.progress import Message
from ohmykube.state import layout
from ohmykube.workflows import access

if TYPE_CHECKING:
    from ohmykube.steps.context import Services


def merge(services: Services, name: str, target: Path) -> None:
    """Put a cluster into a kubeconfig of the user, and make it the current one there.

    Raises:
        NotFoundError: no such cluster, or its ``up`` has not come so far.
        ConfigError, LockedError, PermissionDenied: as ``kubeconfig_file.merge``.
    """
    source = access.kubeconfig(services, name)
    context = context_name(name)
    before = kubeconfig_file.current_context(target)
    written = kubeconfig_file.current_as_written(target)
    known: list[str] = []
    note = _notes(services, name) / hashlib.sha256(os.fsencode(target)).hexdigest()
    if note.exists():
        noted = json.loads(note.read_bytes())
        known = [noted["authority"]]
        if before == context:
            before, written = noted["current"], noted.get("written")
    content = {
        "path": str(target),
        "current": before,
        "written": written,
        "authority": kubeconfig_file.authority(source, context),
    }
    # Noted first: should we be killed in between, `down` looks into one file too many.
    files.ensure_directory(note.parent)
    files.write(note, json.dumps(content))
    kubeconfig_file.merge(source, target, known=known)


def clear(services: Services, name: str) -> None:
    """Take a cluster out of all kubeconfigs that it was merged into; what fails is reported."""
    for note in sorted(_notes(services, name).glob("*")):
        try:
            _clear(services, name, json.loads(note.read_bytes()))
        except (OhmykubeError, OSError, ValueError, KeyError) as error:
            text = f"a kubeconfig still has the context {context_name(name)}: {error}"
            services.reporter.emit(Message(text=text, level="warning"))


def _clear(services: Services, name: str, note: dict[str, Any]) -> None:
    path = Path(note["path"])
    if kubeconfig_file.remove(
        path,
        context_name(name),
        authority=note["authority"],
        current=note["current"],
        written=note.get("written"),
    ):
        text = f"context {context_name(name)} was removed from {path}"
        services.reporter.emit(Message(text=text))


def _notes(services: Services, name: str) -> Path:
    return services.state.directory(name) / layout.MERGED
