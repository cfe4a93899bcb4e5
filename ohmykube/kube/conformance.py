"""Upstream's conformance tests as a pod, and what their output says.

The image is upstream's (test/conformance/image of k8s.io/kubernetes): a runner that starts ginkgo
with the end-to-end tests, configured by variables, which leaves its results in a directory.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

NAMESPACE, POD = "ohmykube-conformance", "conformance"
BINDING = NAMESPACE
"""Of the cluster role that the tests need, and that goes with the namespace."""
IMAGE = "registry.k8s.io/conformance:v{version}"
FOCUS = r"\[Conformance\]"
"""Of the specs that every cluster must pass."""
RESULTS = "/var/lib/ohmykube-conformance"
"""On the node that runs the pod: a pod's own directories go with it."""
_MOUNTED = "/results"
"""Where the pod sees it."""
NAMESPACES_OF_TESTS = "e2e-framework"
"""Label of the namespaces that the tests make (test/e2e/framework of k8s.io/kubernetes)."""
# The form of ginkgo's reporter (reporters/default_reporter.go) with -v and without colors.
_PLANNED = re.compile(r"^Will run (\d+) of \d+ specs")
_TITLE = re.compile(r"^(\[sig-[a-z-]+\] .+?)( \[[^\[\]]+, [^\[\]]+\])?$")
"""Of a spec, without the labels that ginkgo repeats behind it."""
_RESULT = re.compile(r"^•(?: \[([A-Z ]+)\])? \[[\d.]+ seconds\]")
_SUMMARY = re.compile(r"(\d+) Passed \| (\d+) Failed \|")
_DELIMITER = "-" * 30


def manifest(image: str, focus: str, skip: str) -> str:
    """Return the namespace, the rights and the pod, as JSON.

    Args:
        image: of the tests.
        focus: regular expression of Go: which specs are run.
        skip: which of these are not.
    """
    labels = {"pod-security.kubernetes.io/enforce": "privileged"}
    variables = {
        "E2E_FOCUS": focus,
        "E2E_SKIP": skip,
        "E2E_PROVIDER": "skeleton",
        # Each spec is told when it begins.
        "E2E_EXTRA_GINKGO_ARGS": "-v",
        "RESULTS_DIR": _MOUNTED,
    }
    items = [
        _object("v1", "Namespace", {"name": NAMESPACE, "labels": labels}),
        _object("v1", "ServiceAccount", {"name": POD, "namespace": NAMESPACE}),
        _object(
            "rbac.authorization.k8s.io/v1",
            "ClusterRoleBinding",
            {"name": BINDING},
            roleRef={
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "ClusterRole",
                "name": "cluster-admin",
            },
            subjects=[{"kind": "ServiceAccount", "name": POD, "namespace": NAMESPACE}],
        ),
        _object("v1", "Pod", {"name": POD, "namespace": NAMESPACE}, spec=_pod(image, variables)),
    ]
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})


def _object(version: str, kind: str, metadata: Mapping[str, Any], **rest: Any) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **rest}


def _pod(image: str, variables: Mapping[str, str]) -> dict[str, Any]:
    control_plane = {"key": "node-role.kubernetes.io/control-plane", "operator": "Exists"}
    return {
        "restartPolicy": "Never",
        "serviceAccountName": POD,
        # Tests taint nodes, and drain those without a control plane.
        "tolerations": [{"operator": "Exists"}],
        "affinity": {
            "nodeAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [
                    {"weight": 1, "preference": {"matchExpressions": [control_plane]}}
                ]
            }
        },
        "containers": [
            {
                "name": POD,
                "image": image,
                "imagePullPolicy": "IfNotPresent",
                "env": [{"name": name, "value": value} for name, value in variables.items()],
                "volumeMounts": [{"name": "results", "mountPath": _MOUNTED}],
            }
        ],
        "volumes": [
            {"name": "results", "hostPath": {"path": RESULTS, "type": "DirectoryOrCreate"}}
        ],
    }


@dataclass(frozen=True, slots=True)
class Spec:
    """A spec that has ended."""

    title: str
    passed: bool


@dataclass(slots=True)
class Progress:
    """How far the tests are, by the lines of their output."""

    planned: int | None = None
    """How many specs are run; None until that is known."""
    ended: list[Spec] = field(default_factory=list)
    running: str = ""
    """Title of the spec that runs; empty between two."""
    totals: tuple[int, int] | None = None
    """Specs passed and failed, as the summary at the end has them."""
    _delimited: bool = False

    @property
    def failed(self) -> tuple[str, ...]:
        """Return the titles of the specs that failed."""
        return tuple(spec.title for spec in self.ended if not spec.passed)

    def take(self, lines: Iterable[str]) -> tuple[Spec, ...]:
        """Read further lines; return the specs that have ended in them."""
        before = len(self.ended)
        for line in lines:
            self._take(line)
        return tuple(self.ended[before:])

    def _take(self, line: str) -> None:
        if self._delimited and (found := _TITLE.match(line)):
            self.running = found[1]
        elif found := _RESULT.match(line):
            if self.running:
                self.ended.append(Spec(self.running, found[1] is None))
            self.running = ""
        elif found := _PLANNED.match(line):
            self.planned = int(found[1])
        elif found := _SUMMARY.search(line):
            self.totals = int(found[1]), int(found[2])
        self._delimited = line == _DELIMITER


def cannot_start(pod: Mapping[str, Any]) -> str:
    """Return why a pod's container will not start without help; empty while it may."""
    for status in pod.get("status", {}).get("containerStatuses", []):
        waiting = status.get("state", {}).get("waiting", {})
        if waiting.get("reason") in ("ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"):
            return str(waiting.get("message") or waiting["reason"])
    return ""
