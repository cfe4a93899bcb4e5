"""Directories and files of this host in a node: what systemd-nspawn is told of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.errors import ProviderError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ohmykube.model.cluster import Mount


def option(source: Path | str, target: str, *, read_only: bool = False) -> str:
    """Return the option that binds a path of the host to a place in the node.

    systemd-nspawn splits it at colons; a backslash keeps it from doing so (systemd-nspawn(1)).
    """
    name = "--bind-ro" if read_only else "--bind"
    return f"{name}={_escaped(source)}:{_escaped(target)}"


def options(mounts: Sequence[Mount]) -> list[str]:
    """Return the options for the mounts that a user wants."""
    return [option(one.host, one.node, read_only=one.read_only) for one in mounts]


def check(node: str, mounts: Sequence[Mount]) -> None:
    """Look whether this host has all that is to be mounted.

    Raises:
        ProviderError: it has not, or no more, or a link has come in its place.
    """
    told = [f"not on this host: {one.host}" for one in mounts if not one.host.exists()]
    told += [
        f"leads by a link to {one.host.resolve()} now: {one.host}"
        for one in mounts
        if one.host.exists() and one.host.resolve() != one.host
    ]
    if told:
        raise ProviderError(
            f"node {node} cannot start without what it mounts",
            why="\n".join(told),
            hint="put it back, or take it out of spec.mounts and run ohmykube up -f FILE",
            id="OMK-P-582",
        )


def others(node: str) -> ProviderError:
    """Return the error for a node that runs with other mounts than are wanted."""
    return ProviderError(
        f"node {node} runs with other mounts than are wanted",
        why="mounts are made when a machine starts",
        hint="ohmykube stop, then run the same command again",
        id="OMK-P-583",
    )


def _escaped(path: Path | str) -> str:
    return str(path).replace("\\", "\\\\").replace(":", "\\:")
