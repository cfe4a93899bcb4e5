"""Whatever a result depends on is in its key: each kind of change is noticed, no other one is."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from gate import environment, parts
from gate.inputs import Tree
from gate.run import key

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.tools.conftest import Project

ALPHA, BETA = "unit/alpha", "unit/beta"


def keys(project: Project) -> dict[str, str]:
    """Return the keys of all parts of the project as it is now."""
    tree = Tree.read(project.root)
    return {part.name: key(part, tree) for part in parts.everything(tree)}


def changed(project: Project, change: Callable[[], object]) -> set[str]:
    """Return the parts whose keys a change alters."""
    before = keys(project)
    change()
    after = keys(project)
    return {name for name in after if after[name] != before.get(name)}


@pytest.mark.parametrize(
    ("name", "reaches"),
    [
        ("ohmykube/deep.py", {ALPHA}),
        ("ohmykube/base.py", {ALPHA}),  # imported by what is imported
        ("ohmykube/late.py", {ALPHA, BETA}),  # within a function; and as a text
        ("ohmykube/words.py", {BETA}),  # in a program within a text
        ("ohmykube/box.py", {ALPHA}),  # through an entry point
        ("ohmykube/double.py", {ALPHA}),  # through that of a plugin for tests
        ("tests/distributions/double-1.dist-info/entry_points.txt", {ALPHA, BETA}),
        ("ohmykube/kit/__init__.py", {ALPHA}),
        ("ohmykube/types.py", set()),  # for type checkers
        ("ohmykube/words.txt", {ALPHA, BETA}),
        ("tests/unit/alpha/given.txt", {ALPHA}),
        ("tests/conftest.py", {ALPHA, BETA}),
        ("tests/unit/alpha/conftest.py", {ALPHA}),
        ("tests/unit/alpha/test_alpha.py", {ALPHA}),
        ("tests/unit/alpha/neighbour.py", {ALPHA}),  # a file that git does not know yet
        ("pyproject.toml", {ALPHA, BETA}),
        ("requirements/dev.txt", {ALPHA, BETA}),
        ("tools/gate/run.py", {ALPHA, BETA}),
        ("tools/gate/parts.py", {ALPHA, BETA}),
        ("README.md", set()),
    ],
)
def test_a_changed_file(project: Project, name: str, reaches: set[str]) -> None:
    path = project.root / name
    before = path.read_text() if path.exists() else ""
    path_changed = changed(project, lambda: path.write_text(f"{before}\n# changed\n"))
    assert path_changed & {ALPHA, BETA} == reaches
    assert "static" in path_changed, "it reads everything"


def test_a_file_that_goes_or_may_be_run(project: Project) -> None:
    late = project.root / "ohmykube/late.py"
    assert changed(project, lambda: late.chmod(0o755)) >= {ALPHA, BETA}
    assert changed(project, late.unlink) >= {ALPHA, BETA}


def test_a_link_that_leads_elsewhere(project: Project) -> None:
    link = project.root / "tests/unit/alpha/link"
    link.symlink_to("given.txt")

    def lead_elsewhere() -> None:
        link.unlink()
        link.symlink_to("other.txt")

    assert ALPHA in changed(project, lead_elsewhere)


def test_a_link_out_of_the_checkout_is_what_it_leads_to(project: Project) -> None:
    outside = project.root.parent / "outside.py"
    outside.write_text("VALUE = 1\n")
    (project.root / "tests/unit/alpha/link.py").symlink_to(outside)
    assert ALPHA in changed(project, lambda: outside.write_text("VALUE = 2\n"))


def test_a_file_that_cannot_be_parsed_is_an_input_all_the_same(project: Project) -> None:
    assert ALPHA in changed(project, lambda: project.write("ohmykube/deep.py", "def (\n"))


def test_what_git_ignores_is_no_input(project: Project) -> None:
    assert changed(project, lambda: project.write("tests/unit/alpha/ignored.txt", "x")) == set()


def test_another_checkout_has_the_same_keys(project: Project) -> None:
    """Two clones of one state share what is kept."""
    ours = keys(project)
    elsewhere = project.root.parent / "elsewhere"
    subprocess.run(["cp", "-a", str(project.root), str(elsewhere)], check=True)
    tree = Tree.read(elsewhere)
    theirs = {part.name: key(part, tree) for part in parts.everything(tree)}
    assert theirs == ours


def test_without_git_all_files_count(project: Project) -> None:
    listed = Tree.read(project.root).files
    subprocess.run(["rm", "-rf", str(project.root / ".git")], check=True)
    assert set(listed) <= set(Tree.read(project.root).files)


ASK = "from gate.environment import fingerprint; print(fingerprint())"


def fingerprint(project: Project, *start: str, python: str = sys.executable, **extra: str) -> str:
    done = subprocess.run(
        [*start, python, "-c", ASK],
        env=project.env(**extra),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.strip()


def test_the_environment_counts() -> None:
    def with_another(name: str = "") -> str:
        with pytest.MonkeyPatch.context() as patch:
            if name:
                patch.setenv(name, "another")
            return environment.fingerprint.__wrapped__()  # each time anew

    ours = with_another()
    assert with_another() == ours
    for name in ("CI", "GOPROXY", "LC_ALL", "OHMYKUBE_NIGHTLY", "https_proxy", "HOME"):
        assert with_another(name) != ours, name
    for name in ("TMPDIR", "TERM", "OHMYKUBE_TEST_RUN", "UNRELATED"):
        assert with_another(name) == ours, name


@pytest.mark.parametrize("program", ["go", "dpkg-query"])
def test_another_version_of_a_program_counts(project: Project, program: str) -> None:
    """Programs that come as packages are known by the list of packages."""
    found = []
    place = project.root.parent / "bin"
    place.mkdir()
    for version in ("1.0", "1.1"):
        (place / program).write_text(f"#!/bin/sh\necho {program} {version}\n")
        (place / program).chmod(0o755)
        found.append(fingerprint(project, PATH=f"{place}:{os.environ['PATH']}"))
    assert len(set(found)) == 2


def test_an_edited_package_counts(project: Project) -> None:
    """Its version alone does not say so."""
    place = project.root.parent / "python"
    argv = [sys.executable, "-m", "venv", "--without-pip", str(place)]
    subprocess.run(argv, check=True, timeout=60)
    packages = next(place.glob("lib/python*/site-packages"))
    module = packages / "one.py"
    found = []
    for text in ("VALUE = 1\n", "VALUE = 100\n"):
        module.write_text(text)
        found.append(fingerprint(project, python=str(place / "bin" / "python")))
    assert len(set(found)) == 2


def test_another_python_counts(project: Project) -> None:
    """The same version, installed elsewhere, is another one: it may be built differently."""
    place = project.root.parent / "python"
    argv = [sys.executable, "-m", "venv", "--copies", "--without-pip", str(place)]
    subprocess.run(argv, check=True, timeout=60)
    assert fingerprint(project, python=str(place / "bin" / "python")) != fingerprint(project)


@pytest.mark.usefixtures("as_root")
def test_another_machine_counts(project: Project) -> None:
    elsewhere = ("unshare", "--uts", "sh", "-c", 'hostname elsewhere; exec "$@"', "sh")
    assert fingerprint(project, *elsewhere) != fingerprint(project)


@pytest.mark.usefixtures("as_root")
def test_another_user_counts(project: Project) -> None:
    for path in (
        project.root.parent,
        project.root,
        project.root / "tools",
        project.root / "tools/gate",
    ):
        path.chmod(0o755)
    own = fingerprint(project)
    done = subprocess.run(
        [sys.executable, "-c", f"import os; os.setuid(65534)\n{ASK.replace(';', chr(10))}"],
        env=project.env(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.strip() != own
