"""The CLI as a user without rights runs it, also where the tests run as root."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.e2e.conftest import BIN, REPOSITORY, Cli

if TYPE_CHECKING:
    from tests.lima_binary import RealLimactl

# The checkout, and the Python that runs it, may lie where only root may look. Reading is all that
# this gives: the user writes, starts and ends nothing that is not its own.
_READ_ALL = "+dac_read_search"


@dataclass(frozen=True)
class OrdinaryCli(Cli):
    """Runs `ohmykube` as the user of a real limactl, everything below that one's scratch place."""

    real: RealLimactl

    @property
    def env(self) -> dict[str, str]:
        inherited = super().env
        kept = {key: inherited[key] for key in inherited if not key.startswith("XDG_")}
        return {
            **kept,
            "PATH": f"{self.real.binary.parent}:{kept['PATH']}",
            "HOME": str(self.real.scratch),
            "TMPDIR": str(self.real.scratch),
            "OHMYKUBE_LIMA_HOME": str(self.real.scratch / "h"),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def argv(self, *arguments: str) -> list[str]:
        return self._as_user(super().argv(*arguments))

    def ansible(self, program: str, *arguments: str, timeout: float = 300) -> str:
        """Run a program of Ansible with the collection, and return what it printed."""
        collections = str(REPOSITORY / "collections")
        done = subprocess.run(
            self._as_user([str(BIN / program), *arguments]),
            env={**self.env, "ANSIBLE_COLLECTIONS_PATH": collections, "ANSIBLE_NOCOLOR": "true"},
            cwd=self.real.scratch,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if done.returncode != 0:
            pytest.fail(f"{program}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}", pytrace=False)
        return done.stdout

    def _as_user(self, argv: list[str]) -> list[str]:
        if os.getuid() == self.real.uid:
            return argv
        who = [f"--reuid={self.real.uid}", f"--regid={self.real.gid}", "--clear-groups"]
        rights = [f"--inh-caps={_READ_ALL}", f"--ambient-caps={_READ_ALL}"]
        return ["setpriv", *who, *rights, "--", *argv]
