"""Commands driven through the error boundary, with workflows that touch nothing."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from ohmykube.cli._run import run
from tests.data.cli.fake_cli import KUBECONFIG, FakeWorkflows

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@dataclass(frozen=True)
class Outcome:
    """What one command left."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """stdout as one JSON document."""
        return json.loads(self.out)

    @property
    def events(self) -> list[dict[str, Any]]:
        """stderr as JSON lines."""
        return [json.loads(line) for line in self.err.splitlines()]


@pytest.fixture
def fakes(tmp_path) -> FakeWorkflows:
    """One cluster called dev."""
    made = FakeWorkflows()
    made.kubeconfig_file = tmp_path / "kubeconfig"
    made.kubeconfig_file.write_text(KUBECONFIG)
    return made


@pytest.fixture
def home(tmp_path) -> Path:
    """The state root of these commands; nobody has made it yet."""
    return tmp_path / "home"


@pytest.fixture
def cli(fakes, home, capsys, tmp_path) -> Callable[..., Outcome]:
    """Run one command in this process."""

    def call(*argv: str, **environ: str) -> Outcome:
        env = {"OHMYKUBE_HOME": str(home), "HOME": str(tmp_path), **environ}
        capsys.readouterr()
        code = run(list(argv), bind=fakes.bind, environ=env)
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


def logs(home: Path) -> list[Path]:
    """Return all log files."""
    return sorted(home.glob("state/logs/*.log"))
