"""Checks the documentation of the collection as the field's own tool does: collection_docs.py.

``antsibull-docs`` builds the pages of all plugins and roles and follows what they refer to. It has
an environment of its own, from requirements/collection-docs.txt, because its packages are many and
nothing else needs them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import kept
import sanity

LOCK = sanity.ROOT / "requirements" / "collection-docs.txt"
OPTIONS = ("--plugin-docs", "--validate-collection-refs=dependent", "--check-extra-docs-refs")


def make(place: Path) -> int:
    """Make the environment of antsibull-docs."""
    return kept.environment(place / "venv", LOCK)


def main() -> int:
    """Check the documentation."""
    place = kept.directory("collection-docs", make, LOCK.read_bytes())
    if place is None:
        return 1
    # The documentation is read by the ansible-doc of the development environment.
    own = Path(sys.executable).parent
    env = {**os.environ, "PATH": f"{own}{os.pathsep}{os.environ['PATH']}"}
    with tempfile.TemporaryDirectory(prefix="omk-docs-") as name:
        root = sanity.copy_to(Path(name))
        argv = [str(place / "venv/bin/antsibull-docs"), "lint-collection-docs", *OPTIONS, str(root)]
        return subprocess.run(argv, cwd=root, env=env, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
