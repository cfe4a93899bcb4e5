"""The conformance tests run as a pod, and leave nothing behind, however they end."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest
from made_run import cluster_of, made_run

from ohmykube.errors import ClusterError, Interrupted, NodeError, NotFoundError
from ohmykube.kit import interrupt
from ohmykube.kube import conformance
from ohmykube.kube.api import ClusterApi
from ohmykube.progress import ItemProgress, Status
from ohmykube.steps import run_conformance as step
from ohmykube.steps.run_conformance import Asked, run_conformance
from tests.fake_clock import FakeClock
from tests.unit.kube.test_kube_conformance import OUTPUT, RESOLVES, SERVES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ohmykube.kube.conformance import Progress

ASKED = Asked(image="registry/image:1", focus="f", skip="")
CLEANED = {f"namespace/{conformance.NAMESPACE}", f"clusterrolebinding/{conformance.BINDING}"}
NONE_RUN = ["Will run 0 of 9 specs", "SUCCESS! -- 0 Passed | 0 Failed | 0 Pending | 9 Skipped"]


@dataclass
class Cluster:
    """A control plane that plays the tests: some lines more each time that they are read."""

    output: Sequence[str] = tuple(OUTPUT)
    lines_at_once: int = 5
    pending: int = 0
    """How often the pod is looked at before it runs."""
    waiting: dict[str, str] = field(default_factory=dict)
    deaf: list[bool] = field(default_factory=list)
    """Of each further question whether no answer comes."""
    gone: bool = False
    objects: list[dict[str, Any]] = field(default_factory=list)
    removed: set[str] = field(default_factory=set)
    emptied: list[str] = field(default_factory=list)
    """Nodes whose results were removed."""
    written: int = 0
    stopped: list[bool] = field(default_factory=list)
    """Whether the stop that was asked for could be seen while things were removed."""

    def __call__(self, argv: Sequence[str], stdin: str = "", timeout: float = 30) -> str:
        words = [word for word in argv if not word.startswith("--")]
        if self.deaf and self.deaf.pop(0):
            raise NodeError("`kubectl` failed", why="connection refused")
        if "logs" in words:
            since = next((w for w in argv if w.startswith("--since-time=")), "=").split("=")[1]
            self.written += self.lines_at_once
            stamped = [f"{n:06d} {line}" for n, line in enumerate(self.output[: self.written])]
            return "\n".join(line for line in stamped if line >= since)
        if "apply" in words:
            self.objects = json.loads(stdin)["items"]
        elif "get" in words and "pod" in words:
            return self._pod()
        elif "delete" in words:
            self.stopped.append(interrupt.requested.is_set())
            self.removed |= {word for word in words if "/" in word[1:] and word[0] != "/"}
            self.removed |= {word for word in argv if word.startswith("--selector")}
        return ""

    def _pod(self) -> str:
        if self.gone:
            return ""
        self.pending -= 1
        phase = "Running" if self.written < len(self.output) else "Failed"
        status: dict[str, Any] = {"phase": "Pending" if self.pending >= 0 else phase}
        if self.waiting:
            status |= {"phase": "Pending"}
            status |= {"containerStatuses": [{"state": {"waiting": self.waiting}}]}
        return json.dumps({"spec": {"nodeName": "w1"}, "status": status})

    @property
    def machines(self) -> dict[str, None]:
        """As of nodes."""
        return {"cp1": None, "w1": None}

    def shell(self, node: str) -> Callable[[Sequence[str]], str]:
        """Return a shell of a node; one of them is down."""

        def run(argv: Sequence[str]) -> str:
            if node == "cp1":
                raise NodeError("it is down")
            assert argv == ["rm", "-rf", "--", conformance.RESULTS]
            self.emptied.append(node)
            return ""

        return run


def run(
    cluster: Cluster, tmp_path: Path, clock: FakeClock | None = None
) -> tuple[Progress, list[str], tuple[ItemProgress, ...]]:
    """Return what came of it, the nodes whose results were kept, and what was told."""
    kept: list[str] = []
    ctx, _ = made_run(tmp_path, cluster_of(["cp1"], ["w1"]), clock=clock or FakeClock())
    api = ClusterApi("dev", {"cp1": cluster})

    def keep(node: str) -> None:
        assert not cluster.emptied
        kept.append(node)

    found = run_conformance(ctx, cluster, api, ASKED, keep)  # type: ignore[arg-type]  # as nodes
    return found, kept, ctx.services.reporter.of(ItemProgress)  # type: ignore[attr-defined]


@pytest.mark.parametrize("lines", [1, 5, 1000])
@pytest.mark.parametrize("pending", [0, 3])
def test_all_is_read_told_kept_and_removed(tmp_path: Path, lines: int, pending: int) -> None:
    cluster = Cluster(lines_at_once=lines, pending=pending)
    progress, kept, told = run(cluster, tmp_path)
    assert (progress.planned, progress.totals, len(progress.ended)) == (3, (1, 2), 3)
    assert kept == cluster.emptied == ["w1"]
    ends = {one.item: one.status for one in told if one.status is not None}
    assert (ends[SERVES], ends[RESOLVES]) == (Status.OK, Status.FAILED)
    assert cluster.removed == CLEANED
    assert {one["kind"] for one in cluster.objects} >= {"Namespace", "Pod"}


@pytest.mark.parametrize(
    ("cluster", "error"),
    [
        (Cluster(waiting={"reason": "ImagePullBackOff", "message": "no route"}), "OMK-K-680"),
        (Cluster(pending=10**6), "OMK-K-680"),
        (Cluster(gone=True), "OMK-K-681"),
        (Cluster(output=OUTPUT[:20]), "OMK-K-682"),
        (Cluster(output=NONE_RUN), "OMK-K-683"),
    ],
    ids=["no image", "never scheduled", "deleted", "ended early", "nothing asked for"],
)
def test_what_ends_the_tests_early_is_named_and_nothing_is_left(
    tmp_path: Path, cluster: Cluster, error: str
) -> None:
    with pytest.raises((ClusterError, NotFoundError)) as raised:
        run(replace(cluster), tmp_path)
    assert raised.value.id == error
    assert cluster.removed >= CLEANED


def test_an_api_server_that_restarts_is_waited_for(tmp_path: Path) -> None:
    """Tests do such things; but not for ever."""
    quiet = [False] * 2  # the first words of a run
    cluster = Cluster(deaf=[*quiet, *([True] * 20)])
    progress, *_ = run(cluster, tmp_path)
    assert progress.totals == (1, 2)
    clock, dead = FakeClock(), Cluster(deaf=[*quiet, *([True] * 10**4)])
    with pytest.raises(ClusterError, match="no control plane"):
        run(dead, tmp_path, clock)
    assert step.SILENT_SECONDS < clock.time < 2 * step.SILENT_SECONDS


def test_a_stop_removes_what_the_tests_themselves_made(tmp_path: Path) -> None:
    """And is no hindrance to that."""

    def stop() -> None:
        interrupt.requested.set()
        raise interrupt.interrupted()

    cluster = Cluster(pending=10**6)
    try:
        with pytest.raises(Interrupted):
            run(cluster, tmp_path, FakeClock(meanwhile=stop))
        assert interrupt.requested.is_set()
    finally:
        interrupt.requested.clear()
    tests = f"--selector={conformance.NAMESPACES_OF_TESTS}"
    assert cluster.removed == CLEANED | {tests}
    assert cluster.emptied == ["w1"]
    assert not any(cluster.stopped)
