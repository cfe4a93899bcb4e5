"""What makes a release complete, and what publishes it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import urllib.parse
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import release
from cyclonedx.schema import _res
from referencing import Registry, Resource

ROOT = Path(__file__).resolve().parents[2]
CHANGELOG = """\
# Changes of ohmykube.cluster

**Topics**

- <a href="#v1-3-0">v1\\.3\\.0</a>

<a id="v1-3-0"></a>
## v1\\.3\\.0

<a id="bugfixes"></a>
### Bugfixes

* new

<a id="v1-2-0"></a>
## v1\\.2\\.0

<a id="minor-changes"></a>
### Minor Changes

* old
"""
BUILT = set(release.files("1.3.0"))
SAME = dict.fromkeys(("pyproject.toml", "galaxy.yml", "ohmykube/__init__.py"), "1.3.0")


def schema(name: str) -> dict[str, Any]:
    return json.loads(resources.files(_res).joinpath(f"{name}.SNAPSHOT.schema.json").read_text())


def test_a_tag_must_be_the_version_everywhere() -> None:
    assert release.check("v1.3.0", SAME, BUILT) == "1.3.0"
    assert release.versions().keys() == SAME.keys()
    assert len(set(release.versions().values())) == 1


@pytest.mark.parametrize("tag", ["", "1.3.0", "v1.3", "v1.3.0rc1", "v1.3.0; rm -rf /", "v1.4.0"])
def test_another_tag_is_refused(tag: str) -> None:
    with pytest.raises(release.ReleaseError):
        release.check(tag, SAME, BUILT)


def test_a_file_with_another_version_is_named() -> None:
    with pytest.raises(release.ReleaseError, match=r"galaxy.yml.*1\.2\.9"):
        release.check("v1.3.0", {**SAME, "galaxy.yml": "1.2.9"}, BUILT)


@pytest.mark.parametrize("there", [set(), BUILT - {"ohmykube-1.3.0.tar.gz"}, BUILT | {"old.whl"}])
def test_what_was_built_must_be_there_and_no_more(there: set[str]) -> None:
    with pytest.raises(release.ReleaseError, match="dist/ has"):
        release.check("v1.3.0", SAME, there)


def test_notes_are_the_section_of_the_version() -> None:
    notes = release.notes("1.3.0", CHANGELOG)
    assert notes == '<a id="bugfixes"></a>\n### Bugfixes\n\n* new\n'
    assert release.notes("1.2.0", CHANGELOG).endswith("* old\n")
    with pytest.raises(release.ReleaseError, match=r"no section for 1\.1\.0"):
        release.notes("1.1.0", CHANGELOG)


def test_the_bill_lists_what_is_installed_and_not_what_builds() -> None:
    found = release.locked(release.LOCK.read_text())
    assert {"ansible-core", "click", "pydantic-core", "cryptography"} <= found.keys()
    assert not {"hatchling", "editables", "pathspec", "trove-classifiers"} & found.keys()
    assert len(found["ansible-core"]) == 2, "one for old Pythons, one for new ones"
    assert all(marker for _, marker in found["ansible-core"])


def test_the_bill_is_one_by_the_schema_of_cyclonedx() -> None:
    bill = release.sbom("1.3.0", release.LOCK.read_text(), dict.fromkeys(BUILT, "0" * 64))
    shape = schema("bom-1.6")
    parts = [
        (urllib.parse.urljoin(shape["$id"], f"{name}.SNAPSHOT.schema.json"), schema(name))
        for name in ("spdx", "jsf-0.82")
    ]
    registry = Registry().with_resources(
        [(name, Resource.from_contents(part)) for name, part in parts]
    )
    jsonschema.Draft7Validator(shape, registry=registry).validate(bill)
    named = {part["bom-ref"] for part in bill["components"]}
    assert len(named) == len(bill["components"])
    assert set(bill["dependencies"][0]["dependsOn"]) == named


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout of version 1.3.0 with what was built of it."""
    (tmp_path / "ohmykube").mkdir()
    (tmp_path / "ohmykube/__init__.py").write_text('__version__ = "1.3.0"\n')
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.3.0"\n')
    (tmp_path / "galaxy.yml").write_text("version: 1.3.0\n")
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    (tmp_path / "dist").mkdir()
    for name in BUILT:
        (tmp_path / "dist" / name).write_text(name)
    return tmp_path


def test_sums_are_over_all_that_is_published(checkout: Path) -> None:
    dist = checkout / "dist"
    for _ in range(2):  # a second time changes nothing
        release.complete("v1.3.0", dist, checkout)
        lines = (dist / "SHA256SUMS").read_text().splitlines()
        summed = dict(reversed(line.split("  ")) for line in lines)
        assert summed.keys() == {*BUILT, "ohmykube-1.3.0.cdx.json"}
        for name, digest in summed.items():
            assert hashlib.sha256((dist / name).read_bytes()).hexdigest() == digest
    assert (dist / "NOTES.md").read_text().endswith("* new\n")


FAKE = """#!/bin/sh
echo "$0 $*" >> "$TOLD"
case "$*" in "release view"*) exit "$VIEW" ;; esac
"""


@pytest.fixture
def publish(checkout: Path) -> Path:
    """The program, in a checkout whose release is complete; ``gh`` only notes its arguments."""
    release.complete("v1.3.0", checkout / "dist", checkout)
    (checkout / ".ci").mkdir()
    program = checkout / ".ci/publish"
    program.write_bytes((ROOT / ".ci/publish").read_bytes())
    program.chmod(0o755)
    (checkout / "bin").mkdir()
    (checkout / "bin/gh").write_text(FAKE)
    (checkout / "bin/gh").chmod(0o755)
    return program


def run(program: Path, where: str, **variables: str) -> tuple[int, str]:
    told = program.parents[1] / "told"
    path = f"{program.parents[1] / 'bin'}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "TOLD": str(told), "TAG": "v1.3.0", **variables}
    code = subprocess.run([program, where], env=env, capture_output=True, check=False).returncode
    return code, told.read_text() if told.exists() else ""


def test_a_release_is_made_with_all_files(publish: Path) -> None:
    code, told = run(publish, "github", VIEW="1")
    assert code == 0
    created = told.splitlines()[-1].split("/bin/gh ")[1].split()
    assert created[:3] == ["release", "create", "v1.3.0"]
    assert "--verify-tag" in created
    published = {Path(word).name for word in created if word.startswith("dist/")}
    assert published == {*BUILT, "ohmykube-1.3.0.cdx.json", "SHA256SUMS", "NOTES.md"}


def test_a_release_that_is_there_is_completed(publish: Path) -> None:
    code, told = run(publish, "github", VIEW="0")
    assert code == 0
    assert "release upload v1.3.0 --clobber" in told
    assert "create" not in told


def test_changed_files_are_not_published(publish: Path) -> None:
    (publish.parents[1] / "dist/ohmykube-1.3.0.tar.gz").write_text("another")
    code, told = run(publish, "github", VIEW="1")
    assert code != 0
    assert told == ""


def test_an_unknown_place_is_an_error(publish: Path) -> None:
    assert run(publish, "elsewhere")[0] == 2
