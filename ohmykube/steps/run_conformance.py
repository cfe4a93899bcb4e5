"""Run upstream's conformance tests in a cluster, and leave nothing of them behind."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ohmykube.errors import ClusterError, NodeError, NotFoundError
from ohmykube.kit import amounts, failures, interrupt
from ohmykube.kube import conformance
from ohmykube.kube.conformance import NAMESPACE, POD, Progress
from ohmykube.progress import ItemProgress, Status
from ohmykube.steps.step import Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ohmykube.kube.api import ClusterApi, Object
    from ohmykube.steps.context import Context
    from ohmykube.steps.nodes import Nodes

RUN_CONFORMANCE = Step("run-conformance", "Run the conformance tests")
POLL_SECONDS = 3.0
START_SECONDS = 1800.0
"""For an image of hundreds of megabytes."""
SILENT_SECONDS = 300.0
"""How long no control plane may answer: some specs restart what runs on nodes."""
_OVER = ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class Asked:
    """What is run."""

    image: str
    focus: str
    skip: str


def run_conformance(
    ctx: Context, nodes: Nodes, api: ClusterApi, asked: Asked, keep: Callable[[str], object]
) -> Progress:
    """Return what the tests said at their end.

    What a run that was killed has left is removed first, and all of this run at its end.

    Args:
        ctx: whose cluster; its lock is held.
        nodes: the way to its nodes.
        api: of the cluster.
        asked: which tests.
        keep: is given the node whose directory ``conformance.RESULTS`` holds the results.

    Raises:
        ClusterError: they did not start, or ended too early; no control plane answered for long.
        NotFoundError: no spec is among those that were asked for.
    """
    with RUN_CONFORMANCE.running(ctx.services) as result:
        api.delete("namespace", NAMESPACE, seconds=120)
        with _removed(api, nodes):
            api.apply(conformance.manifest(asked.image, asked.focus, asked.skip))
            progress, node = _Run(ctx, api, asked.image).to_the_end()
            if node:
                keep(node)
        if progress.totals is None:
            raise ClusterError(
                "the conformance tests ended before their summary",
                why=progress.running and f"during: {progress.running}",
                hint=f"the end of e2e.log in the directory of results; `ohmykube status "
                f"{ctx.cluster.name}` (is the cluster well?)",
                id="OMK-K-682",
            )
        if progress.planned == 0:
            raise NotFoundError(
                "no conformance test is among those that were asked for",
                why=f"focus: {asked.focus}" + (f", skip: {asked.skip}" if asked.skip else ""),
                hint=r"ohmykube conformance --focus '\[sig-network\].*\[Conformance\]'",
                id="OMK-K-683",
            )
        passed, failed = progress.totals
        result.detail = f"{amounts.count(passed, 'spec')} passed, {failed} failed"
    return progress


@contextlib.contextmanager
def _removed(api: ClusterApi, nodes: Nodes) -> Iterator[None]:
    """Remove what the block has made in the cluster and on its nodes, also when it is stopped."""
    stopped = True

    def remove() -> None:
        with interrupt.put_off():
            api.remove(f"namespace/{NAMESPACE}", f"clusterrolebinding/{conformance.BINDING}")
            if stopped:
                api.remove("namespaces", selector=conformance.NAMESPACES_OF_TESTS)
            else:
                api.delete("namespace", NAMESPACE, seconds=120)  # waits until it is gone
            for name in nodes.machines:
                with contextlib.suppress(NodeError):  # one that is down has none of a new run
                    nodes.shell(name)(["rm", "-rf", "--", conformance.RESULTS])

    with failures.closing(remove):
        yield
        stopped = False


class _Run:
    """A pod of tests that was just made."""

    def __init__(self, ctx: Context, api: ClusterApi, image: str) -> None:
        self._ctx = ctx
        self._api = api
        self._image = image
        self._progress = Progress()
        self._since = ""
        """Time stamp of the last line that was read."""

    def to_the_end(self) -> tuple[Progress, str]:
        """Return what the tests said, and the node they ran on."""
        clock = self._ctx.services.clock
        slowdown = self._ctx.slowdown
        begun = heard = clock.now()
        while True:
            try:
                pod = self._api.get("pod", POD, namespace=NAMESPACE)
                phase = self._phase(pod)
                if phase != "Pending":
                    self._read()
                heard = clock.now()
            except NodeError:
                if clock.now() - heard > SILENT_SECONDS * slowdown:
                    raise
                phase = ""
            except ClusterError as error:
                own = error.id in ("OMK-K-680", "OMK-K-681")
                if own or clock.now() - heard > SILENT_SECONDS * slowdown:
                    raise
                phase = ""
            if phase in _OVER and pod is not None:
                return self._progress, str(pod["spec"].get("nodeName", ""))
            if phase == "Pending" and clock.now() - begun > START_SECONDS * slowdown:
                raise self._not_started(f"it is still Pending after {START_SECONDS * slowdown:g} s")
            clock.sleep(POLL_SECONDS)

    def _phase(self, pod: Object | None) -> str:
        if pod is None:
            raise ClusterError(
                f"the pod of the conformance tests is gone: {NAMESPACE}/{POD}",
                why="somebody deleted it, or its node left the cluster",
                hint="the same command again",
                id="OMK-K-681",
            )
        why = conformance.cannot_start(pod)
        if why:
            raise self._not_started(why)
        return str(pod.get("status", {}).get("phase", "Pending"))

    def _not_started(self, why: str) -> ClusterError:
        return ClusterError(
            f"the conformance tests could not be started from {self._image}",
            why=why,
            hint="ohmykube image load FILE  (without internet), then "
            "ohmykube conformance --image NAME",
            id="OMK-K-680",
        )

    def _read(self) -> None:
        """Read the lines that are new, and tell what they say."""
        report = self._ctx.services.reporter.emit
        progress = self._progress
        stamped = [line.partition(" ") for line in self._api.logs(POD, NAMESPACE, self._since)]
        fresh = [(stamp, text) for stamp, _, text in stamped if stamp > self._since]
        if fresh:
            self._since = fresh[-1][0]
        for spec in progress.take(text for _, text in fresh):
            status = Status.OK if spec.passed else Status.FAILED
            report(ItemProgress(item=spec.title, activity="run", status=status))
        report(
            ItemProgress(
                item="specs",
                activity=progress.running or "starting",
                done=len(progress.ended),
                total=progress.planned,
            )
        )
