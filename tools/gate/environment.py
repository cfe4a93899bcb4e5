"""All that the result of a part depends on besides its files: programs, machine, variables."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.prefix) / "bin"
PLACES = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
"""Where programs are looked for after the caller's own PATH: every caller finds the same."""
GO = "/usr/local/go/bin"
COUNTED = (
    *("CI", "HOME", "LANG", "LC_ALL", "TZ", "USER"),
    *("GOCACHE", "GOENV", "GOFLAGS", "GONOSUMDB", "GOPATH", "GOPRIVATE", "GOPROXY", "GOSUMDB"),
    *("GOTOOLCHAIN", "GITHUB_ACTIONS", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    *("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
    *("OHMYKUBE_CACHE_DIR", "OHMYKUBE_MIRROR", "OHMYKUBE_NIGHTLY", "OHMYKUBE_REAL_LIMACTL"),
    *("OHMYKUBE_SEED", "OHMYKUBE_TEST_CACHE", "COVERAGE_CORE"),
)
"""Variables that parts get from the caller; they are in the key of every result."""
PASSED_ON = ("LOGNAME", "OHMYKUBE_TEST_RUN", "SUDO_USER", "TERM", "TMPDIR")
"""Variables that parts get as well, and on which no result may depend."""


def environment() -> dict[str, str]:
    """Return the environment of every part: variables above, our tools, our collection alone."""
    env = {name: os.environ[name] for name in (*COUNTED, *PASSED_ON) if name in os.environ}
    env["PATH"] = os.pathsep.join([str(BIN), *_path()])
    env["VIRTUAL_ENV"] = str(ROOT / ".venv")
    env["ANSIBLE_COLLECTIONS_PATH"] = str(ROOT / "collections")
    env["ANSIBLE_INJECT_FACT_VARS"] = "false"
    # With a galaxy.yml in sight Molecule looks for its scenarios elsewhere.
    env["MOLECULE_GLOB"] = "molecule/*/molecule.yml"
    env["NO_COLOR"] = "1"
    if sys.version_info >= (3, 12):
        env.setdefault("COVERAGE_CORE", "sysmon")  # lines cost nearly nothing there
    return env


def _path() -> list[str]:
    mine = os.environ.get("PATH", "").split(os.pathsep)
    places = [place for place in (*mine, *PLACES, GO) if place and place != str(BIN)]
    return [place for place in dict.fromkeys(places) if not place.endswith("/.venv/bin")]


@functools.cache
def fingerprint() -> str:
    """Return one digest for everything besides the files, equal in all checkouts of a machine."""
    env = environment()
    found = {
        "variables": {name: env[name] for name in COUNTED if name in env},
        "path": _path(),
        "root": os.geteuid() == 0,
        "python": [sys.version, sys.implementation.name, os.path.realpath(sys.executable)],
        "packages": _sizes(sysconfig.get_path("purelib")),
        "machine": [*platform.uname(), _text("/etc/machine-id"), os.cpu_count()],
        "debian": _output("dpkg-query", "-W"),
        "go": _output("go", "version"),
    }
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


def _output(program: str, *arguments: str) -> str:
    path = shutil.which(program, path=environment()["PATH"])
    if path is None:
        return ""
    argv = [path, *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    return f"{path}\n{done.stdout}"


def _sizes(place: str) -> str:
    """Return a digest of what is installed: packages with their versions, modules with their sizes.

    A size tells of most edits.
    """
    found: list[tuple[str, int]] = []
    waiting = [place]
    while waiting:
        # Thousands of files, looked at by each run: entries know their kinds without a question.
        for entry in os.scandir(waiting.pop()):
            below = entry.path.removeprefix(place)
            if entry.is_dir(follow_symlinks=False):
                waiting.append(entry.path)
                if entry.name.endswith(".dist-info"):
                    found.append((below, 0))
            elif entry.name.endswith(".py"):
                found.append((below, entry.stat().st_size))
    return hashlib.sha256(json.dumps(sorted(found)).encode()).hexdigest()


def _text(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
