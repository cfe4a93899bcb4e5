# Copyright: the ohmykube authors
# SPDX-License-Identifier: Apache-2.0
"""Waiting for a workload and for the API that it serves, and why they do not come."""

from __future__ import annotations

from ansible_collections.ohmykube.cluster.plugins.module_utils import programs

_MOST = 3


def wait(kubectl, rollout, seconds):
    """Wait for ``namespace/kind/name``; raises ProgramError with what its pods lack."""
    namespace, _slash, workload = rollout.partition("/")
    argv = ["rollout", "status", workload, "--namespace", namespace, "--timeout=%ds" % seconds]
    try:
        kubectl.run(argv, timeout=seconds + 30)
    except programs.ProgramError as error:
        why = _reasons(kubectl, namespace, workload) or error.output.splitlines()[-1:]
        text = "%s is not ready: %s" % (rollout, "; ".join(why) or str(error))
        raise programs.ProgramError(text, code=error.code) from error


def wait_for_api(kubectl, service, seconds):
    """Wait until the API server reaches the API of an APIService; raises ProgramError with the reason.

    Pods are ready a moment before it knows that.
    """
    name = service["metadata"]["name"]
    argv = ["wait", "--for=condition=Available", "apiservice/" + name, "--timeout=%ds" % seconds]
    try:
        kubectl.run(argv, timeout=seconds + 30)
    except programs.ProgramError as error:
        found = _conditions(kubectl.object("apiservice", name))
        why = [one["message"] for one in found if one["type"] == "Available" and one.get("message")]
        text = "the API %s does not answer: %s" % (name, "; ".join(why) or str(error))
        raise programs.ProgramError(text, code=error.code) from error


def _conditions(item):
    return (item or {}).get("status", {}).get("conditions") or []


def _reasons(kubectl, namespace, workload):
    kind, _slash, name = workload.partition("/")
    try:
        found = kubectl.object(kind, name, "--namespace", namespace)
        labels = (found or {}).get("spec", {}).get("selector", {}).get("matchLabels") or {}
        if not labels:
            return []
        selector = ",".join("%s=%s" % pair for pair in sorted(labels.items()))
        pods = kubectl.objects("pods", "--namespace", namespace, "--selector", selector)
    except programs.ProgramError:
        return []  # the caller tells what kubectl said of the rollout
    return problems(found, pods)


def problems(workload, pods):
    """Return why a workload is not ready, at most three texts: by its pods, or as it could make none."""
    found = [text for pod in pods for text in _of_pod(pod)]
    if not found:
        found = [
            one["message"]
            for one in _conditions(workload)
            if one.get("message")
            and (one["type"] == "ReplicaFailure") == (one["status"] == "True")
            and one["type"] in ("ReplicaFailure", "Progressing", "Available")
        ]
    return list(dict.fromkeys(found))[:_MOST]


def _of_pod(pod):
    name = pod["metadata"]["name"]
    status = pod.get("status", {})
    for one in status.get("conditions") or []:
        if one["type"] == "PodScheduled" and one["status"] == "False":
            yield "pod %s: %s" % (name, one.get("message") or one.get("reason", "not scheduled"))
    for part in ("initContainerStatuses", "containerStatuses"):
        for container in status.get(part) or []:
            text = _of_container(container)
            if text:
                yield "pod %s, container %s: %s" % (name, container["name"], text)


def _of_container(container):
    state = container.get("state", {})
    waiting, ended = state.get("waiting"), state.get("terminated")
    last = container.get("lastState", {}).get("terminated")
    if waiting and waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
        text = ": ".join(part for part in (waiting["reason"], waiting.get("message")) if part)
        return text + (", it ended with code %d" % last["exitCode"] if last else "")
    if ended and ended.get("exitCode"):
        return "it ended with code %d" % ended["exitCode"]
    if "running" in state and not container.get("ready"):
        return "it runs and is not ready"
    return ""
