"""The command line with workflows that touch nothing: run it as a program, or import its parts.

The environment says what it plays: ``FAKE_CLUSTERS`` (names, comma-separated), ``FAKE_UP`` (a
method below without ``_up_``), ``FAKE_SPEED`` (seconds for each beat of the demo).
"""

from __future__ import annotations

import os
import sys
import threading
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ohmykube.errors import NodeError, NotFoundError
from ohmykube.kit import process
from ohmykube.kit.retry import SystemClock
from ohmykube.model import change
from ohmykube.model.cluster import Role
from ohmykube.planning import consent, refusal
from ohmykube.progress import (
    ItemProgress,
    Message,
    NodeProgress,
    Status,
    StepEnded,
    StepStarted,
)
from ohmykube.providers.base import Check, CheckStatus
from ohmykube.steps.copy_files import Copied

if TYPE_CHECKING:
    from collections.abc import Callable

    from ohmykube.workflows.conformance import ConformanceResult
    from ohmykube.workflows.doctor import DoctorReport
    from ohmykube.workflows.down import DownResult
    from ohmykube.workflows.power import PowerResult
    from ohmykube.workflows.status import ClusterStatus, ClusterSummary, NodeStatus
    from ohmykube.workflows.up_values import UpResult
    from tests.data.cli.fake_mirror import FakeMirror
    from tests.data.cli.fake_templates import FakeTemplates

PLAN = change.Plan(
    changes=(
        change.CreateNode(node="dev-worker-1", role=Role.WORKER),
        change.StartNode(node="dev-worker-2"),
        change.ReconfigureNode(
            node="dev-worker-2", field="spec.nodes.workers.memory", old="4096MiB", new="2048MiB"
        ),
        change.ConfigureNode(node="dev-worker-1", reasons=("/etc/a is gone", "b", "c", "d")),
        change.DeleteNode(node="dev-worker-3", role=Role.WORKER, reason="nobody wants it"),
        change.UpdateSetting(field="spec.artifacts.mirror", old=None, new="/srv/mirror"),
    ),
)
REFUSED = change.Plan(
    refusals=(
        change.Refuse(
            field="spec.network.podCIDR",
            old="10.244.0.0/16",
            new="10.1.0.0/16",
            why="it is fixed when the cluster is made",
            way_out="`ohmykube down dev` removes this",
        ),
    )
)
NODES = ("dev-control-plane-1", "dev-worker-1", "dev-worker-2")
KUBECONFIG = "apiVersion: v1\nkind: Config\nclusters: []\n"


def node(name: str, *, ready: bool = True, machine: str = "running") -> NodeStatus:
    """Make the status of one node."""

    from ohmykube.workflows.status import NodeStatus

    return NodeStatus(
        name=name,
        role="control-plane" if "control" in name else "worker",
        machine=machine,
        address="10.88.0.11",
        ready=ready,
        version="v1.36.3",
        detail="" if ready else "KubeletNotReady",
    )


def script(emit, beat) -> None:
    """Play an ``up`` of three nodes; ``beat(n)`` waits n beats."""

    def step(name: str, title: str, expect: float | None = None) -> None:
        emit(StepStarted(step=name, title=title, expect_seconds=expect))

    def end(name: str, title: str, seconds: float, detail: str = "") -> None:
        emit(StepEnded(step=name, title=title, status=Status.OK, seconds=seconds, detail=detail))

    step("preflight", "Check this host")
    beat(1)
    end("preflight", "Check this host", 0.4)
    step("plan", "Compare with what is there")
    end("plan", "Compare with what is there", 0.1, "3 nodes to create")
    step("resolve", "Find artifacts", 60)
    step("create", "Create nodes", 10)
    for count, item in enumerate(
        ("etcd", "kubelet", "kubeadm", "coredns", "pause", "flannel", "cni")
    ):
        emit(ItemProgress(item=item, activity="building"))
        if count < 3:
            emit(NodeProgress(node=NODES[count], activity="starting"))
        beat(1)
    emit(Message(text="registry.k8s.io cannot be reached; building instead", level="warning"))
    emit(Message(text="TASK [containerd : Install]", level="debug"))
    emit(NodeProgress(node=NODES[0], activity="waiting for ssh"))
    beat(2)
    for name in NODES:
        emit(NodeProgress(node=name, activity="started", status=Status.OK))
    end("create", "Create nodes", 3.2, "3 created")
    for item, size in (("etcd", 30_000_000), ("kubelet", 60_000_000), ("kubeadm", None)):
        emit(ItemProgress(item=item, activity="packing", done=20_000_000, total=size, unit="bytes"))
        beat(1)
        emit(ItemProgress(item=item, activity="packed", status=Status.OK))
    end("resolve", "Find artifacts", 72.0, "14 from cache, 7 built")
    emit(
        StepEnded(
            step="serve", title="Serve", status=Status.SKIPPED, seconds=0.0, detail="not needed"
        )
    )
    step("playbook", "Configure the nodes", 25)
    for activity in ("containerd: install", "kubeadm: join", "flannel: apply"):
        for name in NODES:
            emit(NodeProgress(node=name, activity=activity))
        beat(2)
    for name in NODES:
        emit(NodeProgress(node=name, activity="configured", status=Status.OK))
    end("playbook", "Configure the nodes", 24.6)


class FakeWorkflows:
    """Answers like the product would, from memory; imports late, as the product does."""

    def __init__(self, clusters: tuple[str, ...] = ("dev",), up: str = "quiet") -> None:
        self.clusters = clusters
        self.play = up
        self.calls: list[tuple] = []
        self._rooms: dict[str, Any] = {}
        self.changed = True
        self.plan = PLAN
        self.deletes = False
        self.report = (Check(id="root", title="root", status=CheckStatus.OK, evidence="yes"),)
        self.kubeconfig_file: Path | None = None

    def bind(self, workflow: Callable[..., Any]) -> Callable[..., Any]:
        """Return the method that answers for a function of ``ohmykube.workflows``."""
        module = workflow.__module__.removeprefix("ohmykube.workflows.")
        if module not in self._rooms:
            self._rooms[module] = self._room(module)
        return getattr(self._rooms[module], workflow.__name__)

    def _room(self, module: str) -> Any:
        """Return what answers for a module of workflows: most often this object itself."""
        found: Any = self
        if module == "addons":
            from ohmykube.workflows import addons

            found = addons  # asks nobody, and changes nothing
        elif module == "bundle":
            from tests.data.cli.fake_bundles import FakeBundles

            found = FakeBundles(self.calls)
        elif module == "cache":
            from tests.data.cli.fake_cache import StockedCache

            found = StockedCache()
        elif module == "expose":
            from tests.data.cli.fake_exposure import FakeExposure

            found = FakeExposure(self.calls)
        elif module == "images":
            from tests.data.cli.fake_images import FakeImages

            found = FakeImages(self.calls)
        elif module == "names":
            found = SimpleNamespace(
                clusters=lambda _: self.clusters,
                nodes=lambda _, cluster: NODES if cluster in self.clusters else (),
            )
        elif module in ("serve", "templates"):
            found = self.mirror if module == "serve" else self.template
        return found

    @cached_property
    def mirror(self) -> FakeMirror:
        from tests.data.cli.fake_mirror import FakeMirror

        return FakeMirror()

    @cached_property
    def template(self) -> FakeTemplates:
        from tests.data.cli.fake_templates import FakeTemplates

        return FakeTemplates()

    def up(self, services, cluster, options) -> UpResult:
        from ohmykube.workflows.up_values import UpResult

        self.calls.append(("up", cluster, options))
        if self.deletes:
            consent.check(cluster.name, self.plan, options.may_delete)
        if not options.plan_only:
            if self.plan.refusals:
                raise refusal.error(cluster.name, self.plan)
            getattr(self, f"_up_{self.play}")(services)
        return UpResult(
            cluster=cluster.name,
            changed=self.changed and not options.plan_only,
            nodes=tuple(node(name) for name in NODES),
            kubeconfig=None if options.plan_only else Path("/state/dev/kubeconfig"),
            context="ohmykube-dev",
            seconds=41.3,
            plan=self.plan,
            kubectl="kubectl",
        )

    def _up_quiet(self, services) -> None:
        pass

    def _up_demo(self, services) -> None:
        speed = float(os.environ.get("FAKE_SPEED", "0"))
        clock = SystemClock()
        script(services.reporter.emit, lambda beats: clock.sleep(beats * speed))

    def _up_hang(self, services) -> None:
        services.reporter.emit(StepStarted(step="slow", title="Something slow"))
        SystemClock().sleep(300)

    def _up_deaf(self, services) -> None:
        services.reporter.emit(StepStarted(step="deaf", title="Something deaf"))
        process.run(["sh", "-c", "echo $$ > $FAKE_PID"], timeout=10, env=dict(os.environ))
        threading.Event().wait(300)

    def _up_child(self, services) -> None:
        services.reporter.emit(StepStarted(step="child", title="A child"))
        companion = process.Companion(["sleep", "300"], Path(os.environ["FAKE_PID"] + ".log"))
        Path(os.environ["FAKE_PID"]).write_text(str(companion.pid))
        threading.Event().wait(300)

    def _up_detached(self, services) -> None:
        companion = process.Companion(["sleep", "300"], Path(os.environ["FAKE_PID"] + ".log"))
        detached = process.detach(["sleep", "300"], Path(os.environ["FAKE_PID"] + ".log"))
        Path(os.environ["FAKE_PID"]).write_text(f"{companion.pid} {detached}")
        services.reporter.emit(StepStarted(step="detached", title="Two children"))
        threading.Event().wait(300)

    def _up_node_error(self, services) -> None:
        raise NodeError(
            "kubeadm join failed on dev-worker-1",
            why="\n".join(f"line {n} of what kubeadm said" for n in range(40)),
            hint="ohmykube up",
        )

    def _up_bug(self, services) -> None:
        raise KeyError("secret of the machine room")

    def down(self, services, name, *, forget_unreachable) -> DownResult:
        from ohmykube.workflows.down import DownResult

        self.calls.append(("down", name, forget_unreachable))
        existed = name in self.clusters
        return DownResult(cluster=name, removed=NODES if existed else (), existed=existed)

    def exists(self, services, name) -> bool:
        return name in self.clusters

    def status(self, services, name) -> ClusterStatus:
        from ohmykube.workflows.status import ClusterStatus

        self.calls.append(("status", name))
        if name not in self.clusters:
            raise NotFoundError(f'no cluster "{name}"', why=f"clusters: {', '.join(self.clusters)}")
        return ClusterStatus(
            name=name,
            provider="nspawn",
            kubernetes_version="1.36.3",
            health="degraded",
            nodes=(node(NODES[0]), node(NODES[1], ready=False), node(NODES[2], machine="stopped")),
            kubeconfig=Path("/state/dev/kubeconfig"),
        )

    def list_clusters(self, services) -> tuple[ClusterSummary, ...]:
        from ohmykube.workflows.status import ClusterSummary

        return tuple(
            ClusterSummary(
                name=name, provider="nspawn", kubernetes_version="1.36.3", nodes=3, running=3
            )
            for name in self.clusters
        )

    def start(self, services, name) -> PowerResult:
        from ohmykube.workflows.power import PowerResult

        self.calls.append(("start", name))
        return PowerResult(cluster=name, nodes=NODES)

    def stop(self, services, name) -> PowerResult:
        from ohmykube.workflows.power import PowerResult

        self.calls.append(("stop", name))
        return PowerResult(cluster=name, nodes=NODES)

    def kubeconfig(self, services, name) -> Path:
        return self.kubeconfig_file or Path(os.environ["FAKE_KUBECONFIG"])

    def check_description(self, services, described):
        self.calls.append(("check_description", described))
        described.refuse()
        return described.cluster

    def merge(self, services, name, target) -> None:
        from ohmykube.kube import kubeconfig_file

        kubeconfig_file.merge(self.kubeconfig(services, name), target)

    def copy(self, services, name, source, target) -> Copied:
        self.calls.append(("cp", name, source, target))
        return Copied(count=int(source.path.count("x")), skipped=[*source.path.partition("!")[2]])

    def conformance(self, services, name, options) -> ConformanceResult:
        from ohmykube.workflows.conformance import ConformanceResult

        self.calls.append(("conformance", name, options))
        failed = tuple(f"[sig-network] {number}" for number in range(int(options.skip or 0)))
        return ConformanceResult(
            cluster=name, image="i", passed=1, failed=failed, results=Path("/results")
        )

    def shell_argv(self, services, name, node, command) -> tuple[str, ...]:
        self.calls.append(("shell", name, node, tuple(command)))
        return tuple(command) or ("true",)

    def doctor(self, services, provider, *, fix) -> DoctorReport:
        from ohmykube.workflows.doctor import DoctorReport

        self.calls.append(("doctor", provider, fix))
        return DoctorReport(checks=self.report, fixed=("git",) if fix else ())


def main() -> int:
    """Run the command line on the fakes."""
    from ohmykube.cli._run import run

    names = tuple(name for name in os.environ.get("FAKE_CLUSTERS", "dev").split(",") if name)
    fakes = FakeWorkflows(names, os.environ.get("FAKE_UP", "quiet"))
    return run(sys.argv[1:], bind=fakes.bind)


if __name__ == "__main__":
    raise SystemExit(main())
