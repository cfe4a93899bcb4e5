"""What the tests of commands that must fail share."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from ohmykube.config import load
from ohmykube.config.document import to_document
from ohmykube.config.overrides import Overrides
from ohmykube.state.record import Record
from ohmykube.state.store import StateStore

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from tests.e2e.conftest import Cli

MOST_LINES = 12


def content(*roots: Path) -> dict[str, str]:
    """Return every file below the roots with a digest; logs, locks and directories do not count."""
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for root in roots
        for path in root.rglob("*")
        if path.is_file() and "logs" not in path.parts and path.name != "lock"
    }


def refusal(done: subprocess.CompletedProcess[str], code: int, *says: str) -> str:
    """Check the manners of a failed command; return its error as one line."""
    _, start, text = done.stderr.partition("error[")
    assert start, f"code {done.returncode}: {done.stdout}{done.stderr}"
    assert done.returncode == code, text
    assert "Traceback" not in done.stderr
    assert len(text.splitlines()) <= MOST_LINES
    assert "\ntry: " in text
    line = " ".join(text.split())
    for part in says:
        assert part in line
    return line


def remember(cli: Cli, name: str, provider: str = "fake") -> Path:
    """Write the record of a cluster of one node; return its file."""
    cluster = load.from_overrides(Overrides(name=name, workers=0, provider=provider))
    store = StateStore(cli.home / "state")
    version = cluster.kubernetes_version
    made = Record(
        id="",
        name=name,
        document=to_document(cluster),
        provider=provider,
        kubernetes_version=version,
    )
    store.create(made)
    return store.directory(name) / "record.json"
