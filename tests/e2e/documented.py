"""Commands of the documentation, run as they stand."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.e2e.conftest import Cli

REPOSITORY = Path(__file__).resolve().parents[2]
_BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)
# A test runs in a checkout that has its environment already.
_NOT_RUN = ("git clone ",)
_SAME = {"make up": "ohmykube up"}


def blocks(page: str) -> list[list[str]]:
    """Return the commands of each console block of a page, without comments."""
    text = (REPOSITORY / page).read_text()
    return [
        [line[2:].split("  #")[0].strip() for line in block.splitlines() if line.startswith("$ ")]
        for block in _BLOCK.findall(text)
    ]


def run(cli: Cli, commands: list[str], place: Path, kubectl: str = "") -> str:
    """Run commands in one shell, stopping at the first that fails; return their output."""
    script = ["set -eux"]
    if kubectl:
        script.append(f'kubectl() {{ {kubectl} "$@"; }}')
    for command in commands:
        if not command.startswith(_NOT_RUN):
            plain = command.replace(".venv/bin/ohmykube", "ohmykube")
            script.append(_SAME.get(plain, plain))
    child = subprocess.Popen(
        ["bash", "-c", "\n".join(script)],
        env=cli.env,
        cwd=place,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        said, told = child.communicate(timeout=2700)
    except BaseException:
        # With the shell alone its command would go on, and keep the cluster from its removal.
        os.killpg(child.pid, signal.SIGKILL)
        child.communicate()
        raise
    if child.returncode != 0:
        pytest.fail(f"{commands}\n{said[-2000:]}\n{told[-4000:]}", pytrace=False)
    return said
