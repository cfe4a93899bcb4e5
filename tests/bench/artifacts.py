"""The cache and bundles: size on disk, verifying, writing and reading bundles, memory.

bundle_create_to_cp    `bundle create` against copying the same bundle on the same disk
cache_import_to_cp     `cache import` against the same copy
cache_size_to_blobs    bytes below a cache that holds one bundle, against its blobs, each once
verify_to_goal         below 1 when verifying reaches 0.9 of the disk, or 1.5 GB/s of one core
"""

from __future__ import annotations

import filecmp
import os
import shutil
import time
from typing import TYPE_CHECKING

import cost

from ohmykube.cache.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from figures import Figures

DISK_SHARE = 0.9
CORE_BYTES = 1.5e9
CONFIG = "apiVersion: ohmykube.dev/v1\nkind: Cluster\nmetadata:\n  name: bench\n"
LIMITS = {
    "export_to_cp": 1.3,
    "export_peak_mib": 80.0,
    "cache_size_to_blobs": 1.02,
    "verify_to_goal": 1.0,
    "verify_peak_mib": 80.0,
    "cache_peak_mib": 80.0,
}


def measure(figures: Figures, cli: str, env: Mapping[str, str], place: Path) -> None:
    """One round; the first also makes what a bundle holds besides artifacts."""
    place.mkdir(exist_ok=True)
    config, bundle = place / "cluster.yaml", place / "bundle.omk.tar"
    config.write_text(CONFIG)
    create = [cli, "bundle", "create", "-f", str(config), "--to"]
    if not bundle.exists():
        cost.of([*create, str(bundle)], env)

    again, copy = place / "again.omk.tar", place / "copy.omk.tar"
    copied = _copied(bundle, copy)
    written = cost.of([*create, str(again)], env)
    if not filecmp.cmp(again, copy, shallow=False):
        raise SystemExit("the same content gave another bundle")
    figures.add("bundle_create_seconds", written.seconds)
    figures.add("bundle_cp_seconds", copied)
    again.unlink()
    copy.unlink()
    _export(figures, cli, env, place)

    cache = place / "cache"
    private = {**env, "OHMYKUBE_CACHE_DIR": str(cache)}
    taken = cost.of([cli, "cache", "import", str(bundle)], private)
    figures.add("cache_import_seconds", taken.seconds)
    blobs = _blobs(cache)
    size = sum(path.stat().st_size for path in blobs)
    everything = sum(p.stat().st_size for p in cache.rglob("*") if p.is_file())
    figures.add("cache_size_to_blobs", everything / size)
    _verify(figures, cli, private, blobs, size)
    figures.add("cache_peak_mib", max(written.peak_mib, taken.peak_mib))
    shutil.rmtree(cache)


def _export(figures: Figures, cli: str, env: Mapping[str, str], place: Path) -> None:
    """Write the whole cache to one file, which is large enough for bytes to decide."""
    whole, copy = place / "whole.tar", place / "whole-copy.tar"
    argv = [cli, "cache", "export", "--to", str(whole)]
    cost.of(argv, env)  # then both read from memory
    os.sync()
    written = cost.of(argv, env)
    os.sync()
    copied = _copied(whole, copy)
    figures.add("export_seconds", written.seconds)
    figures.add("export_to_cp", written.seconds / copied)
    figures.add("export_peak_mib", written.peak_mib)
    whole.unlink()
    copy.unlink()


def _verify(
    figures: Figures, cli: str, env: Mapping[str, str], blobs: list[Path], size: int
) -> None:
    argv = [cli, "cache", "verify", "--jobs", "1"]
    start = cost.of([cli, "cache", "stats"], env).cpu_seconds
    _forget(blobs)
    begin = time.monotonic()
    cost.of(["cat", *(str(path) for path in blobs)])
    disk = time.monotonic() - begin
    _forget(blobs)
    cold = cost.of(argv, env)
    warm = cost.of(argv, env)
    figures.add("verify_mb_per_second", size / 1e6 / warm.seconds)
    rate = size / (warm.cpu_seconds - start)
    figures.add("verify_to_goal", min(cold.seconds * DISK_SHARE / disk, CORE_BYTES / rate))
    figures.add("verify_peak_mib", warm.peak_mib)


def _blobs(cache: Path) -> list[Path]:
    store = Store(cache)
    return [store.path(digest) for digest in store.digests()]


def _forget(paths: Iterable[Path]) -> None:
    """Take files out of the kernel's cache."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)  # what is not on the disk yet would stay
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def _copied(source: Path, target: Path) -> float:
    """Return the seconds that `cp` and writing to the disk take."""
    begin = time.monotonic()
    cost.of(["cp", str(source), str(target)])
    descriptor = os.open(target, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
    return time.monotonic() - begin
