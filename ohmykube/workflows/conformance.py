"""``conformance``: upstream's own tests, run in a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ohmykube.errors import ClusterError, NotFoundError
from ohmykube.kit import shell
from ohmykube.kube.conformance import FOCUS, IMAGE, RESULTS
from ohmykube.state import layout
from ohmykube.steps import copy_files
from ohmykube.steps.cluster_api import cluster_api
from ohmykube.steps.nodes import Nodes
from ohmykube.steps.restore_helpers import restore_helpers
from ohmykube.steps.run_conformance import Asked, run_conformance
from ohmykube.workflows import session

if TYPE_CHECKING:
    from ohmykube.steps.context import Services

MOST_NAMED = 7
"""Failed specs that an error names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConformanceOptions:
    """What ``conformance`` is asked for."""

    focus: str = FOCUS
    """Regular expression of Go: which specs are run."""
    skip: str = ""
    image: str = ""
    """Upstream's for the cluster's version when empty."""
    results: str = ""
    """Directory for the results; ``conformance-CLUSTER`` when empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConformanceResult:
    """What the tests said."""

    cluster: str
    image: str
    passed: int
    failed: tuple[str, ...]
    """Titles of specs."""
    results: Path
    """Directory with ``junit_01.xml`` and ``e2e.log``."""


def conformance(services: Services, name: str, options: ConformanceOptions) -> ConformanceResult:
    """Run upstream's conformance tests as a pod; copy their results, and remove the pod.

    Nothing else may change the cluster meanwhile: its lock is held.

    Raises:
        NotFoundError: no such cluster, or no spec is asked for.
        ClusterError: the tests cannot run.
    """
    record, cluster = session.recorded(services, name)
    image = options.image or IMAGE.format(version=record.kubernetes_version)
    target = Path(options.results or f"conformance-{name}").absolute()
    with session.working(services, cluster) as ctx:
        restore_helpers(ctx)
        machines = {machine.node: machine for machine in ctx.provider.list(name)}
        config = ctx.directory / layout.SSH_CONFIG
        if not config.exists():
            raise NotFoundError(
                f'the nodes of cluster "{name}" were never reached',
                hint=f"ohmykube up --name {name}",
                id="OMK-V-680",
            )
        nodes = Nodes(machines=machines, ssh_config=config, slowdown=ctx.slowdown)

        def keep(node: str) -> None:
            shell = nodes.shell(node)
            copy_files.from_node(shell, f"{RESULTS}/.", str(target), services.sudo_user)

        asked = Asked(image=image, focus=options.focus, skip=options.skip)
        progress = run_conformance(ctx, nodes, cluster_api(cluster, nodes), asked, keep)
    passed, failed = progress.totals or (0, 0)
    titles = progress.failed or (f"{failed} specs",) * bool(failed)
    return ConformanceResult(
        cluster=name, image=image, passed=passed, failed=titles, results=target
    )


def must_have_passed(result: ConformanceResult) -> None:
    """Return if no spec has failed.

    Raises:
        ClusterError: some have; it names them.
    """
    if result.failed:
        named = [*result.failed[:MOST_NAMED]]
        if len(result.failed) > len(named):
            named.append(f"and {len(result.failed) - len(named)} more")
        raise ClusterError(
            f'cluster "{result.cluster}" does not pass the conformance tests',
            why="\n".join(named),
            hint=f"less {shell.word(result.results / 'e2e.log')}",
            id="OMK-K-684",
        )
