"""What upstream's conformance tests are told, and what is read from their output."""

from __future__ import annotations

import itertools
import json

import pytest

from ohmykube.kube import conformance
from ohmykube.kube.conformance import Progress, Spec

DASHES = "-" * 30
LABELS = " [sig-network, Conformance]"
# As ginkgo 2.28 writes it with -v and --no-color.
OUTPUT = f"""\
  I0101 00:00:00.000000 1 e2e.go:109] Starting e2e run "x" on Ginkgo node 1
Running Suite: Kubernetes e2e suite - /usr/local/bin
====================================================
Random Seed: 1 - will randomize all specs

Will run 3 of 7412 specs
{DASHES}
[SynchronizedBeforeSuite]
k8s.io/kubernetes/test/e2e/e2e.go:68
[SynchronizedBeforeSuite] PASSED [0.094 seconds]
{DASHES}
SSSSSSSSSS
{DASHES}
[sig-network] Services should serve a basic endpoint from pods [Conformance]{LABELS}
k8s.io/kubernetes/test/e2e/network/service.go:810
  STEP: Creating a kubernetes client @ 01/01/26 00:00:00.000
[sig-cli] is no title here
• [5.054 seconds]
{DASHES}
SSS
{DASHES}
[sig-network] DNS should provide DNS for services [Conformance]
k8s.io/kubernetes/test/e2e/network/dns.go:137
  [FAILED] in [It] - k8s.io/kubernetes/test/e2e/network/dns.go:201 @ 01/01/26 00:00:00.000
• [FAILED] [600.454 seconds]
[sig-network] DNS [It] should provide DNS for services [Conformance]
k8s.io/kubernetes/test/e2e/network/dns.go:137
{DASHES}
[sig-network] Proxy version v1 should proxy through a service [Conformance]{LABELS}
k8s.io/kubernetes/test/e2e/network/proxy.go:1
• [TIMEDOUT] [1.2 seconds]
{DASHES}
Summarizing 2 Failures:
  [FAIL] [sig-network] DNS [It] should provide DNS for services [Conformance]

Ran 3 of 7412 Specs in 615.000 seconds
FAIL! -- 1 Passed | 2 Failed | 0 Pending | 7409 Skipped
--- FAIL: TestE2E (615.00s)
FAIL
""".splitlines()
SERVES = "[sig-network] Services should serve a basic endpoint from pods [Conformance]"
RESOLVES = "[sig-network] DNS should provide DNS for services [Conformance]"
PROXIES = "[sig-network] Proxy version v1 should proxy through a service [Conformance]"
ENDED = [Spec(SERVES, passed=True), Spec(RESOLVES, passed=False), Spec(PROXIES, passed=False)]


@pytest.mark.parametrize("size", [1, 2, 7, len(OUTPUT)])
def test_how_far_the_tests_are(size: int) -> None:
    """However many lines come at once."""
    progress, told = Progress(), []
    for lines in itertools.batched(OUTPUT, size) if hasattr(itertools, "batched") else [OUTPUT]:
        told += progress.take(lines)
    assert told == progress.ended == ENDED
    assert (progress.planned, progress.totals, progress.running) == (3, (1, 2), "")
    assert progress.failed == (RESOLVES, PROXIES)


def test_the_spec_that_runs_is_known() -> None:
    progress = Progress()
    progress.take(OUTPUT[: OUTPUT.index("• [5.054 seconds]")])
    assert (progress.running, progress.ended, progress.totals) == (SERVES, [], None)


def test_a_title_stands_below_a_delimiter_the_first_line_too() -> None:
    progress = Progress()
    progress.take(["[sig-cli] is no title here"])
    assert progress.running == ""


@pytest.mark.parametrize("focus", [conformance.FOCUS, 'a "quoted" $(x) {{y}} é', ""])
def test_the_pod_is_told_what_to_run_as_it_is(focus: str) -> None:
    objects = json.loads(conformance.manifest("registry/image:1", focus, "not this"))["items"]
    (pod,) = [one for one in objects if one["kind"] == "Pod"]
    (container,) = pod["spec"]["containers"]
    told = {one["name"]: one["value"] for one in container["env"]}
    assert (told["E2E_FOCUS"], told["E2E_SKIP"]) == (focus, "not this")
    assert container["image"] == "registry/image:1"
    (mount,) = container["volumeMounts"]
    assert mount["mountPath"] == told["RESULTS_DIR"]
    assert pod["spec"]["volumes"][0]["hostPath"]["path"] == conformance.RESULTS
    (binding,) = [one for one in objects if one["kind"] == "ClusterRoleBinding"]
    (subject,) = binding["subjects"]
    assert subject["name"] == pod["spec"]["serviceAccountName"]
    assert {one["metadata"].get("namespace", conformance.NAMESPACE) for one in objects} == {
        conformance.NAMESPACE
    }


@pytest.mark.parametrize(
    ("waiting", "why"),
    [
        ({"reason": "ContainerCreating"}, ""),
        ({"reason": "ErrImagePull", "message": "once more"}, ""),
        ({"reason": "ImagePullBackOff", "message": "no such host"}, "no such host"),
        ({"reason": "InvalidImageName", "message": "bad"}, "bad"),
        ({"reason": "ErrImageNeverPull"}, "ErrImageNeverPull"),
    ],
)
def test_only_what_does_not_mend_itself_keeps_a_pod_from_starting(
    waiting: dict[str, str], why: str
) -> None:
    pod = {"status": {"containerStatuses": [{"state": {"waiting": waiting}}]}}
    assert conformance.cannot_start(pod) == why
    assert conformance.cannot_start({}) == ""
    assert conformance.cannot_start({"status": {"containerStatuses": [{"state": {}}]}}) == ""
