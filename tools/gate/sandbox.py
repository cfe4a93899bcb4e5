"""Runs a command where the checkout holds its inputs and nothing else, at the checkout's own path.

Whatever a part reads is then in its key: a file that nobody named is not there to be read.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

from .inputs import Tree

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

# A mount namespace of the part's own: it ends with its last process, and nobody else sees it. What
# tests write lies in memory there: they sync much, and nothing of it is to outlive them.
_INSIDE = """
set -e
mount -t tmpfs -o mode=711 tmpfs "$3"
mount --bind "$2/.venv" "$1/.venv"
mount --rbind "$1" "$2"
cd "$2"
shift 3
exec "$@"
"""


def available() -> bool:
    """Tell whether this host can do it: as root on Linux."""
    if os.geteuid() != 0 or not shutil.which("unshare") or not shutil.which("mount"):
        return False
    argv = ["unshare", "--mount", "true"]
    return subprocess.run(argv, capture_output=True, timeout=30, check=False).returncode == 0


def populate(tree: Tree, names: Iterable[str], place: Path) -> Tree:
    """Copy files to ``place``, a git repository of their own; return what was copied.

    The copy says what the part really saw, also when somebody edits the checkout meanwhile.
    """
    for name in sorted(names):
        source, target = tree.root / name, place / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target, follow_symlinks=False)
    copied = Tree.read(place)
    (place / ".venv").mkdir()
    for words in (["init", "--quiet", "--initial-branch=main"], ["add", "--all", "--force"]):
        subprocess.run(["git", *words], cwd=place, capture_output=True, timeout=60, check=True)
    return copied


def argv(place: Path, root: Path, temporary: Path, command: Iterable[str]) -> list[str]:
    """Return the command line that runs a command in ``root`` with the content of ``place``.

    What it writes below ``temporary``, a directory, goes with it.
    """
    where = [str(place), str(root), str(temporary)]
    return ["unshare", "--mount", "sh", "-c", _INSIDE, "sandbox", *where, *command]
