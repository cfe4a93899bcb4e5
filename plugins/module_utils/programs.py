# Copyright: the ohmykube authors
# SPDX-License-Identifier: Apache-2.0
"""Run other programs on a node: bounded in time, output kept, failures with their last lines."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess

from ansible_collections.ohmykube.cluster.plugins.module_utils import node_state

SEARCH_PATH = node_state.SEARCH_PATH
KEPT = ("HOME", "LOGNAME", "SHELL", "TMPDIR", "TZ", "USER")


class ProgramError(Exception):
    """A program failed, is missing or took too long. ``output`` holds the last lines it wrote."""

    def __init__(self, message, output="", code=None):
        super().__init__(message)
        self.output = output
        self.code = code


class Completed:
    """What a program did: exit code, standard output, standard error."""

    def __init__(self, code, stdout, stderr):
        self.code = code
        self.stdout = stdout
        self.stderr = stderr


def environment(**extra):
    """Return the environment of a program on a node: of the login's only its PATH and whose it is.

    A login has proxies, sockets of other runtimes and much else that is meant for people: kubeadm even writes
    the proxies of its caller into the cluster.
    """
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    present = [part for part in os.environ.get("PATH", "").split(":") if part]
    wanted = [part for part in SEARCH_PATH.split(":") if part not in present]
    return dict(kept, LC_ALL="C.UTF-8", PATH=":".join(present + wanted), **extra)


def find(name):
    """Return the full path of program ``name``, or None."""
    return shutil.which(name, path=environment()["PATH"])


def last_lines(text, count=20):
    """Return the last ``count`` lines of ``text`` that are not blank."""
    return "\n".join([line.rstrip() for line in text.splitlines() if line.strip()][-count:])


def run(argv, timeout=60, stdin=None, ok_codes=(0,), **extra_environment):
    """Run ``argv`` and return Completed; every exit code outside ``ok_codes`` raises ProgramError.

    When ``timeout`` (seconds) passes, the whole process group is ended.
    """
    process = _start(
        argv,
        stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(**extra_environment),
        universal_newlines=True,
    )
    try:
        stdout, stderr = process.communicate(stdin, timeout=timeout)
    except subprocess.TimeoutExpired as error:
        _kill(process)
        stdout, stderr = process.communicate()
        raise ProgramError(_too_long(argv, timeout), last_lines(stdout + stderr)) from error
    if process.returncode not in ok_codes:
        raise ProgramError(_failed(argv, process), last_lines(stdout + stderr), process.returncode)
    return Completed(process.returncode, stdout, stderr)


def _kill(process):
    with contextlib.suppress(ProcessLookupError):  # it ends in this very moment
        os.killpg(process.pid, signal.SIGKILL)


def run_logged(argv, log, timeout, pass_fds=()):
    """Run ``argv`` with all output going to descriptor ``log``; raises ProgramError as ``run`` does."""
    process = _start(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        env=environment(),
        pass_fds=pass_fds,
    )
    try:
        process.wait(timeout=timeout)
    except subprocess.TimeoutExpired as error:
        _kill(process)
        process.wait()
        raise ProgramError(_too_long(argv, timeout)) from error
    if process.returncode != 0:
        raise ProgramError(_failed(argv, process), code=process.returncode)


def _start(argv, **options):
    program = find(argv[0])
    if program is None:
        raise ProgramError("%s is not installed on this node" % argv[0])
    return subprocess.Popen([program, *list(argv[1:])], start_new_session=True, **options)


def _too_long(argv, timeout):
    return "%s did not finish within %d s" % (_shown(argv), timeout)


def _failed(argv, process):
    return "%s failed with code %d" % (_shown(argv), process.returncode)


def _shown(argv):
    """Return the beginning of a command line: program and subcommands, never option values."""
    words = [os.path.basename(argv[0])]
    for word in argv[1:4]:
        if word.startswith("-"):
            break
        words.append(word)
    return " ".join(words)
