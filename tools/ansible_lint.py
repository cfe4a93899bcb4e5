# Copyright: the ohmykube authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs ansible-lint with one start of Ansible: ansible_lint.py [options of ansible-lint].

ansible-lint calls ``ansible-playbook --syntax-check`` for each playbook and role, and most of its
time is the start of Ansible. Here it finds a program of that name which hands its call to this
process: that imports Ansible once, and each call is a fork of it.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

BIN = Path(sys.executable).parent
PROGRAM = "ansible-playbook"
CLIENT = """\
#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    call = [sys.argv[1:], os.getcwd(), dict(os.environ)]
    socket.send_fds(server, [json.dumps(call).encode()], [0, 1, 2])
    sys.exit(int(server.recv(8) or {crashed}))
"""
_CRASHED = 250
"""What Ansible itself ends with at an unexpected exception."""
_MOST = 1 << 20
_LOOK_SECONDS = 0.2


def run(argv: Sequence[str]) -> int:
    """Run a command whose calls of ``ansible-playbook`` are forks; return its exit code."""
    with (
        tempfile.TemporaryDirectory(prefix="omk-lint-") as name,
        socket.socket(socket.AF_UNIX) as listener,
    ):
        address = str(Path(name, "server"))
        client = Path(name, PROGRAM)
        client.write_text(CLIENT.format(python=sys.executable, address=address, crashed=_CRASHED))
        client.chmod(0o700)
        listener.bind(address)
        listener.listen()
        listener.settimeout(_LOOK_SECONDS)
        path = os.pathsep.join([name, str(BIN), os.environ.get("PATH", os.defpath)])
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        with subprocess.Popen(argv, env={**os.environ, "PATH": path}) as child:
            _Server(listener).serve(child)
        return child.returncode


class _Server:
    """Answers calls; its Ansible has the settings of the first one."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._settings: dict[str, str] | None = None
        self._forks: set[int] = set()

    def serve(self, child: subprocess.Popen[bytes]) -> None:
        """Answer until a process has ended."""
        while child.poll() is None:
            self._forks = {pid for pid in self._forks if not os.waitpid(pid, os.WNOHANG)[0]}
            try:
                connection, _ = self._listener.accept()
            except TimeoutError:
                continue
            with connection:
                connection.setblocking(True)  # noqa: FBT003 - its own signature
                message, files, _, _ = socket.recv_fds(connection, _MOST, 3)
                self._fork(connection, json.loads(message), files)
            for one in files:
                os.close(one)

    def _fork(
        self,
        connection: socket.socket,
        call: tuple[list[str], str, dict[str, str]],
        files: list[int],
    ) -> None:
        arguments, directory, env = call
        settings = {name: value for name, value in env.items() if name.startswith("ANSIBLE_")}
        if self._settings is None:
            self._settings = settings
            _import(settings)
        pid = os.fork()
        if pid:
            self._forks.add(pid)
            return
        code: object = _CRASHED
        try:
            for target, source in enumerate(files):
                os.dup2(source, target)
            os.chdir(directory)
            code = _ansible_playbook(arguments, env, imported=settings == self._settings)
        except SystemExit as end:
            code = end.code or 0
        except BaseException:  # noqa: BLE001 - the child must never get into the parent's code
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            connection.sendall(b"%d" % (code if isinstance(code, int) else _CRASHED))
            # No exit handlers: Ansible's temporary directory is the parent's.
            os._exit(0)


def _import(settings: Mapping[str, str]) -> None:
    """Import Ansible, which reads its settings at that time."""
    os.environ.update(settings)
    from ansible.cli import playbook  # noqa: F401, PLC0415


def _ansible_playbook(arguments: Sequence[str], env: Mapping[str, str], *, imported: bool) -> int:
    """Run Ansible as it was imported, or anew if it was imported with other settings."""
    if not imported:
        argv = [str(BIN / PROGRAM), *arguments]
        return subprocess.run(argv, env=env, check=False).returncode
    os.environ.clear()
    os.environ.update(env)
    sys.argv = [str(BIN / PROGRAM), *arguments]  # Ansible says where it lies
    from ansible.cli import playbook  # noqa: PLC0415

    return int(playbook.main(sys.argv) or 0)


if __name__ == "__main__":
    sys.exit(run([str(BIN / "ansible-lint"), *sys.argv[1:]]))
