"""Names of Lima's things for ours: limactl allows less than a cluster and node may be called."""

from __future__ import annotations

import hashlib
import re

LONGEST = 32
"""Characters of an instance's name; together with the home's path they must fit a socket's."""

_LIMA = re.compile(r"[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*")
_DISK = re.compile(r"-disk([1-9]\d?)")


def instance(cluster: str, node: str) -> str:
    """Return the instance of a node: ``<cluster>.<node>``, or a digest where that is no name.

    Names of clusters and of nodes that we make hold no dot, so two nodes never share an instance.
    """
    plain = f"{cluster}.{node}"
    if len(plain) <= LONGEST and _LIMA.fullmatch(plain):
        return plain
    return f"omk-{hashlib.sha256(plain.encode()).hexdigest()[:24]}"


def disk(instance_name: str, number: int) -> str:
    """Return the name of an instance's additional disk, counted from 1."""
    return f"{instance_name}-disk{number}"


def is_disk_of(name: str, instance_name: str) -> bool:
    """Tell whether ``name`` is what ``disk`` gives for this instance."""
    return name.startswith(instance_name) and bool(_DISK.fullmatch(name[len(instance_name) :]))


def network(number: int) -> str:
    """Return the name of the network with the third octet ``number``."""
    return f"omk{number}"
