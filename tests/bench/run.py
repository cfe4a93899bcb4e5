"""`make bench`: speed and memory against floor and peers, in one run, as JSON on standard output.

    python tests/bench/run.py [--rounds 3] [--workers 2] [--only clusters,images,artifacts,network]

What is compared alternates, so a machine that gets slower gets slower for all. Every figure is
given as the list of rounds and its median; ratios of clusters are those of medians, the others are
taken in each round.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import artifacts
import clusters
import cost
import delivery
import image_set
import kit
import network
import packages
from figures import Figures

from ohmykube.cache.store import Store
from ohmykube.kit import paths

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ohmykube.model.artifact import ArtifactLock

LIMITS = {
    "clusters": clusters.LIMITS,
    "images": delivery.LIMITS,
    "artifacts": {**packages.LIMITS, **artifacts.LIMITS},
    "network": network.LIMITS,
}
"""Figures of each group that must be measured, and how large they may be."""


def _clusters(
    figures: Figures, options: argparse.Namespace, env: dict[str, str], place: Path
) -> dict[str, Any]:
    phases: list[str] = []
    cloned: dict[str, dict[str, float]] = {}
    for _ in _rounds("clusters", options.rounds):
        phases, cloned = clusters.measure(figures, place, env, options.workers)
    return {"floorPhases": phases, "phases": cloned}


def _images(
    figures: Figures, rounds: int, env: Mapping[str, str], place: Path, lock: ArtifactLock
) -> None:
    made = image_set.make(Store(Path(env["OHMYKUBE_CACHE_DIR"])), lock, place / "images")
    name = "bench-images"
    try:
        cost.of([clusters.CLI, *clusters.arguments(0), "--name", name], env)
        node = delivery.node_of(name, Path(env["OHMYKUBE_HOME"]))
        for _ in _rounds("images", rounds):
            delivery.measure(figures, node, made)
    finally:
        cost.of([clusters.CLI, "down", name, "--yes"], env)


def _artifacts(
    figures: Figures, rounds: int, env: Mapping[str, str], place: Path, lock: ArtifactLock
) -> None:
    store = Store(Path(env["OHMYKUBE_CACHE_DIR"]))
    for _ in _rounds("artifacts", rounds):
        packages.measure(figures, store, lock, place)
        artifacts.measure(figures, clusters.CLI, env, place / "artifacts")


def _network(figures: Figures, rounds: int, place: Path) -> None:
    with network.made(place / "network") as bench:
        for _ in _rounds("network", rounds):
            network.measure(figures, bench)


def _rounds(what: str, number: int) -> Iterator[None]:
    for done in range(number):
        print(f"{what}: round {done + 1} of {number}", file=sys.stderr, flush=True)
        yield


def verdicts(figures: Figures, groups: Iterable[str]) -> dict[str, Any]:
    """Hold what was measured against the limits; what was not measured is not met."""
    limits = {name: limit for group in groups for name, limit in LIMITS[group].items()}
    got = {name: figures.median(name) for name in limits if name in figures.rounds}
    if "floor_seconds" in figures.rounds:
        got |= clusters.ratios(figures)
    return {
        name: {
            "median": round(got[name], 3) if name in got else None,
            "limit": limit,
            "met": name in got and got[name] <= limit,
        }
        for name, limit in limits.items()
    }


def _end(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)


def main() -> int:
    """Run all rounds; the code says whether every limit was met."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", default=",".join(LIMITS))
    options = parser.parse_args()
    wanted = options.only.split(",")
    if unknown := set(wanted) - set(LIMITS):
        parser.error(f"unknown group: {', '.join(sorted(unknown))}")
    if os.geteuid() != 0:
        raise SystemExit("the bench makes nodes and needs root: sudo make bench")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)  # so that what was made is removed, as after Ctrl-C
    figures = Figures()
    more: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="omk-bench-") as name:
        place = Path(name)
        lock = kit.make(place / "kit")
        cache = os.environ.get("OHMYKUBE_CACHE_DIR") or str(paths.from_environment().cache)
        env = {**os.environ, "OHMYKUBE_HOME": str(place / "omk"), "OHMYKUBE_CACHE_DIR": cache}
        if "clusters" in wanted:
            more = _clusters(figures, options, env, place)
        if "images" in wanted:
            _images(figures, options.rounds, env, place, lock)
        if "artifacts" in wanted:
            _artifacts(figures, options.rounds, env, place, lock)
        if "network" in wanted:
            _network(figures, options.rounds, place)
    result = {
        "apiVersion": "ohmykube.dev/v1",
        "kind": "Benchmark",
        "rounds": figures.rounds,
        "limits": verdicts(figures, wanted),
        **more,
    }
    print(json.dumps(result, indent=2))
    return 0 if all(v["met"] for v in result["limits"].values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
