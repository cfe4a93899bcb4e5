"""GitHub's workflows: what they use is pinned, what they may do is little, what they run exists."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ohmykube.addons import registry
from ohmykube.cache import releases
from ohmykube.kit import process
from ohmykube.model import versions

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = Path(sys.executable).parent
PLACE = ROOT / ".github"
WORKFLOWS = sorted((PLACE / "workflows").glob("*.yml"))
RENOVATE = PLACE / "renovate.json"
FORMS = sorted((PLACE / "ISSUE_TEMPLATE").glob("*.yml"))
LOADED: dict[Path, dict[str, Any]] = {path: yaml.safe_load(path.read_text()) for path in WORKFLOWS}
JOBS = [
    pytest.param(job, id=f"{path.stem}-{name}")
    for path in WORKFLOWS
    for name, job in LOADED[path]["jobs"].items()
]
READ_ONLY = {"contents": "read"}
MAY_WRITE = {
    ("security.yml", "codeql"): {**READ_ONLY, "security-events": "write"},
    ("release.yml", "build"): {**READ_ONLY, "id-token": "write", "attestations": "write"},
    ("release.yml", "github"): {"contents": "write"},
    ("release.yml", "pypi"): {**READ_ONLY, "id-token": "write"},
}
"""Workflow and job to what that job may do beyond reading the repository."""
MAINTAINED = {
    "actions/attest-build-provenance",
    "actions/cache",
    "actions/checkout",
    "actions/download-artifact",
    "actions/setup-python",
    "actions/upload-artifact",
    "github/codeql-action",
}
"""Whose actions run here: GitHub's own."""


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_there_are_workflows() -> None:
    names = {"ci.yml", "nightly.yml", "release.yml", "security.yml"}
    assert {path.name for path in WORKFLOWS} == names
    assert set(PLACE.rglob("*.yml")) == {*WORKFLOWS, *FORMS}


@pytest.mark.parametrize(
    ("schema", "paths"),
    [
        ("github-workflows", WORKFLOWS),
        ("renovate", [RENOVATE]),
        ("github-issue-forms", [path for path in FORMS if path.stem != "config"]),
        ("github-issue-config", [path for path in FORMS if path.stem == "config"]),
    ],
    ids=["workflows", "renovate", "issue forms", "issue config"],
)
def test_github_can_read_them(schema: str, paths: list[Path]) -> None:
    argv = [str(PROGRAMS / "check-jsonschema"), "--builtin-schema", f"vendor.{schema}"]
    done = process.run([*argv, *map(str, paths)], timeout=60, check=False)
    assert done.code == 0, done.stdout


def test_no_audit_of_workflows_finds_anything() -> None:
    argv = [str(PROGRAMS / "zizmor"), "--offline", "--quiet", "--persona=pedantic", str(PLACE)]
    done = process.run(argv, timeout=60, check=False)
    assert done.code == 0, done.stdout


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned(path: Path) -> None:
    used = re.findall(r"uses:\s*(\S+)(.*)", path.read_text())
    assert used
    for action, comment in used:
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action)
        assert re.fullmatch(r" # v\d+\.\d+\.\d+", comment), "say which version that is"
        assert "/".join(action.partition("@")[0].split("/")[:2]) in MAINTAINED


def test_one_version_of_an_action_everywhere() -> None:
    versions: dict[str, set[str]] = {}
    for path in WORKFLOWS:
        for owner, commit in re.findall(r"uses:\s*([\w-]+/[\w-]+)[^@\s]*@(\S+)", path.read_text()):
            versions.setdefault(owner, set()).add(commit)
    assert set(versions) == MAINTAINED
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_permissions_are_the_least(path: Path) -> None:
    workflow = LOADED[path]
    assert workflow["permissions"] == READ_ONLY
    for name, job in workflow["jobs"].items():
        assert job.get("permissions", READ_ONLY) == MAY_WRITE.get((path.name, name), READ_ONLY)
    group = workflow["concurrency"]
    assert group["group"].startswith(path.stem)
    # A release that is half published is finished by another run.
    assert group["cancel-in-progress"] is (path.name != "release.yml")


@pytest.mark.parametrize("job", JOBS)
def test_every_job_has_a_name_and_a_bound(job: dict[str, Any]) -> None:
    assert job["name"]
    assert 1 <= job["timeout-minutes"] <= 330
    assert "latest" not in job["runs-on"]


def matrix(job: dict[str, Any]) -> set[tuple[str, str]]:
    """Return operating systems with Python versions."""
    every = job["strategy"]["matrix"]
    product = {(system, version) for system in every["os"] for version in every["python"]}
    return product | {(one["os"], one["python"]) for one in every["include"]}


def test_every_supported_python_is_tried() -> None:
    found = matrix(LOADED[PLACE / "workflows" / "ci.yml"]["jobs"]["quick"])
    linux = {version for system, version in found if system.startswith("ubuntu")}
    assert linux == {"3.11", "3.12", "3.13", "3.14"}
    assert [system for system, _ in found if system.startswith("macos")]
    lowest = re.search(r'requires-python = ">=([\d.]+)"', (ROOT / "pyproject.toml").read_text())
    assert lowest is not None
    assert lowest[1] in linux


def targets() -> set[str]:
    lines = re.findall(r"^([a-z0-9][a-z0-9 ]*):(?!=)", (ROOT / "Makefile").read_text(), re.M)
    return {name for line in lines for name in line.split()}


@pytest.mark.parametrize("job", JOBS)
def test_commands_of_jobs_exist(job: dict[str, Any]) -> None:
    for step in job["steps"]:
        for line in step.get("run", "").splitlines():
            words = shlex.split(line)
            made = [words[at + 1] for at, word in enumerate(words[:-1]) if word == "make"]
            ours = [word for word in words if word.startswith((".ci/", "tools/"))]
            assert made or ours, f"neither a target of the Makefile nor a program of ours: {line}"
            assert set(made) <= targets()
            assert all((ROOT / word).stat().st_mode & 0o111 for word in ours)


@pytest.mark.parametrize(("name", "job"), [("ci", "gate"), ("nightly", "nightly")])
def test_the_gate_runs_with_the_caches_of_root(name: str, job: str) -> None:
    steps = LOADED[PLACE / "workflows" / f"{name}.yml"]["jobs"][job]["steps"]
    order = [step.get("run", step.get("uses", "")) for step in steps]
    kinds = [re.sub(r'@.*|^sudo .*PATH" | ".*', "", one) for one in order]
    gate = ".ci/run nightly" if name == "nightly" else ".ci/run"
    wanted = ["actions/cache", ".ci/caches give", gate, ".ci/caches take"]
    assert kinds == ["actions/checkout", *wanted]
    cache = steps[1]["with"]
    assert "hashFiles(" in cache["key"], "kept by content"
    assert cache["path"].endswith("/caches")


def test_what_is_published_needs_the_environment_release() -> None:
    workflow = LOADED[PLACE / "workflows" / "release.yml"]
    assert workflow["on"] == {"push": {"tags": ["v*"]}}
    jobs = workflow["jobs"]
    assert {name: job["needs"] for name, job in jobs.items() if "needs" in job} == {
        "github": "build",
        "pypi": "github",
        "galaxy": "github",
    }
    for name, job in jobs.items():
        runs = [step["run"] for step in job["steps"] if "run" in step]
        if name == "build":
            assert runs == ['make release "TAG=$TAG"']
        else:
            assert job["environment"] == "release"
            assert runs == [f".ci/publish {name}"]
        used = [step.get("uses", "").partition("@")[0] for step in job["steps"]]
        assert "actions/cache" not in used, "what others may have put there is not released"


def test_secrets_are_given_to_publishing_jobs_alone() -> None:
    told = {path.name: re.findall(r"secrets\.(\w+)", path.read_text()) for path in WORKFLOWS}
    assert {name: found for name, found in told.items() if found} == {
        "release.yml": ["GALAXY_TOKEN"]
    }


def test_everything_published_is_attested() -> None:
    steps = LOADED[PLACE / "workflows" / "release.yml"]["jobs"]["build"]["steps"]
    attested = [step["with"] for step in steps if "attest" in step.get("uses", "")]
    assert attested == [{"subject-checksums": "dist/SHA256SUMS"}]


def renovate() -> dict[str, Any]:
    return json.loads(RENOVATE.read_text())


def fits(pattern: str, name: str) -> bool:
    """Tell whether a file's name matches a pattern of Renovate, which is a regular expression."""
    return re.search(pattern.removeprefix("/").removesuffix("/"), name) is not None


def test_renovate_looks_after_every_lock_and_the_actions() -> None:
    config = renovate()
    assert "github-actions" in config["enabledManagers"]
    (pattern,) = config["pip_requirements"]["managerFilePatterns"]
    locks = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("requirements/*"))
    assert [name for name in locks if fits(pattern, name)] == [
        name for name in locks if name.endswith(".txt")
    ]


def test_renovate_finds_the_versions_of_the_catalog() -> None:
    found = {}
    for manager in renovate()["customManagers"]:
        (pattern,) = manager["managerFilePatterns"]
        files = [p for p in (ROOT / "ohmykube").rglob("*.yaml") if fits(pattern, name_of(p))]
        (text,) = (path.read_text() for path in files)
        (expression,) = manager["matchStrings"]
        hits = re.findall(expression.replace("(?<", "(?P<"), text)
        found[manager["depNameTemplate"]] = hits
    release = releases.release(versions.DEFAULT)
    here = {component.name: component.version for component in release.components}
    assert found == {
        "containerd/containerd": [here["containerd"]],
        "opencontainers/runc": [here["runc"]],
        "containernetworking/plugins": [here["cni-plugins"]],
        "flannel-io/flannel": [registry.load("flannel").facts.versions[0]],
        "kubernetes/kubernetes": [versions.DEFAULT],
    }
