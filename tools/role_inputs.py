"""Which files of the repository the Molecule scenario of a role reads: ``role_inputs.py ROLE``.

Found by following names: from the scenario's playbooks to roles, from those to modules, filters and
other roles, from Python files to what they import; the nodes are made and the inventory is written
by ``ohmykube.testing.nodes``, so what that imports counts for every role.
"""

from __future__ import annotations

import ast
import functools
import re
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path(__file__).resolve().parents[1]
NODES = "ohmykube.testing.nodes"
PROVIDER = "nspawn"
"""The provider that ``NODES`` asks for; like sources and add-ons it comes by an entry point."""
COLLECTION = "ansible_collections.ohmykube.cluster"
ALWAYS = (
    ".config/molecule/**/*",
    "galaxy.yml",
    "inventory_templates/**/*",
    "meta/**/*",
    "molecule/default/molecule.yml",
    "molecule/default/create.yml",
    "molecule/default/destroy.yml",
    "pyproject.toml",
    "requirements/dev.txt",
    "tests/conftest.py",
    "tests/testinfra/conftest.py",
    "tools/ansible_forks.py",
    "tools/molecule_run.py",
)
"""Globs of what every scenario reads: configuration, nodes, the runner, the frame of the tests."""
_NAME = re.compile(r"ohmykube\.cluster\.([a-z][a-z0-9_]*)")
_PLAYBOOK = re.compile(r"import_playbook:\s*(\S+)")
_TEST_FILE = re.compile(r"tests/[\w./-]+\.\w+")
_MODULE = re.compile(r"ohmykube(\.[a-z_]+)+")


def roles(root: Path = ROOT) -> list[str]:
    """Return the names of all roles."""
    return sorted(path.name for path in (root / "roles").glob("*") if path.is_dir())


def inputs(role: str, root: Path = ROOT) -> list[str]:
    """Return globs, from the root of the repository, of all that the role's scenario reads.

    Raises:
        LookupError: something that a file names is nowhere.
    """
    found = {*ALWAYS, f"molecule/{role}/**/*", f"tests/testinfra/test_{role}.py", *_nodes(root)}
    queue = [f"role {role}"]
    for playbook in _playbooks(root, role):
        found.add(_relative(playbook, root))
        text = playbook.read_text()
        queue += _names(text, root)
        found.update(name for name in _TEST_FILE.findall(text) if (root / name).is_file())
    seen = set()
    while queue:
        thing = queue.pop()
        if thing not in seen:
            seen.add(thing)
            kind, _, name = thing.partition(" ")
            if kind == "role":
                found.add(f"roles/{name}/*/**/*")  # the page at its top changes nothing
                texts = (f for f in (root / "roles" / name).glob("*/**/*") if f.is_file())
                queue += [use for file in texts for use in _names(file.read_text(), root)]
            else:
                found.update(_relative(file, root) for file in _python(root / name, root))
    return sorted(found)


def files(role: str, root: Path = ROOT) -> list[Path]:
    """Return the files that the globs of a role mean now, sorted."""
    found = {path for glob in inputs(role, root) for path in root.glob(glob)}
    return sorted(p for p in found if p.is_file() and "__pycache__" not in p.parts)


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _playbooks(root: Path, role: str) -> list[Path]:
    """Return the playbooks of a scenario, and those that they import."""
    directory = root / "molecule" / role
    queue, found = sorted(directory.glob("*.yml")), []
    while queue:
        path = queue.pop()
        if path not in found:
            found.append(path)
            queue += [(path.parent / n).resolve() for n in _PLAYBOOK.findall(path.read_text())]
    return found


def _names(text: str, root: Path) -> Iterator[str]:
    """Find what a text names of the collection, as ``role NAME`` or ``file PATH``."""
    for name in sorted(set(_NAME.findall(text))):
        own = [*root.glob(f"plugins/*/{name}.*"), *_filters(root).get(name, ())]
        if (root / "roles" / name).is_dir():
            yield f"role {name}"
        elif own:
            yield from (f"file {_relative(path, root)}" for path in own)
        elif not (root / "playbooks" / f"{name}.yml").is_file():
            raise LookupError(f"ohmykube.cluster.{name} is no role, plugin or playbook")


@functools.cache
def _filters(root: Path) -> dict[str, list[Path]]:
    """Return the files that define each filter: several are in one."""
    found: dict[str, list[Path]] = {}
    for path in sorted((root / "plugins" / "filter").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name == "filters":
                for key in (k for d in ast.walk(node) if isinstance(d, ast.Dict) for k in d.keys):
                    found.setdefault(str(getattr(key, "value", key)), []).append(path)
    return found


def _nodes(root: Path) -> Iterator[str]:
    """Find the files by which the nodes are made and their inventory is written."""
    entries = tomllib.loads((root / "pyproject.toml").read_text())["project"]["entry-points"]
    modules = [NODES, entries["ohmykube.providers"][PROVIDER].split(":")[0]]
    plugins = (*entries["ohmykube.sources"].values(), *entries["ohmykube.addons"].values())
    modules += [target.split(":")[0] for target in plugins]
    for name in modules:
        for path in _module(name, root):
            yield from (_relative(file, root) for file in _python(path, root))
    data = (path for path in (root / "ohmykube").rglob("*") if path.suffix not in (".py", ".pyc"))
    yield from (_relative(path, root) for path in data if path.is_file())


@functools.cache
def _python(path: Path, root: Path) -> frozenset[Path]:
    """Return a file and, if it is a Python file, all that it imports from the repository."""
    found: set[Path] = set()
    queue = [path]
    while queue:
        file = queue.pop()
        if file not in found:
            found.add(file)
            if file.suffix == ".py":
                queue += [f for name in _imported(file) for f in _module(name, root)]
    return frozenset(found)


@functools.cache
def _imported(path: Path) -> tuple[str, ...]:
    """Return the names of the modules that a file imports when it runs, or starts by name."""
    return tuple(_imports_of(ast.parse(path.read_text()).body))


def _imports_of(nodes: Iterable[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from _imports_of(node.orelse)
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and _MODULE.fullmatch(str(node.value)):
            yield str(node.value)
        yield from _imports_of(ast.iter_child_nodes(node))


def _module(name: str, root: Path) -> Iterator[Path]:
    """Find the files of a module of ours: its own, and those of the packages around it."""
    below = name.removeprefix(f"{COLLECTION}.")
    parts = below.split(".")
    if parts[0] not in ("ohmykube", "tests") and below == name:
        return
    for length in range(1, len(parts) + 1):
        place = root.joinpath(*parts[:length])
        for path in (place / "__init__.py", place.with_suffix(".py")):
            if path.is_file():
                yield path


if __name__ == "__main__":
    for role in sys.argv[1:] or roles():
        for glob in inputs(role):
            print(f"{role}: {glob}")
