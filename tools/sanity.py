"""Runs every test of ``ansible-test sanity`` that applies to the collection: sanity.py [options].

    sanity.py              all tests; options are those of ``ansible-test sanity``
    sanity.py --core 2.21  those of another Ansible, with an environment of its own
    sanity.py --files      print the files that they see
    sanity.py --pins       print the packages that they need, for requirements/sanity-*.txt

The tests want the collection in a directory ``ansible_collections/ohmykube/cluster`` of its own, so
they see a copy of what ``ansible-galaxy collection build`` would pack; the Python package beside it
is no part of the collection. They run by this interpreter. That the plugins compile on the oldest
Python of a node is what ruff checks (``per-file-target-version`` in pyproject.toml).

Each test runs in a virtual environment with packages that ansible-test pins by version. They come
from requirements/sanity-*.txt, every hash checked, and are kept in the user's cache directory.
"""

from __future__ import annotations

import fnmatch
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import kept
import yaml

# Nothing public tells which pip ansible-test wants.
from ansible_test._internal import host_configs, python_requirements

ROOT = Path(__file__).resolve().parents[1]
PLACE = Path("ansible_collections/ohmykube/cluster")
IGNORED = "tests/sanity/ignore-"
"""Not built into the collection, but read by the tests: what they must not complain about."""
LOCKS = ROOT / "requirements"
CORE = importlib.metadata.version("ansible-core")
LOCK = LOCKS / f"sanity-{CORE.rpartition('.')[0]}.txt"
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
# ansible-test runs a script called get-pip in each environment. Its own has to be downloaded from a
# server without a hash; this one does the same with the pip of the development environment.
GET_PIP = """import subprocess, sys
packages = [word for word in sys.argv[1:] if not word.startswith("-")]
pip = [{python!r}, "-m", "pip", "--python", sys.executable, "install", "--quiet"]
sys.exit(subprocess.call([*pip, *packages]))
"""


def pins() -> dict[str, str]:
    """Return the versions that ansible-test wants: those of its tests, and of pip itself."""
    python = host_configs.NativePythonConfig(version=VERSION, path=sys.executable)
    found = dict(python_requirements.get_venv_packages(python))
    spec = importlib.util.find_spec("ansible_test")
    for directory in spec.submodule_search_locations if spec else ():
        for path in sorted(Path(directory, "_data", "requirements").glob("sanity.*.txt")):
            lines = [line for line in path.read_text().splitlines() if "==" in line]
            found |= dict(line.split("==") for line in lines)
    return found


def files() -> list[str]:
    """Return the files of the collection, committed or about to be, as galaxy.yml chooses them."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
    ).stdout.decode()
    ignored = yaml.safe_load((ROOT / "galaxy.yml").read_text())["build_ignore"]

    def is_built(name: str) -> bool:
        parts = [name, *name.split("/")]
        return not any(fnmatch.fnmatch(part, pattern) for part in parts for pattern in ignored)

    names = [name for name in listed.split("\0") if name and (ROOT / name).is_file()]
    return [name for name in names if is_built(name) or name.startswith(IGNORED)]


def copy_to(directory: Path) -> Path:
    """Copy the collection below a directory; return its root there."""
    for name in files():
        target = directory / PLACE / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target, follow_symlinks=False)
    return directory / PLACE


def environment(home: Path) -> dict[str, str]:
    """Return the environment of ansible-test: a home of its own, and no package from elsewhere."""
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(home),
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(home / "wheels"),
    }


def ansible_test(root: Path, home: Path, *options: str) -> int:
    """Run the sanity tests of the collection below ``root``."""
    argv = ["ansible-test", "sanity", "--python", VERSION, "--color", "no", *options]
    return subprocess.run(argv, cwd=root, env=environment(home), check=False).returncode


def make(home: Path) -> int:
    """Make the virtual environments of all tests."""
    if code := kept.pip("download", "-r", str(LOCK), "-d", str(home / "wheels")):
        return code
    cache = home / ".ansible" / "test" / "cache"
    cache.mkdir(parents=True)
    name = f"get_pip_{pins()['pip'].replace('.', '_')}.py"
    (cache / name).write_text(GET_PIP.format(python=sys.executable))
    with tempfile.TemporaryDirectory(prefix="omk-sanity-") as directory:
        return ansible_test(copy_to(Path(directory)), home, "--prime-venvs")


def of_another(version: str, arguments: list[str]) -> int:
    """Run this by the Python of an environment with another Ansible; ``version`` as in ``2.21``."""
    lock = LOCKS / f"ansible-{version}.txt"
    place = kept.directory(
        f"ansible-{version}", lambda made: kept.environment(made / "venv", lock), lock.read_bytes()
    )
    if place is None:
        return 1
    argv = [str(place / "venv/bin/python"), __file__, *arguments]
    return subprocess.run(argv, check=False).returncode


def main(arguments: list[str]) -> int:
    """Run the tests."""
    if arguments == ["--pins"]:
        print(*[f"{name}=={version}" for name, version in sorted(pins().items())], sep="\n")
        return 0
    if arguments == ["--files"]:
        print(*files(), sep="\n")
        return 0
    if arguments[:1] == ["--core"]:
        return of_another(arguments[1], arguments[2:])
    home = kept.directory("sanity", make, LOCK.read_bytes(), CORE, GET_PIP)
    if home is None:
        return 1
    with tempfile.TemporaryDirectory(prefix="omk-sanity-") as name:
        return ansible_test(copy_to(Path(name)), home, *arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
