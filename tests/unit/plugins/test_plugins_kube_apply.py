"""What kube_apply knows beyond kubectl: order, releases, and why a workload does not come."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.ohmykube.cluster.plugins.module_utils import releases, rollouts

if TYPE_CHECKING:
    from .conftest import FakeNode, RunModule

pytestmark = pytest.mark.linux

# An API as files: one for each object, and what is complained of once for each line of a file.
KUBECTL = r"""
while case "$1" in --*) true ;; *) false ;; esac do shift 2; done
verb=$1; what=$2
case "$verb $what" in
"diff "*) cat >$NOTES/manifest; echo "+ replicas: 2"; exit 1 ;;
"apply "*)
  cat >$NOTES/applied.$$; grep -q '"ConfigMap"' $NOTES/applied.$$ && {
    cp $NOTES/applied.$$ $NOTES/release.json; rm $NOTES/applied.$$; exit 0; }
  cat $NOTES/said 2>/dev/null
  [ -s $NOTES/complaints ] || exit 0
  head -n 1 $NOTES/complaints | tr '|' '\n' >&2
  sed -i 1d $NOTES/complaints; exit 1 ;;
"get configmap") cat $NOTES/release.json 2>/dev/null ;;
"get "*)
  case "$what" in
  --*)
    cat >$NOTES/asked
    grep -q '"List"' $NOTES/asked && { cat $NOTES/dropped; exit 0; }
    cat $NOTES/there 2>/dev/null
    [ -s $NOTES/unknown ] && { cat $NOTES/unknown >&2; exit 1; } ;;
  pods) cat $NOTES/pods.json ;;
  *) cat $NOTES/workload.json ;;
  esac ;;
"delete configmap") rm -f $NOTES/release.json ;;
"delete "*)
  cat >$NOTES/deleted; echo "x deleted"
  [ -s $NOTES/unknown ] && { cat $NOTES/unknown >&2; exit 1; } ;;
"rollout "*)
  [ -e $NOTES/ready ] && exit 0
  echo 'error: timed out waiting for the condition' >&2; exit 1 ;;
"wait "*)
  [ -e $NOTES/answers ] && exit 0
  echo 'error: timed out waiting for the condition' >&2; exit 1 ;;
esac
exit 0
"""
NO_KIND = (
    'error: resource mapping not found for name: "x" namespace: "" from "STDIN": no matches for '
    'kind "X" in version "example.com/v1"|ensure CRDs are installed first'
)
NO_NAMESPACE = 'Error from server (NotFound): namespaces "apps" not found'
NO_WEBHOOK = (
    'Error from server (InternalError): Internal error occurred: failed calling webhook "v.x": '
    "connection refused"
)
DEFINITION = "customresourcedefinition.apiextensions.k8s.io/xs.example.com serverside-applied\n"


@pytest.fixture
def plane(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> tuple[FakeNode, dict[str, str], list[float]]:
    """Give a control plane, what the module is told, and how long it waited."""
    node.program("kubectl", KUBECTL)
    waited: list[float] = []
    sleep = time.sleep

    def wait(seconds: float) -> None:
        if seconds < 0.5:
            sleep(seconds)  # subprocess waits like that
        else:
            waited.append(seconds)

    monkeypatch.setattr(time, "sleep", wait)
    config = str(node.write("etc/kubernetes/admin.conf"))
    return node, {"manifest": "kind: X\n", "kubeconfig": config}, waited


def item(kind: str, name: str, version: str = "v1", namespace: str = "apps") -> dict[str, Any]:
    place = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": version, "kind": kind, "metadata": place}


def listed(*items: dict[str, Any]) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})


@pytest.mark.parametrize(
    ("said", "complaints"),
    [
        (DEFINITION, [NO_KIND]),
        (DEFINITION, [NO_KIND, NO_KIND]),
        ("namespace/apps serverside-applied\n", [NO_NAMESPACE]),
        ("deployment.apps/hook serverside-applied\n", [NO_WEBHOOK, NO_WEBHOOK, NO_WEBHOOK]),
        (DEFINITION + "namespace/apps serverside-applied\n", [f"{NO_KIND}|{NO_NAMESPACE}"]),
        (DEFINITION, [f"Warning: old|{NO_KIND}"]),
    ],
)
def test_what_waits_for_a_part_of_its_manifest_is_applied_after_it(
    run_module: RunModule,
    plane: tuple[FakeNode, dict[str, str], list[float]],
    said: str,
    complaints: list[str],
) -> None:
    node, params, waited = plane
    (node.notes / "said").write_text(said)
    (node.notes / "complaints").write_text("".join(f"{line}\n" for line in complaints))
    result = run_module("kube_apply", **params)
    assert result["applied"] == said.splitlines()
    assert len(waited) == len(complaints)


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ("", NO_KIND),  # nobody makes that kind
        ("", NO_NAMESPACE),
        (DEFINITION, "error: the server is down"),
        (DEFINITION, f"{NO_KIND}|error: the server is down"),
        (DEFINITION, ""),
    ],
)
def test_what_nothing_of_the_manifest_brings_fails_at_once(
    run_module: RunModule,
    plane: tuple[FakeNode, dict[str, str], list[float]],
    said: str,
    complaint: str,
) -> None:
    node, params, waited = plane
    (node.notes / "said").write_text(said)
    (node.notes / "complaints").write_text(f"{complaint}\n")
    assert "kubectl apply failed" in run_module("kube_apply", fails=True, **params)["msg"]
    assert waited == []


def test_what_does_not_come_fails_after_its_time(
    run_module: RunModule, plane: tuple[FakeNode, dict[str, str], list[float]]
) -> None:
    node, params, waited = plane
    (node.notes / "said").write_text(DEFINITION)
    (node.notes / "complaints").write_text(f"{NO_KIND}\n" * 9)
    told = run_module("kube_apply", timeout=5, fails=True, **params)
    assert "ensure CRDs are installed first" in told["msg"]
    assert sum(waited) == 5


def test_what_a_release_has_no_more_is_deleted(
    run_module: RunModule, plane: tuple[FakeNode, dict[str, str], list[float]]
) -> None:
    """Not what others may have something in, nor an object whose API has another version now."""
    node, params, _ = plane
    former = [
        item("Deployment", "web", "apps/v1"),
        item("Service", "old"),
        item("Ingress", "way", "networking.k8s.io/v1beta1"),
        item("Namespace", "apps", namespace=""),
        item("PersistentVolumeClaim", "data"),
        item("CustomResourceDefinition", "xs", "apiextensions.k8s.io/v1", ""),
    ]
    (node.notes / "there").write_text(listed(*former))
    run_module("kube_apply", release="app", **params)
    written = json.loads((node.notes / "release.json").read_text())
    assert written["metadata"] == {"name": "ohmykube-release-app", "namespace": "kube-system"}
    assert len(json.loads(written["data"]["objects"])) == len(former)

    now = [former[0], item("Ingress", "way", "networking.k8s.io/v1")]
    (node.notes / "there").write_text(listed(*now))
    (node.notes / "dropped").write_text(listed(former[1]))
    told = run_module("kube_apply", release="app", check=True, **params)
    assert told["changed"] is True
    assert "- Service apps/old" in told["diff"]["prepared"]
    assert not (node.notes / "deleted").exists()
    assert run_module("kube_apply", release="app", **params)["changed"] is True
    deleted = json.loads((node.notes / "deleted").read_text())["items"]
    assert [one["metadata"]["name"] for one in deleted] == ["old"]
    kept = json.loads(json.loads((node.notes / "release.json").read_text())["data"]["objects"])
    assert [one["kind"] for one in kept] == ["Deployment", "Ingress"]

    run_module("kube_apply", release="app", state="absent", **params)
    assert not (node.notes / "release.json").exists()


def test_only_what_may_go_is_asked_for() -> None:
    """The rule of ``dropped``, seen from what it asks the API."""
    asked: list[str] = []

    class Api:
        def object(self, *_: str) -> dict[str, Any]:
            objects = [item(kind, "x") for kind in ("Service", *releases.KEPT)]
            return {"data": {"objects": json.dumps(objects)}}

        def existing(self, text: str) -> list[dict[str, Any]]:
            asked.append(text)
            found: list[dict[str, Any]] = json.loads(text)["items"]
            return found

    found = releases.Release(Api(), "app").dropped([item("Secret", "x")])
    assert [one["kind"] for one in found] == ["Service"]
    assert releases.Release(Api(), "app").dropped([item("Service", "x", "v2")]) == []
    assert len(asked) == 1, "nothing is asked where nothing went"


@pytest.mark.parametrize("state", ["present", "absent"])
def test_objects_of_kinds_that_are_gone_are_gone(
    run_module: RunModule, plane: tuple[FakeNode, dict[str, str], list[float]], state: str
) -> None:
    node, params, _ = plane
    (node.notes / "there").write_text(listed(item("Namespace", "x", namespace="")))
    (node.notes / "unknown").write_text(NO_KIND.replace("|", "\n"))
    assert run_module("kube_apply", state=state, **params)["changed"] is True
    (node.notes / "unknown").write_text("error: the server is down")
    assert run_module("kube_apply", state=state, fails=True, **params)["failed"] is True


WAITING = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
CRASHED = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ({"containerStatuses": [{"name": "c", "state": WAITING}]}, "ImagePullBackOff: no such ima"),
        (
            {
                "containerStatuses": [
                    {"name": "c", "state": CRASHED, "lastState": {"terminated": {"exitCode": 3}}}
                ]
            },
            "CrashLoopBackOff: back-off, it ended with code 3",
        ),
        (
            {"initContainerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": 1}}}]},
            "container c: it ended with code 1",
        ),
        (
            {
                "conditions": [
                    {"type": "PodScheduled", "status": "False", "message": "0/3 nodes fit"}
                ]
            },
            "pod p: 0/3 nodes fit",
        ),
        (
            {"containerStatuses": [{"name": "c", "state": {"running": {}}, "ready": False}]},
            "runs and is not ready",
        ),
    ],
)
def test_a_rollout_that_never_comes_tells_why(
    run_module: RunModule,
    plane: tuple[FakeNode, dict[str, str], list[float]],
    status: dict[str, Any],
    reason: str,
) -> None:
    node, params, _ = plane
    workload = {"spec": {"selector": {"matchLabels": {"app": "x"}}}}
    (node.notes / "workload.json").write_text(json.dumps(workload))
    pods = [{"metadata": {"name": "p"}, "status": status}]
    (node.notes / "pods.json").write_text(json.dumps({"items": pods}))
    told = run_module("kube_apply", rollouts=["ns/deployment/x"], fails=True, **params)["msg"]
    assert told.startswith("ns/deployment/x is not ready: ")
    assert reason in told


def test_a_workload_that_may_make_no_pods_tells_why() -> None:
    """And one that says nothing has what kubectl said."""
    refused = {"type": "ReplicaFailure", "status": "True", "message": "pods is forbidden"}
    going = {"type": "Progressing", "status": "True", "message": "it goes on"}
    workload = {"status": {"conditions": [going, refused]}}
    assert rollouts.problems(workload, []) == ["pods is forbidden"]
    many = [
        {
            "metadata": {"name": f"p{n}"},
            "status": {"containerStatuses": [{"name": "c", "state": WAITING}]},
        }
        for n in range(9)
    ]
    assert len(rollouts.problems(workload, many)) == 3


def test_what_kubectl_said_is_told_where_nothing_else_is(
    run_module: RunModule, plane: tuple[FakeNode, dict[str, str], list[float]]
) -> None:
    node, params, _ = plane
    (node.notes / "workload.json").write_text("")
    told = run_module("kube_apply", rollouts=["ns/deployment/x"], fails=True, **params)["msg"]
    assert "timed out waiting for the condition" in told


@pytest.mark.parametrize("served", [True, False])
@pytest.mark.parametrize("answers", [True, False])
def test_an_api_that_is_served_answers_before_its_release_is_done(
    run_module: RunModule,
    plane: tuple[FakeNode, dict[str, str], list[float]],
    *,
    served: bool,
    answers: bool,
) -> None:
    """Pods are ready a moment before the API server reaches them."""
    node, params, _ = plane
    service = {"service": {"name": "x", "namespace": "ns"}} if served else {"service": None}
    api = {**item("APIService", "v1.example.com", namespace=""), "spec": service}
    (node.notes / "there").write_text(listed(api))
    why = {"type": "Available", "status": "False", "message": "no endpoints available"}
    (node.notes / "workload.json").write_text(json.dumps({"status": {"conditions": [why]}}))
    (node.notes / "ready").touch()
    if answers:
        (node.notes / "answers").touch()
    wanted = ["ns/deployment/x"]
    failed = served and not answers
    told = run_module("kube_apply", rollouts=wanted, timeout=5, fails=failed, **params)
    if failed:
        assert told["msg"] == "the API v1.example.com does not answer: no endpoints available"
    waits = [call for call in node.calls("kubectl") if "apiservice/v1.example.com" in call]
    assert len([call for call in waits if "--for=condition=Available" in call]) == int(served)
    without = {**params, "rollouts": []}
    assert run_module("kube_apply", **without)["changed"], "nobody wants to wait"
