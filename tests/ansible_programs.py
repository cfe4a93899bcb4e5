"""Runs Ansible's programs for tests, each in a fork of a process that has imported them.

The import takes three times as long as an inventory. What Ansible reads when it is imported, its
settings, must be the same for all calls. As a program this reads one call a line and answers each
with its exit code; ``Ansible`` is the other side of it.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CLASSES = {"inventory": "InventoryCLI", "doc": "DocCLI", "playbook": "PlaybookCLI"}
SECONDS = 120


class Ansible:
    """The process, until it is closed."""

    def __init__(self, base: Mapping[str, str], settings: Mapping[str, str]) -> None:
        self._settings = settings
        self._server = subprocess.Popen(
            # -P: this directory is no place for Ansible to find modules in.
            [sys.executable, "-P", __file__],
            env={**base, **settings},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        """End it."""
        self._server.communicate(timeout=SECONDS)

    def call(self, argv: Sequence[str], cwd: Path, env: Mapping[str, str]) -> tuple[int, str, str]:
        """Run ``ansible-PROGRAM ARGUMENT…``; return its exit code, standard output and error.

        In ``env`` together with the settings.
        """
        asking, answers = self._server.stdin, self._server.stdout
        assert asking is not None
        assert answers is not None
        with tempfile.TemporaryDirectory() as directory:
            out, err = (str(Path(directory) / name) for name in ("out", "err"))
            asked = {
                "argv": argv,
                "cwd": str(cwd),
                "env": {**env, **self._settings},
                "out": out,
                "err": err,
            }
            asking.write(json.dumps(asked) + "\n")
            asking.flush()
            if not select.select([answers], [], [], SECONDS)[0]:
                self._server.kill()
                raise TimeoutError(f"ansible-{' '.join(argv)} did not end in {SECONDS} s")
            return int(answers.readline()), Path(out).read_text(), Path(err).read_text()


def _serve() -> None:
    programs = {
        name: getattr(importlib.import_module(f"ansible.cli.{name}"), found)
        for name, found in CLASSES.items()
    }
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _be(programs, json.loads(line))
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


def _be(programs: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    code = 250
    try:
        for number, path in ((0, os.devnull), (1, asked["out"]), (2, asked["err"])):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            os.dup2(descriptor, number)
            os.close(descriptor)
        os.chdir(asked["cwd"])
        os.environ.clear()
        os.environ.update(asked["env"])
        program, *rest = asked["argv"]
        sys.argv = [f"ansible-{program}", *rest]
        programs[program].cli_executor()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:  # noqa: BLE001 - whatever it is, the caller sees it
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # What the server does at its end, such as removing Ansible's directory, is not for a child.
        os._exit(code)


if __name__ == "__main__":
    _serve()
