"""What the floor needs, taken from the cache: binaries, one image archive, the base, the manifest.

The floor and `ohmykube up` then use the very same bytes.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from ohmykube.addons import selection
from ohmykube.cache import oci, resolve
from ohmykube.cache.store import Store
from ohmykube.config import load
from ohmykube.config.overrides import Overrides
from ohmykube.kit import paths
from ohmykube.model.artifact import ArtifactLock, Kind
from ohmykube.progress import NullReporter
from ohmykube.providers import registry
from ohmykube.providers.base import ProviderContext

HERE = Path(__file__).parent


def make(directory: Path) -> ArtifactLock:
    """Fill ``directory`` and return the lock that it was made from."""
    places = paths.from_environment()
    cluster = load.from_overrides(Overrides(name="floor"))
    store = Store(places.cache)
    release = selection.release_of(cluster)
    lock = resolve.resolve(cluster, release, store, NullReporter())
    (arch,) = lock.architectures
    binaries = directory / "bin"
    binaries.mkdir(parents=True, exist_ok=True)
    for component in release.components:
        for name in component.installs:
            wanted = (Kind.BINARY, name, component.version, arch)
            found = {(*r.key[:2], r.version.removeprefix("v"), r.arch): r for r in store.refs()}
            ref = found.get(wanted)
            if ref is None:
                raise SystemExit(f"no {name} {component.version} in the cache: ohmykube up first")
            shutil.copyfile(store.path(ref.digest), binaries / name)
            (binaries / name).chmod(0o755)
    images = [r for r in store.refs() if r.kind is Kind.IMAGE and r.digest in _digests(lock)]
    with (directory / "images.tar").open("wb") as stream:
        oci.write_archive(store, images, stream)
    context = ProviderContext(paths=places, reporter=NullReporter(), cluster=cluster)
    registry.load("nspawn", context).prepare()
    base = max((places.cache / "nspawn").glob("base-*/rootfs"), key=lambda p: p.stat().st_mtime)
    (directory / "base").unlink(missing_ok=True)
    (directory / "base").symlink_to(base)
    found_variables = lock.variables
    manifest = (HERE / "flannel.yaml").read_text()
    for mark, value in (
        ("@FLANNEL_IMAGE@", found_variables["flannel_image"]),
        ("@CNI_IMAGE@", found_variables["flannel_cni_plugin_image"]),
    ):
        manifest = manifest.replace(mark, value)
    (directory / "flannel.yaml").write_text(manifest)
    (directory / "versions.env").write_text(
        f"KUBERNETES={lock.kubernetes_version}\nPAUSE={found_variables['containerd_sandbox_image']}\n"
    )
    return lock


def _digests(lock: ArtifactLock) -> set[str]:
    return {a.digest for a in lock.artifacts if a.kind is Kind.IMAGE}
