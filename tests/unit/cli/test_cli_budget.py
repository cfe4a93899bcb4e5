"""What a command imports: start-up time is a matter of imports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
HEAVY = {
    "rich", "pydantic", "ansible", "ansible_runner", "yaml", "zstandard", "urllib3", "asyncio",
    "sqlite3", "http.client", "ohmykube.workflows.up", "ohmykube.config.load",
}  # fmt: skip
PARSER = {"click"}
COUNT = """
import sys
from ohmykube.__main__ import main
code = main(sys.argv[1:])
print(*sys.modules, sep="\\n", file=sys.stderr)
raise SystemExit(code)
"""


def _imported(tmp_path, *words: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", COUNT, *words], capture_output=True, text=True, timeout=30,
        env={"PYTHONPATH": str(ROOT), "OHMYKUBE_HOME": str(tmp_path)}, check=True,
    )  # fmt: skip
    return set(done.stderr.splitlines())


def test_version_imports_next_to_nothing(tmp_path) -> None:
    found = _imported(tmp_path, "--version")
    assert not found & (HEAVY | PARSER | {"logging", "subprocess", "json", "typing_extensions"})
    assert sorted(m for m in found if m.startswith("ohmykube")) == [
        "ohmykube",
        "ohmykube.__main__",
    ]


@pytest.mark.parametrize(
    "words",
    [("--help",), ("up", "--help"), ("version",), ("help", "exit-codes"), ("config", "--help")],
    ids=" ".join,
)
def test_help_imports_the_parser_and_no_more(tmp_path, words) -> None:
    found = _imported(tmp_path, *words)
    assert found >= PARSER
    assert not found & HEAVY


@pytest.mark.parametrize("words", [("list",), ("list", "-o", "json")], ids=" ".join)
def test_what_compares_no_cluster_imports_no_schema(tmp_path, words) -> None:
    """Pydantic and the models of cluster files are half of a start."""
    found = _imported(tmp_path, *words)
    assert "ohmykube.workflows.session" in found
    assert not found & {"pydantic", "yaml", "ansible", "ansible_runner", "urllib3"}
