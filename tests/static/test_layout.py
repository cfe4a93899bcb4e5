"""Habits of the source: names, sizes, versions, licences."""

from __future__ import annotations

import ast
import functools
import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from ohmykube import __version__
from ohmykube.kit import process
from ohmykube.state import layout

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = [ROOT / "ohmykube", ROOT / "plugins"]
CATCH_ALLS = {"utils", "util", "common", "helpers", "helper", "misc", "manager", "managers"}
RETIRED = {
    "cargo": "an image, a tar",
    "carry": "export, copy",
    "catalogue": "catalog, as in cache/catalog.py",
    "dismantle": "tear down, remove",
    "foreseen": "a preview",
    "furnish": "set up",
    "golden": "template",
    "greets": "the handshake itself",
    "nature": "traits",
    "patience": "timeouts",
}
"""Metaphors and second spellings in names, and what says the same plainly."""
FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef


def tracked(*suffixes: str) -> list[Path]:
    """Return the files of the repository, committed or about to be, with one of the suffixes."""
    listed = process.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        timeout=60,
        cwd=ROOT,
    ).stdout.split("\0")
    paths = [ROOT / name for name in listed if name]
    return [
        path
        for path in paths
        if path.is_file() and not path.is_symlink() and (not suffixes or path.suffix in suffixes)
    ]


MODULES = [path for top in PRODUCT for path in sorted(top.rglob("*.py"))]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_no_module_is_a_catch_all() -> None:
    assert [name_of(path) for path in MODULES if path.stem in CATCH_ALLS] == []
    assert [name_of(path) for path in MODULES if path.parent.name in CATCH_ALLS] == []


@functools.cache
def nodes_of(path: Path) -> tuple[ast.AST, ...]:
    """Return all nodes of a module, itself first; parsed once for all tests."""
    return tuple(ast.walk(ast.parse(path.read_text())))


def module_of(path: Path) -> ast.Module:
    module = nodes_of(path)[0]
    assert isinstance(module, ast.Module)
    return module


def words_of(name: str) -> set[str]:
    """Return the words of a name in either style, in lower case."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)}


def test_names_are_words_of_the_field() -> None:
    found = {}
    for path in MODULES:
        defined = [
            node.name for node in nodes_of(path) if isinstance(node, FUNCTION | ast.ClassDef)
        ]
        for name in (path.stem, *defined):
            if retired := words_of(name) & RETIRED.keys():
                found[f"{name_of(path)}: {name}"] = [RETIRED[word] for word in sorted(retired)]
    assert found == {}


@pytest.mark.parametrize(
    ("name", "words"),
    [("carry_over", {"carry", "over"}), ("_GoldenImages", {"golden", "images"})],
)
def test_words_are_found_in_either_style(name: str, words: set[str]) -> None:
    assert words_of(name) == words


def test_names_of_files_of_the_state_are_written_once() -> None:
    """``state/layout.py`` has them; the package's other modules take them from there."""
    constants = {value for value in vars(layout).values() if isinstance(value, str)}
    names = {value for value in constants if re.fullmatch(r"[.a-z{}-]*[.-][.a-z{}-]*", value)}
    assert {layout.RECORD, layout.ANSIBLE_LOG, layout.CACHE_TOKEN, layout.TUNNEL_LOG} <= names
    written = [
        f"{name_of(path)}:{node.lineno}: {node.value}"
        for path in MODULES
        if path.is_relative_to(ROOT / "ohmykube") and path != Path(layout.__file__)
        for node in nodes_of(path)
        if isinstance(node, ast.Constant) and node.value in names
    ]
    assert written == []


def test_modules_are_short() -> None:
    lengths = {name_of(path): len(path.read_text().splitlines()) for path in MODULES}
    assert {name: lines for name, lines in lengths.items() if lines > 400} == {}


def test_functions_are_short() -> None:
    long = {}
    for path in MODULES:
        for node in nodes_of(path):
            if isinstance(node, FUNCTION):
                # From the def to its last line, its documentation not counted.
                first = node.body[0]
                told = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
                documentation = (first.end_lineno or 0) - first.lineno + 1 if told else 0
                lines = (node.end_lineno or 0) - node.lineno + 1 - documentation
                if lines > 50:
                    long[f"{name_of(path)}: {node.name}"] = lines
    assert long == {}


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        name_of(path)
        for path in MODULES
        if path.parent.name != "modules"  # those have Ansible's DOCUMENTATION
        and path.read_text().strip()
        and not ast.get_docstring(module_of(path))
    ]
    assert silent == []
    assert [name_of(p) for p in MODULES if "See the modules of this package" in p.read_text()] == []


def test_no_entry_point_leads_to_what_is_for_tests() -> None:
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    targets = [target for group in groups.values() for target in group.values()]
    assert targets
    assert [target for target in targets if target.startswith("ohmykube.testing")] == []


def test_one_version_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    galaxy = yaml.safe_load((ROOT / "galaxy.yml").read_text())["version"]
    assert project == galaxy == __version__


def test_the_collection_asks_for_the_same_ansible_as_the_package() -> None:
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    lower = next(re.search(r">=([\d.]+)", d) for d in needed if d.startswith("ansible-core"))
    runtime = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text())["requires_ansible"]
    assert lower is not None
    assert runtime.removeprefix(">=").startswith(lower[1])


def pins(name: str) -> dict[str, set[str]]:
    """Return names to versions: more than one where Python's version decides."""
    found: dict[str, set[str]] = {}
    text = (ROOT / "requirements" / name).read_text()
    for package, version in re.findall(r"^([\w.-]+)==(\S+)", text, re.M):
        found.setdefault(package, set()).add(version)
    return found


def test_the_development_requirements_hold_the_run_time_ones() -> None:
    run, dev = pins("run.txt"), pins("dev.txt")
    assert run
    assert {name: version for name, version in run.items() if dev.get(name) != version} == {}
    text = (ROOT / "requirements" / "run.txt").read_text()
    assert text.count("==") <= text.count("--hash=sha256:")


def test_declared_dependencies_are_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    run, dev = pins("run.txt"), pins("dev.txt")

    def names(wanted: list[str]) -> set[str]:
        return {re.split(r"[\[<>=!~ ]", one)[0].lower() for one in wanted}

    assert names(project["dependencies"]) <= run.keys()
    assert names(project["optional-dependencies"]["dev"]) <= dev.keys()


# What a machine's own paths and hosts look like; the text of the project must hold none.
FOREIGN = {
    "a home directory": re.compile(
        r"/home/(?!user/|you/|vagrant/)[a-z]+/|/root/\.(?:pyenv|cache|local|config)"
    ),
    "a directory of some machine": re.compile(r"(?<![\w./$}*])/(?:work|workspace|opt/wheels)/"),
    "a scratch directory": re.compile(r"/tmp/[a-z0-9]/"),
    "an address of a private network": re.compile(r"\b192\.168\.(?!0\.0\b)\d+\.\d+:\d+\b"),
    "an index of some machine": re.compile(r"--(?:extra-)?index-url|--find-links|--trusted-host"),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_no_trace_of_any_machine(what: str) -> None:
    found = []
    for path in tracked():
        if path.suffix in {".png", ".gz", ".zst"} or path == Path(__file__):
            continue
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if FOREIGN[what].search(line):
                found.append(f"{name_of(path)}:{number}: {line.strip()[:80]}")
    assert found == []


def imports_ansible(path: Path) -> bool:
    """Tell whether a plugin imports Ansible's GPL code: all but its BSD module_utils."""
    for node in nodes_of(path):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        for name in names:
            if name.split(".")[0] == "ansible" and not name.startswith("ansible.module_utils"):
                return True
    return False


PLUGINS = sorted((ROOT / "plugins").rglob("*.py"))


@pytest.mark.parametrize("path", PLUGINS, ids=name_of)
def test_plugins_carry_the_licence_their_imports_ask_for(path: Path) -> None:
    head = "\n".join(path.read_text().splitlines()[:12])
    if imports_ansible(path):
        assert "GPL-3.0-or-later" in head or "GNU General Public License v3.0+" in head
    else:
        assert "GPL" not in head or "OR" in head, "this one can be Apache-2.0 as the rest is"


def test_scripts_can_be_run_and_parse() -> None:
    for path in [*tracked(".sh"), *sorted((ROOT / ".ci").iterdir())]:
        if path.is_relative_to(ROOT / "tests") or path.is_relative_to(ROOT / "roles"):
            continue
        assert path.stat().st_mode & 0o111, path
        assert path.read_text().startswith("#!/usr/bin/env bash\n")
        process.run(["bash", "-n", str(path)], timeout=30)


def test_scripts_pass_shellcheck() -> None:
    scripts = [
        str(path)
        for path in tracked()
        if re.match(rb"#!.*\b(?:ba|da)?sh\b", path.read_bytes()[:80].partition(b"\n")[0])
    ]
    assert len(scripts) > 5
    argv = [str(Path(sys.executable).parent / "shellcheck"), *scripts]
    done = process.run(argv, timeout=60, check=False)
    assert done.code == 0, done.stdout
