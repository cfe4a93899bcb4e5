"""The development environment: which Python, which installer, and when it is made anew."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pip
import pytest

from ohmykube.kit import process

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]
# A build backend of a few lines: the real one would have to come from a registry.
BACKEND = """
import zipfile

def _wheel(directory, *_):
    name = "ohmykube-1-py3-none-any.whl"
    info = "ohmykube-1.dist-info"
    files = {
        "ohmykube.pth": "",
        f"{info}/METADATA": "Metadata-Version: 2.1\\nName: ohmykube\\nVersion: 1\\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
        f"{info}/entry_points.txt": "[console_scripts]\\nohmykube = ohmykube:main\\n",
        f"{info}/RECORD": "",
    }
    with zipfile.ZipFile(f"{directory}/{name}", "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)
    return name

build_wheel = build_editable = _wheel
"""
# Notes each call and is the real interpreter, except for the version that it is given.
INTERPRETER = """#!/bin/sh
echo "$*" >>"{log}"
case "$*" in *'print("%d.%d"'*) [ -z "{version}" ] || {{ echo "{version}"; exit; }} ;; esac
exec {real} "$@"
"""
SHIM = "#!/bin/sh\necho 'pyenv: command not found' >&2\nexit 127\n"
UV_THAT_FAILS = "#!/bin/sh\n[ \"$1\" = --version ] || { echo 'uv: no answer' >&2; exit 2; }\n"


class Checkout:
    """A checkout with nothing to install, and a user with a home and a PATH of their own."""

    def __init__(self, root: Path) -> None:
        self.root = root / "checkout"
        self.home = root / "home"
        self.programs = root / "bin"
        self.venv = self.root / ".venv"
        for directory in (self.root / "tools", self.root / "requirements", self.programs):
            directory.mkdir(parents=True)
        shutil.copy(ROOT / "tools" / "bootstrap.sh", self.root / "tools")
        shutil.copy(ROOT / "requirements" / "uv.txt", self.root / "requirements")
        for name in ("run", "dev"):
            (self.root / "requirements" / f"{name}.txt").touch()
        package = self.root / "ohmykube"
        package.mkdir()
        (package / "__init__.py").touch()
        (self.root / "backend.py").write_text(BACKEND)
        (self.root / "pyproject.toml").write_text(
            '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
            '[project]\nname = "ohmykube"\nversion = "1"\n'
        )
        self.log_of: dict[str, Path] = {}
        self.add_python(self.programs / "python3")

    def add_python(self, path: Path, version: str = "") -> None:
        log = path.with_name(f"{path.name}.log")
        self.log_of[path.name] = log
        self.add_program(
            path,
            INTERPRETER.format(log=log, version=version, real=os.path.realpath(sys.executable)),
        )

    def add_program(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def add_uv(self, text: str = "") -> None:
        pinned = (self.root / "requirements" / "uv.txt").read_text().split()[0]
        path = self.home / ".cache" / "ohmykube-dev" / pinned.replace("==", "-")
        self.add_program(path, text or f'#!/bin/sh\nexec {sys.prefix}/bin/uv "$@"\n')

    def bootstrap(self, what: str, **extra: str) -> process.Result:
        env = {"HOME": str(self.home), "PATH": f"{self.programs}:/usr/bin:/bin", **extra}
        env |= {"PIP_NO_INDEX": "1", "UV_OFFLINE": "1"}
        argv = ["env", "-i", *(f"{name}={value}" for name, value in env.items())]
        script = str(self.root / "tools" / "bootstrap.sh")
        return process.run([*argv, "bash", script, what], timeout=300, check=False)

    def chose(self, name: str) -> bool:
        """Say whether this interpreter was not only tried but taken."""
        log = self.log_of[name]
        return log.exists() and "--version" in log.read_text().splitlines()


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    made = Checkout(tmp_path)
    made.add_uv()
    return made


def working(checkout: Checkout) -> bool:
    argv = [str(checkout.venv / "bin" / "python"), "-c", "import ohmykube, sys; print(sys.prefix)"]
    done = process.run(argv, timeout=60, check=False, cwd=checkout.root)
    return done.stdout.strip() == str(checkout.venv)


def test_a_second_call_ends_at_once(checkout: Checkout) -> None:
    first = checkout.bootstrap("dev")
    assert first.code == 0, first.stderr
    assert "with uv, every hash checked" in first.stdout
    assert working(checkout)
    assert (checkout.venv / "bin" / "ohmykube").exists()
    for what in ("dev", "run"):
        again = checkout.bootstrap(what)
        assert (again.code, again.stdout, again.stderr) == (0, "", "")


def test_development_prefers_a_newer_python_even_if_it_is_not_on_the_path(
    checkout: Checkout,
) -> None:
    for name in ("python3.13", "python3.12"):
        checkout.add_program(checkout.programs / name, SHIM)
    checkout.add_python(checkout.home / ".pyenv" / "versions" / "3.12.77" / "bin" / "python")
    assert checkout.bootstrap("dev").code == 0
    assert checkout.chose("python")
    assert not checkout.chose("python3")


def test_use_takes_the_python_that_is_there(checkout: Checkout) -> None:
    checkout.add_python(checkout.programs / "python3.13")
    assert checkout.bootstrap("run").code == 0
    assert checkout.chose("python3")
    assert not checkout.chose("python3.13")


def test_python_can_be_named(checkout: Checkout) -> None:
    checkout.add_python(checkout.programs / "python3.13")
    checkout.add_python(checkout.programs / "mine")
    assert checkout.bootstrap("dev", PYTHON="mine").code == 0
    assert checkout.chose("mine")
    missing = checkout.bootstrap("dev", PYTHON="python3.99")
    assert missing.code == 1
    assert "PYTHON=python3.99 is not a working Python" in missing.stderr


def change_requirements(checkout: Checkout) -> None:
    for name in ("run", "dev"):
        path = checkout.root / "requirements" / f"{name}.txt"
        path.write_text(path.read_text() + "# changed\n")


@pytest.mark.parametrize(("what", "is_remade"), [("dev", True), ("run", False)])
def test_another_python_is_taken_only_when_something_must_be_installed(
    checkout: Checkout, what: str, *, is_remade: bool
) -> None:
    assert checkout.bootstrap("dev").code == 0
    mark = checkout.venv / "mark"
    mark.touch()
    checkout.add_python(checkout.programs / "python3.13", version="3.13-of-another-kind")
    assert checkout.bootstrap(what).stdout == ""
    assert mark.exists()
    change_requirements(checkout)
    assert checkout.bootstrap(what).code == 0
    assert mark.exists() is not is_remade
    assert working(checkout)


def test_a_moved_checkout_gets_an_environment_of_its_own(
    checkout: Checkout, tmp_path: Path
) -> None:
    assert checkout.bootstrap("run").code == 0
    checkout.root.rename(tmp_path / "moved")
    checkout.root = tmp_path / "moved"
    checkout.venv = checkout.root / ".venv"
    assert "creating it" in checkout.bootstrap("run").stdout
    assert working(checkout)


def test_pip_installs_where_uv_does_not_work(checkout: Checkout) -> None:
    checkout.add_uv(UV_THAT_FAILS)
    done = checkout.bootstrap("run")
    assert done.code == 0, done.stderr
    assert "uv: no answer" in done.stderr
    assert "uv does not work here, so pip installs the packages" in done.stdout
    assert "with pip, every hash checked" in done.stdout
    assert working(checkout)
    assert (checkout.venv / "bin" / "ohmykube").exists()


def wheel(directory: Path) -> Path:
    scope: dict[str, Callable[[str], str]] = {}
    exec(BACKEND, scope)
    return directory / scope["build_wheel"](str(directory))


def give_pip(venv: Path) -> None:
    (packages,) = (venv / "lib").glob("python*/site-packages")
    shutil.copytree(Path(pip.__file__).parent, packages / "pip")


def test_a_wrong_hash_stops_both_installers(checkout: Checkout, tmp_path: Path) -> None:
    assert checkout.bootstrap("run").code == 0
    give_pip(checkout.venv)  # quicker than by ensurepip
    pinned = f"ohmykube @ {wheel(tmp_path).as_uri()} --hash=sha256:{'0' * 64}\n"
    (checkout.root / "requirements" / "run.txt").write_text(pinned)
    done = checkout.bootstrap("run")
    assert done.code == 1
    assert "hash mismatch" in done.stderr.lower()
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in done.stderr
    assert not (checkout.venv / ".stamp-run").exists()
