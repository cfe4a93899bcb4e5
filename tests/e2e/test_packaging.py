"""The wheel, the sdist and the collection, built and used without a network."""

from __future__ import annotations

import json
import os
import shutil
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from ohmykube import __version__
from ohmykube.kit import process

ROOT = Path(__file__).resolve().parents[2]
COLLECTION = "ohmykube/_collections/ansible_collections/ohmykube/cluster"
PLAYBOOK = "ohmykube.cluster.cluster_up"
INVENTORY = """
all:
  children:
    kube_control_plane: {hosts: {c1: {ansible_connection: local}}}
    kube_node: {hosts: {w1: {ansible_connection: local}}}
    k8s_cluster: {children: {kube_control_plane: {}, kube_node: {}}}
"""


def environment(**extra: str) -> dict[str, str]:
    """Return an environment in which only what the test names is found."""
    env = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ANSIBLE_", "COVERAGE_", "COV_", "PYTHON", "VIRTUAL_ENV"))
    }
    programs = str(Path(sys.executable).parent)
    env["PATH"] = os.pathsep.join([programs, env.get("PATH", os.defpath)])
    env["LC_ALL"] = "C.UTF-8"
    return {**env, **extra}


def files_below(top: Path) -> set[str]:
    """Return the relative paths of the files that belong to the source, as git sees it."""
    listed = process.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", str(top)],
        timeout=60,
        cwd=ROOT,
    ).stdout.split("\0")
    return {name for name in listed if name and (ROOT / name).is_file()}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a clean copy of the checkout: what a clone has, with what is not yet committed."""
    copy = tmp_path_factory.mktemp("source") / "ohmykube"
    for name in files_below(ROOT):
        target = copy / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target, follow_symlinks=False)
    link = copy / "collections" / "ansible_collections" / "ohmykube" / "cluster"
    if not link.is_symlink():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to("../../..")
    return copy


@pytest.fixture(scope="module")
def dist(source: Path) -> Path:
    """Build wheel and sdist; the wheel from the sdist, as an index would serve them."""
    build = [sys.executable, "-m", "hatchling", "build"]
    process.run([*build, "-t", "sdist"], timeout=120, cwd=source, env=environment())
    sdist = source / "dist" / f"ohmykube-{__version__}.tar.gz"
    unpacked = source.parent / "unpacked"
    with tarfile.open(sdist) as archive:
        archive.extractall(unpacked, filter="data")
    process.run(
        [*build, "-t", "wheel", "-d", str(source / "dist")],
        timeout=120,
        cwd=unpacked / f"ohmykube-{__version__}",
        env=environment(),
    )
    return source / "dist"


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    return dist / f"ohmykube-{__version__}-py3-none-any.whl"


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel into a fresh environment; return that environment's directory.

    Its dependencies come from the environment of the tests through a .pth file, so no network is
    needed; the checkout itself is kept out by that file's place behind the wheel.
    """
    venv = tmp_path_factory.mktemp("installed") / "venv"
    # The pip of the tests installs into it: to install a pip first takes most of the time.
    argv = [sys.executable, "-m", "venv", "--without-pip", str(venv)]
    process.run(argv, timeout=300, env=environment())
    pip = [sys.executable, "-m", "pip", "--python", str(venv / "bin" / "python")]
    process.run(
        [*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)],
        timeout=300,
        env=environment(),
    )
    packages = next((venv / "lib").glob("python*/site-packages"))
    # A plain path line: .pth files in there, such as the editable install's, are not followed.
    (packages / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return venv


def syntax_check(directory: Path, *, python: Path, **extra: str) -> str:
    """Check the playbook by name in ``directory``; return what Ansible says."""
    inventory = directory.parent / "inventory.yml"  # beside it: the directory may be packed later
    inventory.write_text(INVENTORY)
    argv = [str(python), "-m", "ansible", "playbook", "--syntax-check"]
    return process.run(
        [*argv, "-i", str(inventory), PLAYBOOK],
        timeout=120,
        cwd=directory,
        env=environment(**extra),
    ).stdout


def test_the_wheel_carries_the_collection_and_the_templates(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for folder in ("roles", "playbooks", "plugins", "meta"):
        expected = {f"{COLLECTION}/{name}" for name in files_below(ROOT / folder)}
        assert expected, f"{folder} is empty"
        assert expected <= names
    assert f"{COLLECTION}/galaxy.yml" in names
    templates = {f"ohmykube/{name}" for name in files_below(ROOT / "inventory_templates")}
    assert templates
    assert templates <= names
    assert files_below(ROOT / "ohmykube") <= names
    assert "ohmykube/py.typed" in names


def test_the_wheel_carries_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    info = f"ohmykube-{__version__}.dist-info/"
    assert [name for name in names if not name.startswith(("ohmykube/", info))] == []
    assert [name for name in names if "__pycache__" in name or "/tests/" in name] == []


def test_the_sdist_can_be_tested(dist: Path) -> None:
    with tarfile.open(dist / f"ohmykube-{__version__}.tar.gz") as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"pyproject.toml", "README.md", "LICENSE", "Makefile", "tests/conftest.py"}
    assert wanted | {"galaxy.yml", "ohmykube/__init__.py"} <= names


def test_the_wheel_works_in_an_environment_of_its_own(installed: Path, tmp_path: Path) -> None:
    python = str(installed / "bin" / "python")
    place = process.run(
        [python, "-c", "import ohmykube; print(ohmykube.__file__)"],
        timeout=60,
        cwd=tmp_path,
        env=environment(),
    ).stdout
    assert place.startswith(str(installed)), "the checkout got in the way"
    cli = str(installed / "bin" / "ohmykube")
    told = process.run([cli, "version"], timeout=60, cwd=tmp_path, env=environment()).stdout
    assert __version__ in told
    help_ = process.run([cli, "--help"], timeout=60, cwd=tmp_path, env=environment()).stdout
    assert "up" in help_.split()


def test_the_playbook_by_name_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    python = installed / "bin" / "python"
    code = "from ohmykube.kit import paths; print(paths.collections_root())"
    root = process.run([str(python), "-c", code], timeout=60, cwd=tmp_path, env=environment())
    collections = root.stdout.strip()
    assert collections.startswith(str(installed))
    told = syntax_check(tmp_path, python=python, ANSIBLE_COLLECTIONS_PATH=collections)
    assert "playbook:" in told


def test_the_playbook_by_name_from_a_clone(source: Path) -> None:
    told = syntax_check(source, python=Path(sys.executable), ANSIBLE_COLLECTIONS_PATH="collections")
    assert "playbook:" in told


def test_the_playbook_by_name_from_galaxy(source: Path, tmp_path: Path) -> None:
    galaxy = [sys.executable, "-m", "ansible", "galaxy", "collection"]
    env = environment(ANSIBLE_GALAXY_DISABLE_GPG_VERIFY="true", ANSIBLE_HOME=str(tmp_path / "h"))
    process.run(
        [*galaxy, "build", "--output-path", str(tmp_path), str(source)], timeout=120, env=env
    )
    archive = tmp_path / f"ohmykube-cluster-{__version__}.tar.gz"
    with tarfile.open(archive) as built:
        names = built.getnames()
        packed = {member.name for member in built if not member.isdir()}
        tops = {name.split("/")[0] for name in names}
        manifest = json.load(built.extractfile("MANIFEST.json"))  # type: ignore[arg-type]
    assert manifest["collection_info"]["version"] == __version__
    assert {"meta", "playbooks", "plugins", "roles"} <= tops
    assert tops & {"ohmykube", "tests", "molecule", "collections", ".venv", "tools"} == set()
    # Those that Ansible's sanity tests look at are the same.
    tried = process.run([sys.executable, str(ROOT / "tools" / "sanity.py"), "--files"], timeout=60)
    ours = {name for name in tried.stdout.splitlines() if not name.startswith("tests/sanity/")}
    assert ours - {"galaxy.yml"} == packed - {"MANIFEST.json", "FILES.json"}
    collections = tmp_path / "collections"
    process.run(
        [*galaxy, "install", "--offline", "-p", str(collections), str(archive)],
        timeout=120,
        env={**env, "ANSIBLE_COLLECTIONS_PATH": str(collections)},
    )
    told = syntax_check(
        tmp_path, python=Path(sys.executable), ANSIBLE_COLLECTIONS_PATH=str(collections)
    )
    assert "playbook:" in told


def test_one_role_alone_in_a_foreign_playbook(source: Path, tmp_path: Path) -> None:
    (tmp_path / "site.yml").write_text(
        "- name: Foreign\n  hosts: build_machines\n  gather_facts: false\n  roles:\n"
        "    - role: ohmykube.cluster.containerd\n"
    )
    (tmp_path / "inventory.yml").write_text(
        "build_machines: {hosts: {m1: {ansible_connection: local}}}\n"
    )
    argv = [sys.executable, "-m", "ansible", "playbook", "--syntax-check"]
    told = process.run(
        [*argv, "-i", "inventory.yml", "site.yml"],
        timeout=120,
        cwd=tmp_path,
        env=environment(ANSIBLE_COLLECTIONS_PATH=str(source / "collections")),
    ).stdout
    assert "playbook: site.yml" in told
