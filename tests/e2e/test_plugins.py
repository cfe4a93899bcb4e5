"""Commands of others as their users have them: a package that pip installed, programs on PATH.

The page about them is run as it stands.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.e2e.conftest import BIN, REPOSITORY, Cli

if TYPE_CHECKING:
    from pathlib import Path

PAGE = (REPOSITORY / "docs" / "plugins.md").read_text()
PIP = f"""
pip() {{
  {sys.executable} -m pip --quiet --disable-pip-version-check --no-input "$@" \\
    --no-index --no-build-isolation --no-deps --root-user-action ignore --target "$PYTHONPATH"
}}
set -eu
"""


def code(language: str) -> list[str]:
    """Return the code blocks of the page in one language."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path / "omk", tmp_path / "cache")


@pytest.fixture
def bin_(tmp_path: Path) -> Path:
    place = tmp_path / "home" / ".local" / "bin"
    place.mkdir(parents=True)
    return place


@pytest.fixture
def shell(cli: Cli, bin_: Path, tmp_path: Path):
    """Run lines in a directory of their own, with a home and an empty place for packages."""

    def run(lines: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", f"{PIP}{lines}"],
            env={
                **cli.env,
                "HOME": str(bin_.parents[1]),
                "PATH": f"{bin_}:{BIN}:{os.environ['PATH']}",
                "PYTHONPATH": str(tmp_path / "site"),
            },
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=check,
        )

    return run


def test_the_page_works_as_it_stands(shell, tmp_path: Path) -> None:
    (program,) = code("bash")
    (project,) = code("toml")
    (module,) = code("python")
    of_program, of_package = (block.replace("$ ", "") for block in code("console"))
    (tmp_path / "ohmykube-names").write_text(program)
    assert shell(of_program).stdout == ""
    (tmp_path / "pyproject.toml").write_text(project)
    (tmp_path / "acme_room.py").write_text(module)
    text, _, document = shell(of_package).stdout.partition("\n")
    assert re.fullmatch(r"[0-9.]+ GiB are free", text)
    assert json.loads(document)["freeBytes"] > 0
    overview = shell("ohmykube help").stdout
    assert re.search(r"Plugins:\n  names  /\S+/ohmykube-names\n  room   acme-room 1.0\n", overview)
    refused = shell("ohmykube room --least 1e9", check=False)
    assert refused.returncode == 2
    assert refused.stderr == (
        "error[OMK-U-001]: less than 1e+09 GiB are free\ntry: ohmykube cache prune\n"
    )
    wrong = shell("ohmykube roon", check=False)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert 'did you mean "room"?' in wrong.stderr


def test_a_package_that_breaks_breaks_nothing_else(shell, tmp_path: Path) -> None:
    (project,) = code("toml")
    (tmp_path / "pyproject.toml").write_text(project)
    (tmp_path / "acme_room.py").write_text("import nothing_of_that_name\n")
    shell("pip install .")
    assert "room  acme-room 1.0" in shell("ohmykube --help").stdout
    assert shell("ohmykube list").returncode == 0
    broken = shell("ohmykube room", check=False)
    assert (broken.returncode, broken.stdout) == (7, "")
    assert 'plugin "room" of acme-room 1.0 cannot be loaded' in broken.stderr
    assert "No module named 'nothing_of_that_name'" in broken.stderr
    assert "try: pip install --force-reinstall acme-room" in broken.stderr


def install(place: Path, name: str, script: str) -> None:
    path = place / f"ohmykube-{name}"
    path.write_text(script)
    path.chmod(0o755)


def test_a_program_has_the_terminal_the_arguments_and_the_code(shell, bin_: Path) -> None:
    install(bin_, "hi", '#!/bin/sh\nprintf "%s," "$0" "$@"; cat; exit 41\n')
    done = shell("echo input | ohmykube hi -o json '' 'a b' --help -- -v", check=False)
    assert done.returncode == 41
    assert done.stdout == f"{bin_}/ohmykube-hi,-o,json,,a b,--help,--,-v,input\n"
    assert done.stderr == ""


def test_a_program_that_cannot_be_run_is_told(shell, bin_: Path) -> None:
    install(bin_, "hi", "#!/nonexistent/interpreter\n")
    done = shell("ohmykube hi", check=False)
    assert done.returncode == 7
    assert "ohmykube-hi cannot be run the interpreter" in " ".join(done.stderr.split())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_program_gets_the_signals_themselves(cli: Cli, bin_: Path, number: int) -> None:
    install(
        bin_,
        "wait",
        f"#!{sys.executable}\n"
        "import signal, sys\n"
        f"signal.signal({int(number)}, lambda *_: sys.exit(42))\n"
        "print(signal.getsignal(signal.SIGPIPE) is signal.SIG_IGN, flush=True)\n"
        "signal.pause()\n",
    )
    child = subprocess.Popen(
        cli.argv("wait"),
        env={**cli.env, "PATH": f"{bin_}:{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert child.stdout is not None
    assert child.stdout.readline()
    child.send_signal(number)
    assert child.communicate(timeout=30)[1] == b""
    assert child.returncode == 42


def test_a_program_is_ended_by_a_closed_pipe_as_others_are(shell, bin_: Path) -> None:
    install(bin_, "flood", "#!/bin/sh\nwhile echo line; do :; done\necho still here >&2\n")
    done = shell('ohmykube flood | head -n 1; echo "${PIPESTATUS[0]}"')
    assert done.stdout == "line\n141\n"
    assert done.stderr == ""


def test_a_name_of_ours_is_ours(shell, bin_: Path, tmp_path: Path) -> None:
    install(bin_, "list", f"#!/bin/sh\ntouch {tmp_path}/stolen\n")
    assert "There is no cluster" in shell("ohmykube list").stdout
    assert not (tmp_path / "stolen").exists()
    assert "ohmykube has a command of this name" in shell("ohmykube help").stdout
