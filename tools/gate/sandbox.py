"""Runs a command where the checkout holds its inputs and nothing else, at the checkout's own path.

Whatever a part reads is then in its key: a file that nobody named is not there to be read.
"""

from __future__ import annotations

import compileall
import importlib.util
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from .inputs import Tree

if TYPE_CHECKING:
    from collections.abc import Iterable

# A mount namespace of the part's own: it ends with its last process, and nobody else sees it. What
# tests write lies in memory there: they sync much, and nothing of it is to outlive them. So does
# the checkout that they see, where there is a list of its files.
_INSIDE = """
set -e
mount -t tmpfs -o mode=711 tmpfs "$3"
seen=$1
if [ -n "$4" ]; then
    seen=$3/checkout
    mkdir "$seen"
    cd "$1"
    xargs -0 cp --no-dereference --preserve=mode,timestamps --parents -t "$seen" -- <"$4"
    cd "$seen"
    mkdir .venv
    git init --quiet --initial-branch=main
    git add --all --force --intent-to-add -- ":(exclude)*.pyc"
fi
mount --bind "$2/.venv" "$seen/.venv"
mount --rbind "$seen" "$2"
cd "$2"
shift 4
exec "$@"
"""


def available() -> bool:
    """Tell whether this host can do it: as root on Linux."""
    if os.geteuid() != 0 or not shutil.which("unshare") or not shutil.which("mount"):
        return False
    argv = ["unshare", "--mount", "true"]
    return subprocess.run(argv, capture_output=True, timeout=30, check=False).returncode == 0


def populate(tree: Tree, place: Path) -> Tree:
    """Copy a checkout to ``place``, a git repository of its own; return what was copied.

    The copy says what parts really saw, also when somebody edits the checkout meanwhile.
    """
    for directory in {(place / name).parent for name in tree.files}:
        directory.mkdir(parents=True, exist_ok=True)
    for name in tree.files:
        shutil.copy2(tree.root / name, place / name, follow_symlinks=False)
    copied = Tree.read(place)
    (place / ".venv").mkdir()
    # Without the contents: they are for nobody, and git would take longer than the copy.
    for words in (
        ["init", "--quiet", "--initial-branch=main"],
        ["add", "--all", "--force", "--intent-to-add"],
    ):
        subprocess.run(["git", *words], cwd=place, capture_output=True, timeout=60, check=True)
    return copied


def compiled(place: Path) -> dict[str, str]:
    """Compile the package in a copy; return the name of what was made of each of its modules.

    Every part, and every program that it starts, would do it anew otherwise. What was made tells
    of its source no more than Python finds in the source itself: time and size must be the same.
    """
    compileall.compile_dir(place / "ohmykube", quiet=2)
    found = {}
    for path in (place / "ohmykube").rglob("*.py"):
        made = Path(importlib.util.cache_from_source(str(path)))
        if made.is_file():
            found[str(path.relative_to(place))] = str(made.relative_to(place))
    return found


def argv(
    place: Path, root: Path, temporary: Path, command: Iterable[str], names: Path | None = None
) -> list[str]:
    """Return the command line that runs a command in ``root`` with the content of ``place``.

    What it writes below ``temporary``, a directory, goes with it. With ``names``, a file of names
    that each end with a null, it sees these files alone, and what it writes among them goes too.
    """
    where = [str(place), str(root), str(temporary), str(names or "")]
    return ["unshare", "--mount", "sh", "-c", _INSIDE, "sandbox", *where, *command]
