"""The files of the checkout, their digests, and which of them a test imports."""

from __future__ import annotations

import ast
import configparser
import fnmatch
import functools
import hashlib
import os
import re
import subprocess
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_COLLECTION = "ansible_collections.ohmykube.cluster."
_ENTRY_POINTS = "ohmykube/kit/entrypoints.py"
_DISTRIBUTIONS = "tests/distributions"
_IMPORT = re.compile(r"(?:from ([\w.]+) )?import ([\w.]+(?: as \w+)?(?:, *[\w.]+(?: as \w+)?)*)")
_SPECIAL = frozenset("*?[")
"""A pattern without any of these is the name of a file."""
_UNLISTED = {".git", ".venv", "__pycache__"}


@dataclass(frozen=True)
class Tree:
    """The files of a checkout: paths relative to ``root``, each with a digest of what it is."""

    root: Path
    files: dict[str, str]
    imports: dict[str, set[str]] = field(default_factory=dict)
    """What files import, as far as it was asked for."""

    @classmethod
    def read(cls, root: Path) -> Tree:
        """Look at all files that are tracked or could be: what git ignores is no input."""
        return cls(root, {name: digest(root / name) for name in _listed(root)})

    def matching(self, patterns: Iterable[str]) -> set[str]:
        """Return the files that match a pattern of fnmatch; ``*`` matches a slash too.

        A pattern that begins with ``!`` takes away what those before it gave.
        """
        found: set[str] = set()
        for pattern in patterns:
            if pattern.startswith("!"):
                found -= set(fnmatch.filter(found, pattern[1:]))
            elif _SPECIAL.isdisjoint(pattern):
                found |= {pattern} & self.files.keys()
            else:
                found |= set(fnmatch.filter(self.files, pattern))
        return found

    def with_imports(self, names: Iterable[str]) -> set[str]:
        """Return files together with all modules of the checkout that they import.

        Imports are followed from file to file, those within functions too; a string that is the
        name of a module counts (``python -m``, lazy commands), and so do programs within strings
        and the targets of entry points where entry points are read. Imports for type checkers
        alone do not.
        """
        found = set(names)
        waiting = [name for name in found if name.endswith(".py")]
        while waiting:
            name = waiting.pop()
            reached = self.direct_imports(name) - found
            found |= reached
            waiting += reached
        return found

    def direct_imports(self, name: str) -> set[str]:
        """Return the modules of the checkout that a Python file imports itself."""
        if name not in self.imports:
            self.imports[name] = _imported(self, name)
        return self.imports[name]

    def digest(self, names: Iterable[str]) -> str:
        """Return one digest for files: their names and all that they are."""
        text = "".join(f"{name}\0{self.files.get(name, '')}\n" for name in sorted(names))
        return hashlib.sha256(text.encode()).hexdigest()

    def module(self, name: str) -> str | None:
        """Return the file of a module, None when it is none of the checkout's."""
        stem = name.removeprefix(_COLLECTION).replace(".", "/")
        for path in (f"{stem}.py", f"{stem}/__init__.py"):
            if path in self.files:
                return path
        return None

    @functools.cached_property
    def entry_points(self) -> set[str]:
        """Return the files of all entry points: of the project, and of plugins for tests."""
        project = tomllib.loads((self.root / "pyproject.toml").read_text())["project"]
        groups = [*project["entry-points"].values()]
        for name in self.matching([f"{_DISTRIBUTIONS}/*/entry_points.txt"]):
            installed = configparser.ConfigParser()
            installed.read(self.root / name)
            groups += [installed[group] for group in installed.sections()]
        found = {
            self.module(target.partition(":")[0]) for group in groups for target in group.values()
        }
        return {path for path in found if path}


def digest(path: Path) -> str:
    """Return what a file is, as one word: kind, permission to execute, content; nothing if gone."""
    try:
        if path.is_symlink():
            # What it leads to may lie outside, where nobody else looks.
            content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
            return f"link:{path.readlink()}:{content}"
        mode = "x" if path.stat().st_mode & 0o100 else "-"
        return mode + hashlib.sha256(path.read_bytes()).hexdigest()
    except (FileNotFoundError, IsADirectoryError):
        return ""


def _listed(root: Path) -> list[str]:
    argv = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    if (root / ".git").exists():
        done = subprocess.run(argv, cwd=root, capture_output=True, timeout=60, check=True)
        names = {name for name in done.stdout.decode(errors="surrogateescape").split("\0") if name}
    else:  # unpacked from an archive: everything in it is the project's
        names = set(_walk(root))
    return sorted(name for name in names if os.path.lexists(root / name))


def _walk(root: Path) -> Iterator[str]:
    for directory, directories, names in os.walk(root):
        links = [name for name in directories if Path(directory, name).is_symlink()]
        directories[:] = [name for name in directories if name not in _UNLISTED]
        for name in (*names, *links):
            yield str(Path(directory, name).relative_to(root))


def _named(path: Path) -> tuple[tuple[str, ...], tuple[tuple[int, str], ...]]:
    """Return the modules that a file names outright, and those that it names relatively."""
    absolute: list[str] = []
    relative: list[tuple[int, str]] = []
    try:
        tree = ast.parse(path.read_bytes())
    except SyntaxError:  # told by whoever runs it
        return (), ()
    for node in _run_time(tree):
        if isinstance(node, ast.Import):
            absolute += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            names = [f"{module}.{alias.name}".strip(".") for alias in node.names]
            if node.level:
                relative += [(node.level, name) for name in (module, *names)]
            else:
                absolute += [module, *names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            absolute += _in_text(node.value)
    return tuple(absolute), tuple(relative)


def _in_text(text: str) -> list[str]:
    """Return the modules that a text names: it is a name, or the code of another program."""
    if "import " in text:
        names = []
        for module, imported in _IMPORT.findall(text):
            words = [word.split()[0] for word in imported.split(",")]
            names += [module, *(f"{module}.{word}".strip(".") for word in words)]
        return names
    name = text.partition(":")[0]
    return [name] if "." in name and name.replace(".", "").replace("_", "").isalnum() else []


def _run_time(tree: ast.AST) -> Iterator[ast.AST]:
    """Walk over all that can run; not over what stands below ``if TYPE_CHECKING``."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, ast.If) and _is_type_checking(node.test):
            waiting += node.orelse
        else:
            waiting += ast.iter_child_nodes(node)


def _is_type_checking(test: ast.expr) -> bool:
    return "TYPE_CHECKING" in {getattr(test, "id", ""), getattr(test, "attr", "")}


def _imported(tree: Tree, name: str) -> set[str]:
    absolute, relative = _named(tree.root / name)
    here = name.rpartition("/")[0].replace("/", ".")
    wanted = set(absolute)
    for level, module in relative:
        package = here.split(".")[: len(here.split(".")) - level + 1]
        wanted.add(".".join([*package, module]).strip("."))
    # pytest puts the directory of a test first on the path: its neighbours go by their bare names.
    wanted |= {f"{here}.{module}" for module in absolute if "." not in module}
    found: set[str] = set()
    for module in wanted:
        parts = module.split(".")
        for length in range(1, len(parts) + 1):
            path = tree.module(".".join(parts[:length]))
            if path:
                found.add(path)
    if name == _ENTRY_POINTS:
        found |= tree.entry_points
    return found
