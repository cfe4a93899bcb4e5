"""The changelog is made of fragments: what is checked, and what a release takes over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import changelog
import pytest
import sanity

if TYPE_CHECKING:
    from pathlib import Path

# Stands for antsibull-changelog: a release moves the fragments into what generate prints.
FAKE = r"""#!/bin/sh
set -e
echo "$*" >> told
case $1 in
generate) cat changelogs/changelog.yaml > CHANGELOG.md ;;
release)
    ! grep -q broken changelogs/fragments/* || exit 3
    version=1.0.0
    [ "$2" != --version ] || version=$(echo "$3" | sed 's/\./\\./g')
    { echo "v$version"; cat changelogs/fragments/*; } >> changelogs/changelog.yaml
    rm changelogs/fragments/*
    cat changelogs/changelog.yaml > CHANGELOG.md ;;
esac
"""
REFUSED = "a fragment is not valid, or they cannot be released"


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "antsibull-changelog"
    path.write_text(FAKE)
    path.chmod(0o755)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A collection that has one fragment and was never released."""
    root = tmp_path / "cluster"
    (root / "changelogs" / "fragments").mkdir(parents=True)
    (root / "changelogs" / "fragments" / "a.yml").write_text("bugfixes: [a]\n")
    (root / "CHANGELOG.md").write_text(changelog.UNRELEASED)
    return root


def test_before_the_first_release_the_page_says_so(program: Path, root: Path) -> None:
    assert changelog.check(program, root) == []
    assert (sanity.ROOT / "CHANGELOG.md").exists()


def test_a_page_that_was_written_by_hand_is_found(program: Path, root: Path) -> None:
    (root / "CHANGELOG.md").write_text("# Changes\n\n* by hand\n")
    (problem,) = changelog.check(program, root)
    assert "make changelog" in problem


def test_a_page_that_differs_from_its_releases_is_found(program: Path, root: Path) -> None:
    (root / changelog.RELEASED).write_text("v0.1.0\n")
    (root / "CHANGELOG.md").write_text("v0.1.0\n")
    assert changelog.check(program, root) == []
    (root / changelog.RELEASED).write_text("v0.1.0\n")
    (root / "changelogs" / "fragments" / "a.yml").write_text("bugfixes: [a]\n")
    (root / "CHANGELOG.md").write_text("v0.1.0, edited\n")
    assert len(changelog.check(program, root)) == 1


def test_a_broken_fragment_is_found(program: Path, root: Path) -> None:
    (root / "changelogs" / "fragments" / "b.yml").write_text("broken\n")
    assert changelog.check(program, root) == [REFUSED]


def test_a_tool_that_fails_is_no_success(program: Path, root: Path) -> None:
    program.write_text("#!/bin/sh\n[ $1 = generate ]\n")
    assert changelog.check(program, root) == [REFUSED]
    program.write_text("#!/bin/sh\ntrue\n")
    assert changelog.check(program, root) == ["a release does not come to CHANGELOG.md"]


def test_a_release_takes_over_page_list_and_the_end_of_fragments(
    program: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout = tmp_path / "checkout"
    (checkout / "changelogs" / "fragments").mkdir(parents=True)
    (checkout / "changelogs" / "fragments" / "a.yml").write_text("bugfixes: [a]\n")
    (checkout / "changelogs" / "fragments" / ".keep").touch()
    monkeypatch.setattr(sanity, "ROOT", checkout)
    assert changelog.release(program, root) == 0
    assert (checkout / "CHANGELOG.md").read_text() == "v1.0.0\nbugfixes: [a]\n"
    assert (checkout / changelog.RELEASED).exists()
    assert [path.name for path in (checkout / "changelogs/fragments").iterdir()] == [".keep"]
