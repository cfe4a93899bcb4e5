"""The cache and bundles: size on disk, verifying, writing and reading bundles, memory.

export_to_cp           `cache export` of a cache of 3 GB against `cp` and fsync of that file
cache_size_to_blobs    bytes below a cache that holds the same, against its blobs, each once
verify_to_goal         below 1 when verifying reaches 0.9 of the disk, or 1.5 GB/s of one core;
                       without the start of the program. The disk is `cat` or `dd` past the
                       kernel's cache, whichever is quicker; the three take turns several times
                       and the middle run counts

The export and `cp` take turns too, each time twice in a row, of which the better run counts; of
those the middle one does.
"""

from __future__ import annotations

import filecmp
import os
import re
import shlex
import shutil
import statistics
from dataclasses import replace
from typing import IO, TYPE_CHECKING, cast

import cost

from ohmykube.cache.store import Ref, Store
from ohmykube.model.artifact import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from cost import Cost
    from figures import Figures

LARGE = 3_000_000_000
"""Bytes of the cache that is exported and verified."""
PIECE = 200_000_000
DISK_SHARE = 0.9
EXPORT_RUNS = 3
DISK_RUNS = 7
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
    copied = _copied(bundle, copy).seconds
    written = cost.of([*create, str(again)], env)
    if not filecmp.cmp(again, copy, shallow=False):
        raise SystemExit("the same content gave another bundle")
    figures.add("bundle_create_seconds", written.seconds)
    figures.add("bundle_cp_seconds", copied)
    again.unlink()
    copy.unlink()

    cache = place / "cache"
    private = {**env, "OHMYKUBE_CACHE_DIR": str(cache)}
    taken = cost.of([cli, "cache", "import", str(bundle)], private)
    figures.add("cache_import_seconds", taken.seconds)
    size = sum(path.stat().st_size for path in _blobs(cache))
    everything = sum(p.stat().st_size for p in cache.rglob("*") if p.is_file())
    figures.add("cache_size_to_blobs", everything / size)
    _fill(Store(cache), LARGE - size)
    _export(figures, cli, private, place / "whole.tar")
    blobs = _blobs(cache)
    _verify(figures, cli, private, blobs, sum(path.stat().st_size for path in blobs))
    figures.add("cache_peak_mib", max(written.peak_mib, taken.peak_mib))
    shutil.rmtree(cache)


def _fill(store: Store, size: int) -> None:
    """Add incompressible blobs: with too few bytes the start of the program is what is compared."""
    for number in range(size // PIECE):
        digest, length = store.put_stream(cast("IO[bytes]", _Random(PIECE)))
        name = f"filler-{number}"
        store.set_ref(Ref(Kind.FILE, name, "1", "any", digest, length, "bench"))


class _Random:
    """Reads as so many random bytes."""

    def __init__(self, size: int) -> None:
        self._left = size

    def read(self, count: int) -> bytes:
        count = min(count, self._left)
        self._left -= count
        return os.urandom(count)


def _export(figures: Figures, cli: str, env: Mapping[str, str], whole: Path) -> None:
    """Write the whole cache to one file, which is large enough for bytes to decide."""
    target = whole.with_name("target.tar")
    cost.of([cli, "cache", "export", "--to", str(whole)], env)
    _remember(whole)  # as the export has remembered the blobs: then both read from memory
    ways = {
        "export": lambda: cost.of([cli, "cache", "export", "--to", str(target)], env),
        "export_cp": lambda: _copied(whole, target),
    }
    runs: dict[str, list[Cost]] = {name: [] for name in ways}
    for number in range(EXPORT_RUNS):
        for name in sorted(ways, reverse=number % 2 == 1):
            runs[name].append(_better_of_two(ways[name], prepare=lambda: _nothing_at(target)))
    _nothing_at(target)
    whole.unlink()
    middle = _middle(figures, runs)
    figures.add("export_to_cp", middle["export"] / middle["export_cp"])
    figures.add("export_peak_mib", max(one.peak_mib for one in runs["export"]))


def _verify(
    figures: Figures, cli: str, env: Mapping[str, str], blobs: list[Path], size: int
) -> None:
    """Compare with reading the same files from the disk; and what one core does alone."""
    start = cost.of([cli, "cache", "stats"], env)
    command = [cli, "cache", "verify", "-o", "json"]
    ways = {
        "verify": lambda: _hashing(cost.of(command, env)),
        "verify_cat": lambda: _remember(*blobs),
        "verify_dd": lambda: _read_past_the_cache(blobs),
    }
    runs: dict[str, list[Cost]] = {name: [] for name in ways}
    for number in range(DISK_RUNS):
        # What others do to the disk meanwhile meets all of them alike.
        for name in list(ways)[number % len(ways) :] + list(ways)[: number % len(ways)]:
            _forget(blobs)
            runs[name].append(ways[name]())
    middle = _middle(figures, runs)
    alone = cost.of([cli, "cache", "verify", "--jobs", "1"], env)
    rate = size / (alone.cpu_seconds - start.cpu_seconds)
    figures.add("verify_mb_per_core_second", rate / 1e6)
    disk = min(middle["verify_cat"], middle["verify_dd"])
    goal = disk / DISK_SHARE
    figures.add("verify_to_goal", min(middle["verify"] / goal, CORE_BYTES / rate))
    figures.add("verify_peak_mib", max(one.peak_mib for one in [alone, *runs["verify"]]))


def _middle(figures: Figures, runs: Mapping[str, list[Cost]]) -> dict[str, float]:
    """Add the median seconds of each way to the figures, and return them."""
    middle = {name: statistics.median(one.seconds for one in each) for name, each in runs.items()}
    for name, seconds in middle.items():
        figures.add(f"{name}_seconds", seconds)
    return middle


def _better_of_two(way: Callable[[], Cost], prepare: Callable[[], None]) -> Cost:
    """Run something twice in a row and return the quicker run.

    In a row: the second run gets the memory that the first has just given back. What has been free
    for some seconds a virtual machine's host may have taken away, and then it costs whoever comes
    first several times the copying itself.
    """
    runs = []
    for _ in range(2):
        prepare()
        os.sync()
        runs.append(way())
    return min(runs, key=lambda cost: cost.seconds)


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


def _remember(*paths: Path) -> Cost:
    """Read files to the end; what they cost."""
    return cost.of(["cat", *map(str, paths)], keep=False)


def _hashing(whole: Cost) -> Cost:
    """Return a run of `cache verify` with the seconds that it says it hashed for."""
    (told,) = re.findall(r'^ +"seconds": ([0-9.]+)', whole.output, re.MULTILINE)
    return replace(whole, seconds=float(told))


def _read_past_the_cache(paths: Iterable[Path]) -> Cost:
    """Read files to the end without the kernel's cache; what they cost."""
    names = " ".join(shlex.quote(str(path)) for path in paths)
    options = "of=/dev/null bs=512K iflag=direct status=none"
    return cost.of_shell(f"for name in {names}; do dd if=$name {options} || exit; done")


def _nothing_at(target: Path) -> None:
    target.unlink(missing_ok=True)


def _copied(source: Path, target: Path) -> Cost:
    """Return what `cp` and writing to the disk cost."""
    to = shlex.quote(str(target))
    return cost.of_shell(f"cp {shlex.quote(str(source))} {to}; sync {to}")
