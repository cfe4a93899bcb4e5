"""Imports the collection as Galaxy does before it takes one: galaxy_import.py.

``galaxy-importer`` reads the built collection: metadata, documentation, roles, playbooks. What it
only warns of, Galaxy takes and shows to everybody, so a warning fails here as an error does.

It has an environment of its own, from requirements/galaxy-importer.txt, as it wants older packages.
What it would run besides has parts of its own: ``ansible-test sanity``, ansible-lint, and ruff for
flake8, which it also asks about documentation in YAML.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import kept
import sanity

LOCK = sanity.ROOT / "requirements" / "galaxy-importer.txt"
CONFIG = """\
[galaxy-importer]
run_ansible_test = False
run_ansible_lint = False
run_flake8 = False
check_required_tags = True
"""
COMPLAINT = re.compile(r"^(?:WARNING|ERROR|CRITICAL): ", re.MULTILINE)


def make(place: Path) -> int:
    """Make the environment of galaxy-importer."""
    return kept.environment(place / "venv", LOCK)


def main() -> int:
    """Build the collection and import it; a complaint is a failure."""
    place = kept.directory("galaxy-importer", make, LOCK.read_bytes())
    if place is None:
        return 1
    programs = place / "venv" / "bin"
    with tempfile.TemporaryDirectory(prefix="omk-galaxy-") as name:
        directory = Path(name)
        root = sanity.copy_to(directory)
        (directory / "importer.cfg").write_text(CONFIG)
        env = {
            **os.environ,
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "HOME": name,
            "GALAXY_IMPORTER_CONFIG": str(directory / "importer.cfg"),
        }
        build = [programs / "ansible-galaxy", "collection", "build", "--output-path", name, root]
        subprocess.run(build, env=env, stdout=subprocess.DEVNULL, check=True)
        (built,) = directory.glob("*.tar.gz")
        argv = [programs / "python", "-m", "galaxy_importer.main", built]
        done = subprocess.run(
            argv,
            cwd=name,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    print(done.stdout, end="")
    return done.returncode or int(bool(COMPLAINT.search(done.stdout)))


if __name__ == "__main__":
    sys.exit(main())
