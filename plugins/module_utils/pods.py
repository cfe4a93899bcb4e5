# Copyright: the ohmykube authors
# SPDX-License-Identifier: Apache-2.0
"""Which pods leave a node when it is drained, and which disruption budgets hold them."""

from __future__ import annotations

MIRROR = "kubernetes.io/config.mirror"
ENDED = ("Succeeded", "Failed")


def name_of(item):
    """Return ``namespace/name`` of an object."""
    return "%s/%s" % (item["metadata"]["namespace"], item["metadata"]["name"])


def leaving(pods):
    """Return the pods that a drain moves away: not those of the node itself and of DaemonSets."""
    return [pod for pod in pods if not _stays(pod)]


def _stays(pod):
    metadata = pod["metadata"]
    owners = [
        one.get("kind") for one in metadata.get("ownerReferences") or [] if one.get("controller")
    ]
    ended = pod.get("status", {}).get("phase") in ENDED
    is_mirror = MIRROR in (metadata.get("annotations") or {})
    return is_mirror or (owners == ["DaemonSet"] and not ended)


def selects(selector, labels):
    """Return True when a label selector of the API matches; an empty one matches all, None nothing."""
    if selector is None:
        return False
    wanted = (selector.get("matchLabels") or {}).items()
    return all(labels.get(key) == value for key, value in wanted) and all(
        _expression(one, labels) for one in selector.get("matchExpressions") or []
    )


def _expression(one, labels):
    key, values = one["key"], one.get("values") or []
    return {
        "In": labels.get(key) in values,
        "NotIn": labels.get(key) not in values,
        "Exists": key in labels,
        "DoesNotExist": key not in labels,
    }.get(one["operator"], False)


def holding(pod, budgets):
    """Return why budgets do not let a pod go, one text for each."""
    reasons = []
    for budget in budgets:
        if budget["metadata"]["namespace"] != pod["metadata"]["namespace"]:
            continue
        status = budget.get("status", {})
        labels = pod["metadata"].get("labels") or {}
        selected = selects(budget["spec"].get("selector"), labels)
        if selected and status.get("disruptionsAllowed", 0) < 1:
            reasons.append(
                "budget %s allows no disruption: %s of its pods are healthy, and %s must be"
                % (name_of(budget), status.get("currentHealthy"), status.get("desiredHealthy"))
            )
    return reasons
