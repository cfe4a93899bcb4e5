"""Real builds of the smallest things: the same bytes twice, and programs that work."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ohmykube.cache import oci, releases
from ohmykube.cache.catalog import GoRecipe
from ohmykube.cache.sources import debian_layer, toolchain
from ohmykube.cache.sources.gobuild import Builder
from ohmykube.cache.store import Store
from ohmykube.errors import IntegrityError, NetworkError
from ohmykube.model.artifact import Kind
from ohmykube.progress import NullReporter

if TYPE_CHECKING:
    from pathlib import Path

    from ohmykube.cache.catalog import Component, Recipe

pytestmark = pytest.mark.build

TOOLS = (
    "iptables --version",
    "ip6tables-save --version",
    "iptables-restore --version",
    "nft --version",
    "conntrack --version",
    "modprobe --version",
    "sh -c true",
    "cp --help",
)


def component(name: str) -> Component:
    return next(c for c in releases.release("1.36.3").components if c.name == name)


def build(recipe: Recipe, directory: Path) -> dict[str, Path]:
    return Builder(Store(directory), NullReporter()).binaries(recipe, toolchain.go().arch)


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Build the CNI plugins once."""
    recipe = component("cni-plugins").recipe
    assert recipe is not None
    return build(recipe, tmp_path_factory.mktemp("one") / "cache")


def digests(built: dict[str, Path]) -> dict[str, str]:
    """Return the digests of what was built; the name of a blob is its digest."""
    return {name: f"sha256:{path.name}" for name, path in built.items()}


def test_a_second_build_in_another_place_gives_the_same_digests(
    plugins: dict[str, Path], tmp_path: Path
) -> None:
    recipe = component("cni-plugins").recipe
    assert recipe is not None
    second = build(recipe, tmp_path / "a much longer name for another place" / "cache")
    assert digests(second) == digests(plugins)
    known = recipe.expect.get(toolchain.identity(recipe, toolchain.go_for(recipe)))
    assert known is None or known == digests(plugins)


def test_an_empty_compile_cache_gives_the_same_digests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the module's smallest program: Go's own library is compiled anew for it as well."""
    recipe = component("cni-plugins").recipe
    assert isinstance(recipe, GoRecipe)
    small = {"client": f"{recipe.module}/pkg/testutils/echo/client"}
    recipe = replace(recipe, packages=small, expect={})
    first = build(recipe, tmp_path / "one" / "cache")
    monkeypatch.setenv("GOCACHE", str(tmp_path / "an empty compile cache"))
    second = build(recipe, tmp_path / "a much longer name for another place" / "cache")
    assert digests(second) == digests(first)


def test_a_plugin_that_was_built_answers(plugins: dict[str, Path], tmp_path: Path) -> None:
    for name, blob in plugins.items():
        program = tmp_path / name
        program.write_bytes(blob.read_bytes())
        program.chmod(0o755)
        answer = subprocess.run(
            [program],
            env={"CNI_COMMAND": "VERSION"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=True,
        )
        assert "1.0.0" in json.loads(answer.stdout)["supportedVersions"]


def test_pause_reaps_and_leaves_when_it_is_told_to(tmp_path: Path) -> None:
    recipe = releases.release("1.36.3").image("pause").recipe
    assert recipe is not None
    program = tmp_path / "pause"
    program.write_bytes(build(recipe, tmp_path / "cache")["pause"].read_bytes())
    program.chmod(0o755)
    child = subprocess.Popen([program])
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(0.3)
    child.terminate()
    assert child.wait(30) == 0


def test_a_module_with_another_sum_is_refused(tmp_path: Path) -> None:
    recipe = component("cni-plugins").recipe
    assert recipe is not None
    with pytest.raises(IntegrityError):
        build(replace(recipe, sum="h1:AAAA="), tmp_path / "cache")


def test_a_proxy_that_cannot_be_reached_is_said_to_be_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOPROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("GOMODCACHE", str(tmp_path / "modules"))
    recipe = component("cni-plugins").recipe
    assert recipe is not None
    with pytest.raises(NetworkError) as caught:
        build(recipe, tmp_path / "cache")
    assert "connection refused" in (caught.value.why or "")


@pytest.mark.usefixtures("as_root")
def test_the_tools_layer_is_complete(tmp_path: Path) -> None:
    base = releases.release("1.36.3").image("kube-proxy").base
    assert base is not None
    store = Store(tmp_path / "cache")
    layer = debian_layer.make(base, toolchain.go().arch, store, NullReporter())
    assert layer.descriptor.media_type == oci.LAYER
    root = tmp_path / "root"
    root.mkdir()
    blob = store.path(layer.descriptor.digest)
    subprocess.run(["tar", "--zstd", "-xf", blob, "-C", root], check=True, timeout=60)
    env = {**os.environ, "PATH": oci.SEARCH_PATH}
    chroot = "/usr/sbin/chroot"
    for tool in TOOLS:
        done = subprocess.run(
            [chroot, root, *tool.split()], env=env, capture_output=True, text=True, timeout=60,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{tool}: {done.stderr}"
    assert layer.descriptor.size < 12_000_000, "the layer lies on every node"


@pytest.mark.parametrize("version", releases.buildable())
def test_kubeadm_asks_for_exactly_our_images(
    shared_cache: Path, tmp_path: Path, version: str
) -> None:
    store = Store(shared_cache)
    ref = store.ref(Kind.BINARY, "kubeadm", f"v{version}", toolchain.go().arch)
    if ref is None:
        pytest.skip(f"kubeadm {version} was not built on this machine yet")
    program = tmp_path / "kubeadm"
    program.write_bytes(store.path(ref.digest).read_bytes())
    program.chmod(0o755)
    asked = subprocess.run(
        [program, "config", "images", "list", "--kubernetes-version", f"v{version}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout.split()
    images = releases.release(version).images
    assert set(asked) == {image.ref for image in images}
