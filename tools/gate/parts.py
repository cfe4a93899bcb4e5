"""The table of all parts: what each runs, what it reads, what it may cost.

Tests are found, not listed: each directory of unit tests is a part, and so is each group of tests
with nodes. What a test reads besides the modules that it imports is named here.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import role_inputs

from .environment import BIN

if TYPE_CHECKING:
    from .inputs import Tree

ALWAYS = (
    "tools/gate/*",
    "tools/leftovers.py",
    "requirements/dev.txt",
    "pyproject.toml",
    ".gitignore",
)
"""In the key of every part: a changed gate, or another set of tools, runs everything."""
PYTHON = ("*.py", "*.pyi")
YAML = ("*.yml", "*.yaml", "*.yamllint*", ".ansible-lint")
COLLECTION = (
    "roles/*",
    "plugins/*",
    "playbooks/*",
    "inventory_templates/*",
    "meta/*",
    "galaxy.yml",
)
TESTING = ("tests/conftest.py", "tests/__init__.py", "tests/distributions/*", "collections/*")
"""What every test may read."""
HELPERS = ("tests/*.py", "!tests/*/*", *TESTING)
"""What tests of several directories share: modules of ``tests`` itself."""
DATA = ("ohmykube/*", "!ohmykube/*.py")
"""What modules of the package read beside them."""
PRODUCT = ("ohmykube/*", *COLLECTION, "ansible.cfg", "collections/*")
EVERYTHING = ("*",)
NODES_WEIGHT = 0.5
"""Tests with nodes wait much: two of them leave room for a part that computes, one for two."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One command, what it reads, and what it may cost."""

    name: str
    argv: tuple[str, ...]
    inputs: tuple[str, ...]
    """Patterns of the files that it reads."""
    imports: bool = False
    """Whether it also reads all modules of the checkout that these import."""
    tests: tuple[str, ...] = ()
    """Files or directories of its tests; then ``argv`` are options of pytest."""
    measured: bool = True
    """Whether its tests count for coverage, which costs each program that they start a tenth of a
    second. Not where others run the same lines."""
    nodes: bool = False
    """Whether it makes nodes."""
    narrowed: bool = False
    """Whether only some of its tests are asked for: what that took says nothing of the part."""
    kept: bool = True
    """Whether its result is kept; if not it runs every time."""
    smoke: bool = False
    """Whether those of its tests that are marked ``smoke`` run also where its result is kept."""
    sandbox: bool = True
    """Whether it may run where it sees its inputs only: what makes nodes may not."""
    batch: str = ""
    """Parts of one batch are run by one command; their ``argv`` are appended to it."""
    budget: float = 60
    """Processor seconds, or seconds where there are nodes: twice as many fail the run."""
    limit: float = 1800
    weight: float = 1.0
    variables: tuple[tuple[str, str], ...] = ()
    """Environment variables of its own."""
    cache: str = ""
    """Name of the directory that its tool may keep between runs, at ``{cache}`` in ``argv``."""

    @property
    def stage(self) -> str:
        """Return what the part belongs to: ``unit`` for ``unit/kit``."""
        return self.name.partition("/")[0]

    def files(self, tree: Tree) -> set[str]:
        """Return the files that it reads."""
        names = tree.matching(self.inputs)
        return tree.matching(ALWAYS) | (tree.with_imports(names) if self.imports else names)


BATCHES = {
    "molecule": (sys.executable, "tools/molecule_run.py"),
}


CORES = ("2.19", "2.20", "2.21")
"""Releases of ansible-core whose sanity tests must pass; the first is that of development."""
NEWEST = CORES[-1]
BETWEEN = CORES[1:-1]
"""Those are asked at night: what both the oldest and the newest take, they rarely refuse."""
_TOLD = (*COLLECTION, "tools/*.py", "requirements/*", "README.md", "CHANGELOG*")


def sanity(stage: str, core: str, pylint: str) -> Part:
    """Return the sanity tests of one release; with ``pylint`` to ``skip``, or to ``test`` alone.

    It takes three times as long as all others, and the newest release knows most of what goes.
    """
    argv = [sys.executable, "tools/sanity.py"]
    argv += ["--core", core] if core != CORES[0] else []
    argv += {"skip": ["--skip-test", "pylint"], "test": ["--test", "pylint"]}.get(pylint, [])
    inputs = (*_TOLD, "tests/sanity/*", "changelogs/*", "LICENSE*")
    return Part(name=f"{stage}/sanity-{core}", argv=tuple(argv), inputs=inputs, budget=60)


def lint() -> list[Part]:
    """Return the linters."""

    def linter(name: str, *argv: str, inputs: tuple[str, ...], budget: float, **more: Any) -> Part:
        program = (str(BIN / argv[0]), *argv[1:])
        return Part(name=f"lint/{name}", argv=program, inputs=inputs, budget=budget, **more)

    def program(name: str, inputs: tuple[str, ...], budget: float) -> Part:
        argv = (sys.executable, f"tools/{name}.py")
        return Part(name=f"lint/{name}", argv=argv, inputs=(*_TOLD, *inputs), budget=budget)

    no_cache = "--no-cache"
    return [
        sanity("lint", CORES[0], "skip"),
        sanity("lint", NEWEST, ""),
        program("collection_docs", ("changelogs/*",), 40),
        program("galaxy_import", ("changelogs/*", "LICENSE*"), 60),
        program("changelog", ("changelogs/*",), 15),
        linter("ruff", "ruff", "check", no_cache, ".", inputs=PYTHON, budget=5),
        linter("format", "ruff", "format", no_cache, "--check", ".", inputs=PYTHON, budget=5),
        linter(
            *("mypy", "mypy", "--cache-dir={cache}"),
            inputs=("ohmykube/*", "tools/*.py", "tests/bench/*.py"),
            imports=True,
            budget=20,
            cache="mypy",
        ),
        linter("imports", "lint-imports", no_cache, inputs=("ohmykube/*.py",), budget=10),
        linter("yaml", "yamllint", "--strict", ".", inputs=YAML, budget=10),
        Part(
            name="lint/ansible",
            argv=(sys.executable, "tools/ansible_lint.py", "--offline", "--strict"),
            inputs=(
                *(*YAML, *PRODUCT, "!ohmykube/*", "molecule/*", ".config/*", "CHANGELOG*"),
                "tools/ansible_lint.py",
            ),
            budget=40,
        ),
    ]


def static() -> list[Part]:
    """Return the tests of the repository itself, which read all of it."""
    return [
        Part(
            name="static",
            argv=(),
            tests=("tests/static",),
            measured=False,
            inputs=EVERYTHING,
            budget=35,
        ),
        Part(
            name="static/tools",
            argv=(),
            tests=("tests/tools",),
            measured=False,
            inputs=(
                "tools/*",
                "tests/tools/*",
                "requirements/*",
                "molecule/*",
                ".config/*",
                "roles/*",
                "galaxy.yml",
                "ohmykube/__init__.py",
                "CHANGELOG.md",
                ".ci/publish",
                *TESTING,
            ),
            imports=True,
            budget=70,
        ),
    ]


TRUST = "tests/data/trust/*"
READ_BY_UNIT: dict[str, tuple[str, ...]] = {
    "unit": ("ohmykube/*",),
    "unit/addons": COLLECTION,
    "unit/ansible": (*COLLECTION, "tests/data/events/*", "tests/data/inventory/*"),
    "unit/cache": ("tests/data/programs/*", "tests/data/cache/*", TRUST),
    "unit/cache/bundle": ("ohmykube/*", *COLLECTION, "tests/data/programs/*"),
    "unit/cli": EVERYTHING,
    "unit/config": (
        "docs/configuration.md",
        "tests/data/config/*",
        "inventory_templates/*",
        TRUST,
    ),
    "unit/kit": ("galaxy.yml", "inventory_templates/*", TRUST),
    "unit/kube": ("ohmykube/*",),
    "unit/plugins": (
        *COLLECTION,
        "tests/data/plugins/*",
        "tests/data/config/*",
        "tests/data/state/*",
        TRUST,
    ),
    "unit/providers": ("ohmykube/kube/exposure/*",),  # started with `python -m`
    "unit/state": ("tests/data/state/*",),
    "unit/steps": COLLECTION,
    "unit/workflows": (
        "ohmykube/cli/*",
        *COLLECTION,
        "tests/data/node_programs/*",
        TRUST,
    ),
}
"""What unit tests read besides what they import: without it they fail in the sandbox."""


BUDGETS = {
    "unit/cache": 60,
    "unit/cache/bundle": 20,
    "unit/cli": 40,
    "unit/config": 25,
    "unit/plugins": 25,
    "unit/providers": 60,
    "unit/state": 25,
    "unit/testing": 20,
    "unit/workflows": 50,
    "e2e/cluster": 320,
    "e2e/hosts": 250,
    "e2e/lifecycle": 260,
}
"""What parts that are found may cost: a new cluster has to fit in."""


def unit(tree: Tree) -> list[Part]:
    """Return a part for each directory of unit tests."""
    rooms: dict[str, list[str]] = {}
    for name in sorted(tree.matching(["tests/unit/*test_*.py"])):
        rooms.setdefault(name.rpartition("/")[0], []).append(name)
    found = []
    for directory, files in rooms.items():
        name = directory.removeprefix("tests/")
        neighbours = f"{directory}/*"
        deeper = f"!{directory}/*/*"
        found.append(
            Part(
                name=name,
                argv=(),
                tests=tuple(files),
                inputs=(
                    *(*DATA, neighbours, deeper, *files, *conftests(directory), *TESTING),
                    *READ_BY_UNIT.get(name, ()),
                ),
                imports=True,
                budget=BUDGETS.get(name, 15),
            )
        )
    return found


def conftests(directory: str) -> tuple[str, ...]:
    """Return the patterns of what pytest loads for tests of a directory: theirs and all above."""
    words = directory.split("/")
    return tuple("/".join([*words[:n], "conftest.py"]) for n in range(1, len(words) + 1))


CONTRACTS = {
    "ansible": ("tests/contract/test_ansible_*.py",),
    "lima": ("tests/contract/test_lima*.py", "tests/contract/test_providers*.py"),
    "cache": (
        "tests/contract/test_*.py",
        "!*/test_ansible_*",
        "!*/test_lima*",
        "!*/test_providers*",
    ),
}


def contract(tree: Tree) -> list[Part]:
    """Return the contract tests: without nodes by subject, with nodes as one."""
    mine = (*HELPERS, "tests/contract/*", "tests/data/*", "tools/kubeadm_types.py", *PRODUCT)
    found = [
        Part(
            name=f"contract/{name}",
            argv=("-m", "not nodes"),
            tests=tuple(sorted(tree.matching(patterns))),
            inputs=mine,
            budget=40,
        )
        for name, patterns in CONTRACTS.items()
    ]
    with_nodes = Part(
        name="contract/nodes",
        argv=("-m", "nodes"),
        tests=("tests/contract",),
        measured=False,
        inputs=mine,
        nodes=True,
        sandbox=False,
        budget=300,
        weight=NODES_WEIGHT,
        limit=3600,
    )
    return [*found, with_nodes]


SMOKE = "cluster"
"""The group with the tests that prove on each run that this machine still makes a cluster."""


def e2e(tree: Tree) -> list[Part]:
    """Return the tests from end to end: without nodes as one part, with nodes by group."""
    tests = sorted(tree.matching(["tests/e2e/test_*.py", "!tests/e2e/*/*"]))
    found = [
        Part(
            name="e2e/commands",
            argv=("-m", "not nodes"),
            tests=tuple(tests),
            measured=False,
            inputs=EVERYTHING,
            budget=40,
        )
    ]
    groups = sorted({name.split("/")[2] for name in tree.matching(["tests/e2e/*/test_*.py"])})
    return [
        *found,
        *(
            Part(
                name=f"e2e/{group}",
                argv=("-m", "nodes"),
                tests=(f"tests/e2e/{group}",),
                measured=False,
                inputs=(
                    *PRODUCT,
                    *HELPERS,
                    "tests/e2e/*",
                    "tests/data/estate/*",
                    "docs/*",
                    "*.md",
                    "Makefile",
                ),
                nodes=True,
                smoke=group == SMOKE,
                sandbox=False,
                budget=BUDGETS.get(f"e2e/{group}", 120),
                weight=NODES_WEIGHT,
                limit=5400,
            )
            for group in groups
        ),
    ]


def smoke(part: Part) -> Part:
    """Return the part of the tests that run although the result of all of them is kept."""
    return replace(
        part,
        name=f"{part.name}/smoke",
        argv=("-m", "smoke"),
        kept=False,
        smoke=False,
        budget=part.budget / 3,
    )


def molecule(tree: Tree) -> list[Part]:
    """Return the roles on real nodes: those that run, run by one command on the same nodes."""
    return [
        Part(
            name=f"molecule/{role}",
            argv=(role,),
            # There ``**`` means no directory as well; here ``*`` does.
            inputs=tuple(
                glob.replace("/**/*", "/*") for glob in role_inputs.inputs(role, tree.root)
            ),
            nodes=True,
            sandbox=False,
            batch="molecule",
            budget=60,
            weight=NODES_WEIGHT,
            limit=3600,
        )
        for role in role_inputs.roles(tree.root)
    ]


def everything(tree: Tree) -> list[Part]:
    """Return all parts."""
    return [*lint(), *static(), *unit(tree), *contract(tree), *molecule(tree), *e2e(tree)]
