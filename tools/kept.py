"""Directories that are made once and then used by all checkouts, in the user's cache directory."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def directory(name: str, make: Callable[[Path], int], *about: object) -> Path | None:
    """Return the directory for what ``about`` says, made by ``make`` if there is none yet.

    Two that want it at once wait for each other, one that was not finished is made anew, and None
    means that ``make`` failed: it returned another number than 0.
    """
    key = hashlib.sha256(repr((sys.version, sys.base_prefix, *about)).encode()).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ohmykube-dev"
    place = cache / f"{name}-{key}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{name}-{key}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (place / "ready").exists():
            return place
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        if make(place):
            return None
        (place / "ready").touch()
    return place


def environment(venv: Path, lock: Path) -> int:
    """Make a virtual environment with the packages of a lock; return 0 if that went well."""
    argv = [sys.executable, "-m", "venv", "--without-pip", str(venv)]
    if code := subprocess.run(argv, check=False).returncode:
        return code
    return pip("--python", str(venv / "bin" / "python"), "install", "-r", str(lock))


def pip(*arguments: str) -> int:
    """Run pip for packages whose hashes are checked."""
    options = ("--quiet", "--no-deps", "--only-binary", ":all:", "--require-hashes")
    argv = [sys.executable, "-m", "pip", *arguments, *options]
    return subprocess.run(argv, check=False).returncode
