"""A small project with a gate of its own: the tools of this checkout over a handful of files."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / "tools"
sys.path.insert(0, str(TOOLS))

FILES = {
    ".gitignore": "__pycache__/\n.venv\nignored*\n",
    "pyproject.toml": """
        [project]
        name = "small"
        version = "1"
        [project.entry-points."ohmykube.providers"]
        box = "ohmykube.box:Box"
        [tool.pytest.ini_options]
        pythonpath = ["."]
        markers = ["nodes: makes nodes"]
        addopts = "-p no:hypothesispytest -p no:xdist -p no:xdist.looponfail"  # half of a start
        [tool.coverage.run]
        source = ["ohmykube"]
        parallel = true
        [tool.coverage.paths]
        source = ["ohmykube", "*/ohmykube"]
        """,
    "requirements/dev.txt": "pytest==8\n",
    "README.md": "Text.\n",
    "ohmykube/__init__.py": "",
    "ohmykube/box.py": "class Box:\n    size = 1\n",
    "ohmykube/base.py": "VALUE = 1\n",
    "ohmykube/deep.py": "from ohmykube import base\n\nDEEP = base.VALUE\n",
    "ohmykube/late.py": "LATE = 1\n",
    "ohmykube/words.py": "WORD = 1\n",
    "ohmykube/types.py": "from __future__ import annotations\n",
    "ohmykube/kit/__init__.py": "",
    "ohmykube/kit/entrypoints.py": "def load() -> None:\n    pass\n",
    "ohmykube/words.txt": "words\n",
    "ohmykube/double.py": "class Double:\n    pass\n",
    "tests/distributions/double-1.dist-info/entry_points.txt": (
        "[ohmykube.providers]\ndouble = ohmykube.double:Double\n"
    ),
    "tests/conftest.py": "",
    "tests/unit/alpha/given.txt": "given\n",
    "tests/unit/alpha/test_alpha.py": """
        from typing import TYPE_CHECKING

        from ohmykube.kit import entrypoints
        from ohmykube import deep
        if TYPE_CHECKING:
            from ohmykube import types

        def test_deep():
            from ohmykube import late
            assert deep.DEEP == late.LATE
        """,
    "tests/unit/beta/test_beta.py": """
        import os
        import subprocess
        import sys
        from pathlib import Path

        ROOT = Path(__file__).parents[3]

        def test_module():
            assert "ohmykube.late"
            code = "from ohmykube.words import WORD; import sys, ohmykube.late"
            subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)

        def test_what_is_there():
            expected = os.environ.get("SUDO_USER")  # passed on, and named by one test only
            if expected:
                assert (ROOT / expected).exists()
        """,
    "tests/e2e/cluster/test_nodes.py": "",
}
NODES = """
import os, pathlib, subprocess, time
import pytest

HERE = pathlib.Path(os.environ["SUDO_USER"])

@pytest.fixture
def machine():
    (HERE / "made").touch()
    yield
    (HERE / "removed").touch()

@pytest.mark.nodes
def test_nodes(machine):
    assert not (HERE / "busy").exists(), "two at once"
    (HERE / "busy").touch()
    end = time.monotonic() + 60
    while (HERE / "stay").exists():
        assert time.monotonic() < end
        time.sleep(0.02)
    (HERE / "busy").unlink()
"""


# What others do meanwhile would count as left behind.
_ALONE = 'mkdir -p /run/netns; mount -t tmpfs tmpfs /run/netns; exec "$@"'


def _plain(text: str) -> str:
    lines = text.strip("\n").splitlines()
    indent = min((len(ln) - len(ln.lstrip()) for ln in lines if ln.strip()), default=0)
    return "\n".join(line[indent:] for line in lines) + "\n"


@dataclass(frozen=True)
class Project:
    """The small project, and what its gate keeps beside it."""

    root: Path
    kept: Path

    def write(self, name: str, text: str) -> Path:
        """Write a file of the project."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_plain(text) if text else "")
        return path

    def env(self, **extra: str) -> dict[str, str]:
        """Return the environment of its gate; the mark of our own run is not its."""
        return {
            **{n: v for n, v in os.environ.items() if not n.startswith(("COV", "SUDO"))},
            "PYTHONPATH": str(self.root / "tools"),
            "OHMYKUBE_GATE_DIR": str(self.kept),
            "OHMYKUBE_GATE_LOCK": str(self.kept.parent / "lock"),
            "HOME": "/",  # of a test's own otherwise, and part of each key
            "OHMYKUBE_TEST_RUN": f"small-{uuid.uuid4().hex[:8]}",
            **extra,
        }

    def argv(self, *words: str) -> list[str]:
        """Return the command line of its gate, which sees no nodes of others."""
        start = ["unshare", "--mount", "sh", "-ec", _ALONE, "sh"] if os.geteuid() == 0 else []
        return [*start, *self.plain_argv(*words)]

    def plain_argv(self, *words: str) -> list[str]:
        """Return the command line of its gate."""
        return [sys.executable, "-m", "gate", *words]

    def gate(self, *words: str, **extra: str) -> subprocess.CompletedProcess[str]:
        """Run its gate to the end."""
        return subprocess.run(
            self.argv(*words),
            cwd=self.root,
            env=self.env(**extra),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    def start(self, *words: str, **extra: str) -> subprocess.Popen[str]:
        """Start its gate in the background."""
        return subprocess.Popen(
            self.argv(*words),
            cwd=self.root,
            env=self.env(**extra),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )


def make(place: Path) -> Project:
    """Make a small project with a gate in a directory."""
    made = Project(place / "small", place / "kept")
    for name, text in FILES.items():
        made.write(name, text)
    # Together with what was compiled of them: each of its programs would do it anew.
    shutil.copytree(TOOLS, made.root / "tools")
    (made.root / ".venv").symlink_to(sys.prefix)
    (made.root / "collections").mkdir()
    (made.root / "collections" / "own").symlink_to("..")  # as the collection leads to the checkout
    subprocess.run(["git", "init", "--quiet"], cwd=made.root, check=True)
    return made


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Return a small project with a gate."""
    return make(tmp_path)


@dataclass(frozen=True)
class PassedOnce:
    """A run of the unit tests of a small project that passed."""

    kept: Path
    """The directory of what it keeps."""
    stdout: str
    """What it said."""


@pytest.fixture(scope="session")
def passed_once(tmp_path_factory: pytest.TempPathFactory) -> PassedOnce:
    """Return the first run of a small project: what it keeps is good for all of them."""
    made = make(tmp_path_factory.mktemp("passed"))
    done = made.gate("unit")
    assert done.returncode == 0, done.stdout + done.stderr
    return PassedOnce(made.kept, done.stdout)
