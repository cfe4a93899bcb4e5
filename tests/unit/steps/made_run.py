"""A run whose nodes were made by the fake provider, and an ssh that answers for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.kit import remote_command
from ohmykube.kit.paths import Paths
from ohmykube.kit.retry import SystemClock
from ohmykube.model.cluster import Cluster, Node, Role
from ohmykube.model.machine import MachineSpec
from ohmykube.providers.base import ProviderContext
from ohmykube.steps.context import Context, Services
from ohmykube.steps.nodes import Nodes
from ohmykube.testing.fake_provider import FakeProvider
from ohmykube.testing.reporter import RecordingReporter

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import pytest

    from ohmykube.kit.retry import Clock


def cluster_of(planes: Iterable[str], workers: Iterable[str] = ()) -> Cluster:
    """Return the cluster ``dev`` with nodes of these names."""
    nodes = [Node(name=name, role=Role.CONTROL_PLANE) for name in planes]
    nodes += [Node(name=name, role=Role.WORKER) for name in workers]
    return Cluster(name="dev", kubernetes_version="1.36.3", provider="fake", nodes=tuple(nodes))


def install_ssh(directory: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    """Put an ``ssh`` on PATH that runs ``body`` (sh); ``$3`` is the node that it was to reach."""
    program = directory / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho '{remote_command.BEGIN}'\n{body}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")


def made_run(
    directory: Path,
    cluster: Cluster,
    *,
    names: Iterable[str] | None = None,
    clock: Clock | None = None,
) -> tuple[Context, Nodes]:
    """Return the context of a run, and its nodes, whose machines run.

    Args:
        directory: what the run writes is there.
        cluster: as it is wanted.
        names: nodes that have a machine; by default all.
        clock: of the run.
    """
    paths = Paths(state=directory / "s", data=directory / "d", cache=directory / "c")
    reporter = RecordingReporter()
    provider = FakeProvider(ProviderContext(paths=paths, reporter=reporter, cluster=cluster))
    wanted = [node.name for node in cluster.nodes] if names is None else names
    made = {name: provider.create(MachineSpec(cluster=cluster.name, node=name)) for name in wanted}
    ctx = Context(
        services=Services(paths=paths, reporter=reporter, clock=clock or SystemClock()),
        cluster=cluster,
        provider=provider,
        directory=directory,
        run_directory=directory,
    )
    return ctx, Nodes(machines=made, ssh_config=directory / "ssh_config")
