"""A real containerd with a root and a socket of its own, for tests of what it pulls."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ohmykube.cache import releases, resolve
from ohmykube.cache.chain import Chain
from ohmykube.cache.sources import base as sources
from ohmykube.cache.store import Store
from ohmykube.errors import OhmykubeError
from ohmykube.kit import paths, retry
from ohmykube.model.cluster import Sources
from ohmykube.progress import NullReporter

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKEN = "t0k-en_4711"
REF = "registry.k8s.io/whatever:1"
HOSTS = """\
[host."http://127.0.0.1:{port}"]
capabilities = ["pull", "resolve"]

[host."http://127.0.0.1:{port}".header]
Authorization = ["Bearer {token}"]
Ohmykube-Node = ["w1"]
"""


def programs(cache: Path) -> dict[str, Path]:
    """Return containerd and ctr: given, installed, or through the shared cache."""
    search = os.pathsep.join((os.environ.get("OHMYKUBE_TEST_BIN", ""), os.environ["PATH"]))
    found = {name: shutil.which(name, path=search) for name in ("containerd", "ctr")}
    if all(found.values()):
        return {name: Path(str(path)) for name, path in found.items()}
    wanted = releases.release(releases.default_version())
    component = next(c for c in wanted.components if c.name == "containerd")
    context = sources.SourceContext(
        store=Store(cache),
        sources=Sources(),
        reporter=NullReporter(),
        paths=replace(paths.from_environment(), cache=cache),
    )
    chain = Chain(("upstream", "build"), context, sources.load)
    arch = resolve.host_arch()
    return dict(
        chain.first("containerd", arch, lambda source: source.component(component, arch))[0]
    )


@dataclass
class Containerd:
    directory: Path
    programs: Path

    def ctr(self, *words: str) -> subprocess.CompletedProcess[str]:
        address = str(self.directory / "c.sock")
        return subprocess.run(
            [str(self.programs / "ctr"), "--address", address, "-n", "test", *words],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def pull(self, port: int, token: str = TOKEN, ref: str = REF, *options: str) -> tuple[int, str]:
        hosts = self.directory / "certs.d" / "_default"
        hosts.mkdir(parents=True, exist_ok=True)
        (hosts / "hosts.toml").write_text(HOSTS.format(port=port, token=token))
        done = self.ctr("images", "pull", "--hosts-dir", str(hosts.parent), *options, ref)
        return done.returncode, done.stdout + done.stderr

    def content(self) -> set[str]:
        return set(self.ctr("content", "ls", "-q").stdout.split())

    def complete(self) -> bool:
        return "complete" in self.ctr("images", "check").stdout.replace("incomplete", "")


CONFIG = """\
version = 3
root = "{root}/root"
state = "{root}/state"
disabled_plugins = ["io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime",
  "io.containerd.grpc.v1.cri", "io.containerd.nri.v1.nri", "io.containerd.internal.v1.opt"]
[grpc]
address = "{root}/c.sock"
[ttrpc]
address = "{root}/c.sock.ttrpc"
"""


@pytest.fixture(scope="session")
def containerd_programs(shared_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with containerd and ctr, which can be run."""
    try:
        found = programs(shared_cache)
    except OhmykubeError as error:
        why = f"needs containerd, installed or from a source: {error.message}"
        pytest.fail(why) if os.environ.get("CI") == "true" else pytest.skip(why)
    directory = tmp_path_factory.mktemp("bin")
    for name in ("containerd", "ctr"):
        shutil.copy(found[name], directory / name)
        (directory / name).chmod(0o755)
    return directory


@pytest.fixture
def containerd(tmp_path: Path, containerd_programs: Path) -> Iterator[Containerd]:
    one = Containerd(tmp_path / "containerd", containerd_programs)
    one.directory.mkdir()
    (one.directory / "config.toml").write_text(CONFIG.format(root=one.directory))
    argv = [str(one.programs / "containerd"), "--config", str(one.directory / "config.toml")]
    with (one.directory / "log").open("wb") as log, contextlib.ExitStack() as stack:
        daemon = stack.enter_context(
            subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True)
        )
        stack.callback(daemon.kill)

        def answers() -> bool | None:
            return True if one.ctr("version").returncode == 0 else None

        retry.until(retry.SystemClock(), retry.Wait(seconds=30, every=0.1), "containerd", answers)
        yield one
        daemon.terminate()
        daemon.wait(20)
