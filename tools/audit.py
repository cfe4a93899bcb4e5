"""Asks an advisory service for known vulnerabilities of every pinned package: audit.py [options].

Options are those of pip-audit, which has an environment of its own, from requirements/audit.txt. It
needs a network, so the gate does not run it; a workflow does.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import kept

LOCKS = Path(__file__).resolve().parents[1] / "requirements"
OWN = LOCKS / "audit.txt"
# The locks name every package and its hash: nothing is resolved or installed to look at them.
OPTIONS = ("--require-hashes", "--disable-pip", "--progress-spinner", "off")


def make(place: Path) -> int:
    """Make the environment of pip-audit."""
    return kept.environment(place / "venv", OWN)


def main(arguments: list[str]) -> int:
    """Audit all locks, whatever the first ones give; return 1 if any has a vulnerable package."""
    place = kept.directory("audit", make, OWN.read_bytes())
    if place is None:
        return 1
    code = 0
    for lock in sorted(LOCKS.glob("*.txt")):
        print(f"==> {lock.name}", flush=True)
        argv = [str(place / "venv" / "bin" / "pip-audit"), *OPTIONS, "-r", str(lock), *arguments]
        code |= subprocess.run(argv, check=False).returncode != 0
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
