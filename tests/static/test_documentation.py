"""What the documentation promises is there: commands, targets, files."""

from __future__ import annotations

import re
import sys
from functools import cache
from pathlib import Path

import pytest

from ohmykube.kit import process

ROOT = Path(__file__).resolve().parents[2]
SKIP = {".venv", "roles", ".pytest_cache", "node_modules"}
PAGES = sorted(
    path
    for path in ROOT.rglob("*.md")
    if not SKIP & set(path.relative_to(ROOT).parts[:1]) and "ansible_collections" not in path.parts
)
OWN_PROGRAMS = re.compile(r"(?:^|[\s;&|(])(?:\S*/)?ohmykube((?:\s+[a-z][a-z-]*){0,2})")


def blocks(text: str) -> list[str]:
    """Return the lines of the code blocks, prompts and comments removed, continuations joined."""
    found = re.findall(r"^ *```(?:console|sh|bash|shell)\n(.*?)^ *```", text, re.M | re.S)
    lines = "\n".join(found).replace("\\\n", " ").splitlines()
    commands = [line.strip().removeprefix("$ ").removeprefix("# ").strip() for line in lines]
    return [re.sub(r"\s+#.*", "", command) for command in commands if command]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def targets() -> set[str]:
    text = (ROOT / "Makefile").read_text()
    lines = re.findall(r"^([a-z0-9][a-z0-9 ]*):(?!=)", text, re.M)
    return {name for line in lines for name in line.split()}


@cache
def commands() -> set[str]:
    told = process.run([sys.executable, "-m", "ohmykube", "--help"], timeout=60).stdout
    return set(re.findall(r"^  ([a-z]+)  +[A-Z]", told, re.M))


def test_there_are_pages() -> None:
    names = {name_of(path) for path in PAGES}
    assert {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/index.md"} <= names


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_make_targets_exist(page: Path) -> None:
    text = page.read_text()
    named = set(
        re.findall(r"(?:^|`|\$ |\s)make ([a-z0-9]+)(?=[`\s]|$)", "\n".join(blocks(text)), re.M)
    )
    named |= set(re.findall(r"`make ([a-z0-9]+)[^`]*`", text))
    assert named <= targets()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_subcommands_exist(page: Path) -> None:
    text = page.read_text()
    inline = re.findall(r"`((?:\.venv/bin/)?ohmykube [^`]+)`", text)
    for command in [*blocks(text), *inline]:
        for words in OWN_PROGRAMS.findall(command):
            if words.split():
                assert words.split()[0] in commands(), command


def anchors(path: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", path.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_resolve(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        place, _, anchor = link.partition("#")
        target = (page.parent / place).resolve() if place else page
        if not target.exists() or (
            anchor and target.suffix == ".md" and anchor not in anchors(target)
        ):
            broken.append(link)
    assert broken == []


def test_every_page_of_docs_is_reachable() -> None:
    docs = ROOT / "docs"
    seen: set[Path] = set()
    todo = [docs / "index.md"]
    while todo:
        page = todo.pop()
        seen.add(page)
        for link in re.findall(r"\]\(([^)#\s]+\.md)", page.read_text()):
            target = (page.parent / link).resolve()
            if target.is_relative_to(docs) and target not in seen and target.exists():
                todo.append(target)
    assert {name_of(path) for path in docs.rglob("*.md")} == {name_of(path) for path in seen}


def test_make_help_tells_every_public_target() -> None:
    told = process.run(["make", "help"], timeout=30, cwd=ROOT).stdout
    named = set(re.findall(r"^  make (\w+)", told, re.M))
    assert named == targets() - {"privileged"}


def test_the_two_commands_come_first() -> None:
    first = blocks((ROOT / "README.md").read_text())
    assert [line for line in first if line.startswith("make ")][:2] == ["make up", "make test"]
