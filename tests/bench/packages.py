"""Packing a node's packages, against what the peers do with the same files.

size and processor seconds against `tar | gzip -6` (KubeKey, kubespray); peak memory of packing
"""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING

import cost

from ohmykube.cache import unpack
from ohmykube.model.artifact import ArtifactLock, Kind

if TYPE_CHECKING:
    from pathlib import Path

    from figures import Figures

    from ohmykube.cache.store import Store

PACK = """
import sys
from pathlib import Path
from ohmykube.cache import pack
root = Path(sys.argv[1])
files = sorted(p for p in root.rglob("*") if p.is_file())
pack.pack({str(p.relative_to(root)): pack.Member(p, 0o755) for p in files}, Path(sys.argv[2]))
"""
LIMITS = {
    "package_size_to_targz": 0.80,
    "package_cpu_to_targz": 0.80,
    "packing_peak_mib": 400.0,
}


def measure(figures: Figures, store: Store, lock: ArtifactLock, place: Path) -> None:
    """One round."""
    tree = place / "tree"
    if not tree.is_dir():
        tree.mkdir()
        for artifact in lock.artifacts:
            if artifact.kind is Kind.PACKAGE:
                unpack.unpack(store.path(artifact.digest), tree / artifact.name)
    ours, theirs = place / "ours.tar.zst", place / "theirs.tar.gz"
    mine = cost.of([sys.executable, "-c", PACK, str(tree), str(ours)])
    peer = cost.of_shell(f"tar -C {shlex.quote(str(tree))} -cf - . | gzip -6 > {theirs}")
    figures.add("package_size_to_targz", ours.stat().st_size / theirs.stat().st_size)
    figures.add("package_cpu_to_targz", mine.cpu_seconds / peer.cpu_seconds)
    figures.add("packing_peak_mib", mine.peak_mib)
    ours.unlink()
    theirs.unlink()
