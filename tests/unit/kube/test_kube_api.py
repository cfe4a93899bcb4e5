"""The API of a cluster, through control planes of which some do not answer."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from ohmykube.errors import ClusterError, NodeError
from ohmykube.kube.api import ALL, ClusterApi

if TYPE_CHECKING:
    from collections.abc import Sequence

REFUSED = "The connection to the server 127.0.0.1:6443 was refused"


@dataclass
class Plane:
    """A control plane: what it answers to the first word of kubectl, and whether it answers."""

    answers: dict[str, str | NodeError] = field(default_factory=dict)
    dead: str = ""
    """Why it does not answer."""
    called: list[list[str]] = field(default_factory=list)
    stdin: str = ""
    limits: list[float] = field(default_factory=list)

    def __call__(self, argv: Sequence[str], stdin: str = "", timeout: float = 30) -> str:
        self.called.append([*argv])
        self.limits.append(timeout)
        self.stdin = stdin
        if self.dead:
            raise NodeError("`kubectl` failed", why=self.dead)
        words = [word for word in argv[1:] if word in self.answers]
        answer = self.answers[words[0]] if words else "ok"
        if isinstance(answer, NodeError):
            raise answer
        return answer


def api(slowdown: int = 1, absent: dict[str, str] | None = None, **planes: Plane) -> ClusterApi:
    return ClusterApi("dev", planes, absent=absent, slowdown=slowdown)


def items(*objects: object) -> str:
    return json.dumps({"items": objects})


def test_the_server_of_the_node_itself_is_asked() -> None:
    """The endpoint of the cluster may lead to the control plane that is gone."""
    cp1 = Plane({"nodes": items({"metadata": {"name": "w1"}})})
    found = api(cp1=cp1).get_all("nodes")
    assert found == [{"metadata": {"name": "w1"}}]
    (argv,) = cp1.called
    assert argv[:3] == ["kubectl", "--kubeconfig", "/etc/kubernetes/admin.conf"]
    assert "--server=https://127.0.0.1:6443" in argv
    assert "--tls-server-name=kubernetes" in argv
    assert "--request-timeout=5s" in argv


def test_one_that_answers_is_asked_once_and_remembered() -> None:
    cp1, cp2 = Plane(dead=REFUSED), Plane({"nodes": items()})
    cluster = api(cp1=cp1, cp2=cp2)
    cluster.get_all("nodes")
    cluster.get_all("nodes")
    assert cluster.control_plane == "cp2"
    assert len(cp1.called) == 2, "its own question, and the one for its health"
    assert [argv[-2] for argv in cp2.called[1:]] == ["nodes", "nodes"]


def test_another_takes_the_place_of_one_that_dies() -> None:
    cp1, cp2 = Plane({"nodes": items()}), Plane({"nodes": items()})
    cluster = api(cp1=cp1, cp2=cp2)
    assert cluster.control_plane == "cp1"
    cp1.dead = "ssh: connect to host cp1 port 22: No route to host"
    assert cluster.get_all("nodes") == []
    assert cluster.control_plane == "cp2"


def test_when_none_answers_each_is_named_with_its_reason() -> None:
    cluster = api(
        absent={"cp3": "its machine is stopped"},
        cp1=Plane(dead=REFUSED),
        cp2=Plane(dead="no route"),
    )
    with pytest.raises(ClusterError, match="no control plane of cluster") as caught:
        cluster.version()
    assert caught.value.id == "OMK-K-260"
    assert caught.value.why == (
        "cp1: its API server does not run\ncp2: no route\ncp3: its machine is stopped"
    )
    assert "ohmykube start dev" in str(caught.value.hint)


def test_without_any_to_ask_the_reasons_are_told() -> None:
    with pytest.raises(ClusterError) as caught:
        api(absent={"cp1": "it has no machine"}).control_plane  # noqa: B018 - a question
    assert caught.value.why == "cp1: it has no machine"


def test_what_an_answering_one_refuses_is_the_answer() -> None:
    refused = NodeError("`kubectl` failed", why="Error from server (Forbidden)")
    cp1, cp2 = Plane({"secrets": refused}), Plane()
    with pytest.raises(NodeError, match="`kubectl` failed"):
        api(cp1=cp1, cp2=cp2).get_all("secrets", namespace=ALL)
    assert not any("secrets" in argv for argv in cp2.called)


def test_health_tells_of_all() -> None:
    found = api(absent={"cp3": "stopped"}, cp1=Plane(dead=REFUSED), cp2=Plane()).health()
    assert found == {"cp1": "its API server does not run", "cp2": "", "cp3": "stopped"}


def test_of_an_api_server_that_is_not_ready_the_failed_checks_are_told() -> None:
    """As kubectl prints the answer: every check on a line, in a string of its own."""
    said = r'an error on the server ("[+]ping ok\n[-]etcd failed: withheld\n[-]hook/x failed: y")'
    cp1 = Plane(dead=f"Error from server (InternalError): {said}")
    assert api(cp1=cp1).health() == {"cp1": "its API server is not ready: etcd, hook/x"}


def test_objects_are_got_by_name_or_not_at_all() -> None:
    cp1 = Plane({"w1": json.dumps({"kind": "Node"}), "w9": "\n"})
    cluster = api(cp1=cp1)
    assert cluster.get("node", "w1") == {"kind": "Node"}
    assert cluster.get("node", "w9") is None
    cluster.get("pod", "w1", namespace="web")
    assert "--namespace=web" in cp1.called[-1]


def test_selectors_and_all_namespaces() -> None:
    cp1 = Plane({"pods": items()})
    api(cp1=cp1).get_all("pods", namespace=ALL, selector="app=web")
    assert cp1.called[-1][-3:] == ["--all-namespaces", "--selector=app=web", "-ojson"]


def test_version() -> None:
    assert api(cp1=Plane({"--raw=/version": '{"gitVersion": "v1.36.3"}'})).version() == "v1.36.3"


def test_apply_sends_the_manifest_by_standard_input() -> None:
    cp1 = Plane({"apply": "namespace/x serverside-applied\n"})
    assert api(cp1=cp1).apply("kind: Namespace") == ("namespace/x serverside-applied",)
    assert cp1.stdin == "kind: Namespace"
    assert {"--server-side", "--field-manager=ohmykube", "--filename=-"} <= {*cp1.called[-1]}


def test_delete_tells_whether_there_was_anything() -> None:
    cp1 = Plane({"delete": "node/w1\n"})
    assert api(cp1=cp1).delete("node", "w1") is True
    assert api(cp1=Plane({"delete": ""})).delete("node", "w1") is False
    assert not any(word.startswith("--request-timeout") for word in cp1.called[-1])


@pytest.mark.parametrize("since", ["", "2026-01-01T00:00:00.5Z"])
def test_the_output_of_a_pod_has_time_stamps(since: str) -> None:
    plane = Plane({"logs": "1 a\n2 b\n"})
    assert api(cp1=plane).logs("pod", "there", since) == ["1 a", "2 b"]
    (argv,) = plane.called
    assert {"--timestamps", "--namespace=there"} < set(argv)
    assert (f"--since-time={since}" in argv) is bool(since)
    assert not [word for word in argv if word.startswith("--request-timeout")]


def test_what_is_removed_is_not_waited_for() -> None:
    plane = Plane()
    api(cp1=plane).remove("namespace/a", "clusterrole/b")
    api(cp1=plane).remove("namespaces", selector="of=them")
    one, many = plane.called
    assert {"namespace/a", "clusterrole/b", "--wait=false", "--ignore-not-found"} < set(one)
    assert {"namespaces", "--selector=of=them", "--wait=false"} < set(many)


def test_what_waits_takes_longer_on_slow_nodes() -> None:
    cp1 = Plane()
    api(6, cp1=cp1).wait("pod", "x", "Ready", namespace="web", seconds=20)
    assert cp1.called[-1][-4:] == [
        "pod/x", "--namespace=web", "--for=condition=Ready", "--timeout=120s"
    ]  # fmt: skip
    assert cp1.limits[-1] > 20, "the shell itself multiplies it"


def test_cordon_and_back() -> None:
    cp1 = Plane()
    cluster = api(cp1=cp1)
    cluster.cordon("w1")
    cluster.uncordon("w1")
    cluster.unlabel("w1", "e.com/a")
    *cordons, unlabel = cp1.called
    assert [argv[-2:] for argv in cordons] == [["cordon", "w1"], ["uncordon", "w1"]]
    assert unlabel[-4:] == ["label", "nodes", "w1", "e.com/a-"]


def test_a_drain_that_is_blocked_names_the_budgets() -> None:
    budget = {
        "metadata": {"namespace": "web", "name": "site"},
        "status": {"disruptionsAllowed": 0, "currentHealthy": 2, "desiredHealthy": 2},
    }
    free = {"metadata": {"namespace": "web", "name": "free"}, "status": {"disruptionsAllowed": 1}}
    blocked = NodeError("`kubectl` failed", why='error when evicting pods/"site-1" -n "web"')
    cp1 = Plane({"drain": blocked, "poddisruptionbudgets": items(budget, free)})
    with pytest.raises(ClusterError, match="w1 could not be drained within 60 s") as caught:
        api(cp1=cp1).drain("w1", seconds=60)
    assert caught.value.id == "OMK-K-261"
    assert str(caught.value.why).splitlines() == [
        "disruption budget web/site allows none: 2 pods are healthy, 2 must be",
        'error when evicting pods/"site-1" -n "web"',
    ]
    assert "kubectl uncordon w1" in str(caught.value.hint)


def test_a_drain() -> None:
    cp1 = Plane()
    api(cp1=cp1).drain("w1", seconds=60)
    assert cp1.called[-1][-4:] == [
        "w1", "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=60s"
    ]  # fmt: skip


def test_another_program_runs_where_the_api_answers() -> None:
    cp1, cp2 = Plane(dead=REFUSED), Plane({"cat": "text"})
    cluster = api(cp1=cp1, cp2=cp2)
    assert cluster.run(["cat", "/etc/kubernetes/admin.conf"], "in") == "ok"
    assert cp2.stdin == "in"
    assert cp2.called[-1] == ["cat", "/etc/kubernetes/admin.conf"]


def test_a_program_that_fails_where_the_api_answers_stays_there() -> None:
    cp1, cp2 = Plane({"-": NodeError("no answer")}), Plane()
    cluster = api(cp1=cp1, cp2=cp2)
    with pytest.raises(NodeError, match="no answer"):
        cluster.run(["python3", "-"])
    assert cluster.control_plane == "cp1"


def test_a_program_runs_elsewhere_when_its_node_has_died() -> None:
    cp1, cp2 = Plane(), Plane()
    cluster = api(cp1=cp1, cp2=cp2)
    assert cluster.control_plane == "cp1"
    cp1.dead = "no route"
    with pytest.raises(NodeError):
        cluster.run(["true"])
    assert cluster.run(["true"]) == "ok"
    assert cluster.control_plane == "cp2"


KLOG = (
    'E1130 08:12:31.123456   1234 memcache.go:265] "Unhandled Error" err="couldn\'t get current '
    'server API group list: Get \\"https://127.0.0.1:6443/api?timeout=30s\\": {}"'
)


@pytest.mark.parametrize(
    ("lines", "meaning"),
    [
        (
            [KLOG.format("dial tcp 127.0.0.1:6443: connect: connection refused")] * 5 + [REFUSED],
            "its API server does not run",
        ),
        (["dial tcp 127.0.0.1:6443: connect: connection refused"], "its API server does not run"),
        (
            ["error: stat /etc/kubernetes/admin.conf: no such file or directory"],
            "Kubernetes is not set up there yet",
        ),
        (["sudo: kubectl: command not found"], "Kubernetes is not set up there yet"),
        (["bash: line 1: kubectl: not found"], "Kubernetes is not set up there yet"),
        (
            [KLOG.format("net/http: TLS handshake timeout"), "Unable to connect"],
            "Unable to connect",
        ),
        (["Unable to connect to the server: dial: i/o timeout"], "its API server is silent"),
        (["ssh: connect to host x port 22: Connection refused", ""], None),
        (["W1130 08:12:31.123456   1234 a.go:1] something odd"], "something odd"),
    ],
)
def test_why_a_control_plane_does_not_answer_is_no_log_of_a_client(lines, meaning) -> None:
    """One line that says what is wrong, in the cluster's words."""
    (found,) = api(cp1=Plane(dead="\n".join(lines))).health().values()
    assert found == (meaning or lines[0])
    assert "memcache.go" not in found
