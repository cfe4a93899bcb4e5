"""The changelog, made of the fragments by antsibull-changelog: changelog.py [release].

    changelog.py            check fragments and CHANGELOG.md, and try what a release would make
    changelog.py release    gather the fragments into CHANGELOG.md, for the version in galaxy.yml

antsibull-changelog comes with the environment of collection_docs.py, whose lock names it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import collection_docs
import kept
import sanity

PAGE = "CHANGELOG.md"
RELEASED = "changelogs/changelog.yaml"
"""What the tool keeps of releases; there is none before the first one."""
UNRELEASED = """\
# Changes

Nothing was released yet. Each change comes with a fragment in
[changelogs/fragments](https://github.com/monshunter/ohmykube/tree/main/changelogs/fragments); a
release gathers them here.
"""


def run(program: Path, root: Path, *arguments: str) -> int:
    """Run antsibull-changelog in a copy of the collection."""
    # Plugins are found by the ansible-doc of the development environment.
    own = Path(sys.executable).parent
    env = {**os.environ, "PATH": f"{own}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run([str(program), *arguments], cwd=root, env=env, check=False).returncode


def copy_to(directory: Path) -> Path:
    """Copy what the tool reads, where it wants a collection to be."""
    root = sanity.copy_to(directory)
    shutil.copytree(sanity.ROOT / "changelogs", root / "changelogs", dirs_exist_ok=True)
    return root


def generated(program: Path, root: Path) -> str | None:
    """Return the page that belongs to the releases there are, None if the tool fails."""
    if not (root / RELEASED).exists():
        return UNRELEASED
    if run(program, root, "generate"):
        return None
    return (root / PAGE).read_text()


def check(program: Path, root: Path) -> list[str]:
    """Return what is wrong with fragments and page; at last makes a release in the copy."""
    committed = (root / PAGE).read_text()
    if generated(program, root) != committed:
        return [f"{PAGE} is not what the releases give: it is made by `make changelog` alone"]
    if not any((root / "changelogs" / "fragments").glob("*.y*ml")):
        return []
    # A release looks at all fragments first, as `lint` does, which takes half of its time.
    if run(program, root, "release", "--version", "999.0.0", "--date", "2000-01-01"):
        return ["a fragment is not valid, or they cannot be released"]
    page = (root / PAGE).read_text()
    return [] if r"v999\.0\.0" in page else [f"a release does not come to {PAGE}"]


def release(program: Path, root: Path) -> int:
    """Make the release in the copy and take over what it changed."""
    if code := run(program, root, "release"):
        return code
    shutil.copy2(root / PAGE, sanity.ROOT / PAGE)
    shutil.copy2(root / RELEASED, sanity.ROOT / RELEASED)
    fragments = Path("changelogs", "fragments")
    for path in (sanity.ROOT / fragments).glob("*.y*ml"):
        if not (root / fragments / path.name).exists():
            path.unlink()
    return 0


def main(arguments: list[str]) -> int:
    """Check the changelog, or make a release of it."""
    lock = collection_docs.LOCK.read_bytes()
    place = kept.directory("collection-docs", collection_docs.make, lock)
    if place is None:
        return 1
    program = place / "venv" / "bin" / "antsibull-changelog"
    with tempfile.TemporaryDirectory(prefix="omk-changes-") as name:
        root = copy_to(Path(name))
        if arguments == ["release"]:
            return release(program, root)
        problems = check(program, root)
    print("".join(f"error: {problem}\n" for problem in problems), end="", file=sys.stderr)
    return len(problems)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
