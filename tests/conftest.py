"""What holds for every test: isolation from the user's machine, and the policy of the markers."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from ohmykube.kit import interrupt, paths

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

settings.register_profile("project", deadline=None, derandomize=True, database=None)
settings.load_profile("project")

IN_CI = os.environ.get("CI") == "true"
NIGHTLY = os.environ.get("OHMYKUBE_NIGHTLY") == "1"
_SHARED_CACHE = Path(os.environ.get("OHMYKUBE_TEST_CACHE") or paths.from_environment().cache)
_FORGET = (
    "CLICOLOR",
    "CLICOLOR_FORCE",
    "FORCE_COLOR",
    "KUBECONFIG",
    "NO_COLOR",
    "OHMYKUBE_CACHE_DIR",
    "OHMYKUBE_MIRROR",
    "SSH_AUTH_SOCK",
    "XDG_RUNTIME_DIR",
)
_PROGRAMS = {
    "nodes": ("systemd-nspawn", "mmdebstrap", "ip", "ssh", "nc", "nsenter"),
    "build": ("go", "gcc"),
}


def _go_settings(home: Path) -> dict[str, str]:
    # Go keeps its caches below HOME: builds in tests may reuse them, they are content-addressed.
    return {
        "GOPATH": os.environ.get("GOPATH") or str(home / "go"),
        "GOCACHE": os.environ.get("GOCACHE") or str(home / ".cache" / "go-build"),
        "GOENV": os.environ.get("GOENV") or str(home / ".config" / "go" / "env"),
    }


def _isolate(patch: pytest.MonkeyPatch, root: Path) -> None:
    home = root / "home"
    home.mkdir(exist_ok=True)
    patch.setenv("HOME", str(home))
    patch.setenv("OHMYKUBE_HOME", str(root / "omk"))
    for name in ("CONFIG", "CACHE", "DATA", "STATE"):
        patch.setenv(f"XDG_{name}_HOME", str(home / f"xdg-{name.lower()}"))
    patch.setenv("COLUMNS", "80")
    for name in _FORGET:
        patch.delenv(name, raising=False)


@pytest.fixture(scope="session", autouse=True)
def _isolated_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep fixtures of a wider scope than one test away from the user's files as well."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in _go_settings(Path.home()).items():
            patch.setenv(name, value)
        _isolate(patch, tmp_path_factory.mktemp("session"))
        yield


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Give each test a home, state and cache of its own, and a terminal of 80 columns."""
    _isolate(monkeypatch, tmp_path_factory.mktemp("own"))


@pytest.fixture(autouse=True)
def _no_interrupt_left() -> Iterator[None]:
    yield
    interrupt.requested.clear()


@pytest.fixture
def public() -> Iterator[Path]:
    """Give a directory that every user may enter; pytest's own are for us alone."""
    with tempfile.TemporaryDirectory(prefix="omk-test-") as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


@pytest.fixture(scope="session")
def shared_cache() -> Path:
    """Return the cache that tests of real nodes share, for OHMYKUBE_CACHE_DIR."""
    return _SHARED_CACHE


@pytest.fixture(scope="session")
def eventually() -> Callable[[Callable[[], bool]], bool]:
    """Return a bounded wait: true as soon as the condition holds, false after most of a minute.

    Programs that a test must end run for a minute by themselves, so it is shorter than that.
    """

    def wait(condition: Callable[[], bool]) -> bool:
        pause, end = threading.Event(), time.monotonic() + 50
        while not condition():
            if time.monotonic() > end:
                return False
            pause.wait(0.05)
        return True

    return wait


def _give_up(reason: str) -> None:
    if IN_CI:
        pytest.fail(f"in CI this must be there: {reason}", pytrace=False)
    pytest.skip(reason)


@pytest.fixture
def as_root() -> None:
    """Ask for root: skipped without it, failed in CI."""
    if os.geteuid() != 0:
        _give_up("needs root")


def _lacking(marker: str) -> str:
    if marker == "nodes" and sys.platform != "linux":
        return "nodes are made on Linux only"
    if marker == "nodes" and os.geteuid() != 0:
        return "nodes are made as root"
    missing = [name for name in _PROGRAMS[marker] if shutil.which(name) is None]
    return f"not installed: {', '.join(missing)}" if missing else ""


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose prerequisites lack, or fail it in CI; one of Linux is skipped elsewhere."""
    if item.get_closest_marker("linux") and sys.platform != "linux":
        pytest.skip("needs Linux")
    for marker in _PROGRAMS:
        if item.get_closest_marker(marker) and (reason := _lacking(marker)):
            _give_up(reason)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run the nightly tests in `make nightly`, where nothing else runs."""
    chosen = [item for item in items if bool(item.get_closest_marker("nightly")) == NIGHTLY]
    if len(chosen) != len(items):
        left = [item for item in items if item not in chosen]
        config.hook.pytest_deselected(items=left)
        items[:] = chosen
