# Copyright: the ohmykube authors
# SPDX-License-Identifier: Apache-2.0
"""By which settings a node was made, and which of those that are wanted now it does not have.

kubeadm configures a node once. What is said otherwise later comes about on no node, and must be told.
Names of fields and sums of their values are kept, no values: of a join no document stays on the node.
"""

from __future__ import annotations

import hashlib
import json

# What is refused or brought about elsewhere, and what counts only while kubeadm runs.
ELSEWHERE = (
    "kubernetesVersion",
    "networking",
    "controlPlaneEndpoint",
    "controlPlane",
    "bootstrapTokens",
    "discovery",
    "localAPIEndpoint",
    "timeouts",
    "nodeRegistration.name",
    "nodeRegistration.taints",
    "nodeRegistration.ignorePreflightErrors",
    "nodeRegistration.imagePullPolicy",
    "nodeRegistration.imagePullSerial",
    "nodeRegistration.kubeletExtraArgs.node-labels",
)
TOLD = (
    "kubeadm configures a node once, and this one was made with other values of %s. They stay as they are. Next: change "
    "them in the cluster as the documentation of Kubernetes says, or give the values of before; `kubeadm_drift: ignore` "
    "says that this is known"
)


def sum_of(documents):
    """Return a sum of configuration documents that does not depend on the order of keys."""
    return hashlib.sha256(json.dumps(_plain(documents), sort_keys=True).encode()).hexdigest()


def sums(documents):
    """Return ``Kind.field.field`` -> sum of its value, for documents of kubeadm's configuration."""
    found = {}
    for document in documents:
        kind = document.get("kind", "")
        fields = {key: document[key] for key in document.keys() - {"apiVersion", "kind"}}
        for path, value in _leaves(fields, ()):
            if not _is_elsewhere(path):
                text = json.dumps(value, sort_keys=True)
                found[".".join((kind, *path))] = hashlib.sha256(text.encode()).hexdigest()[:16]
    return found


def differing(made_with, documents):
    """Return the names of fields that have another value in ``documents``, or stand on one side alone.

    ``made_with``: ``sums`` of then; None for a node of which that is not known.
    """
    if made_with is None:
        return []
    wanted = sums(documents)
    names = made_with.keys() | wanted.keys()
    return sorted(name for name in names if made_with.get(name) != wanted.get(name))


def warning(names):
    """Return what is to be told of fields that differ."""
    return TOLD % ", ".join(names)


def _leaves(value, path):
    """Yield path and value of each field; arguments are told by their names, other lists as a whole."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, (*path, str(key)))
    elif path[-1:] in (("extraArgs",), ("kubeletExtraArgs",)) and _are_arguments(value):
        for name in sorted({entry["name"] for entry in value}):
            values = [entry.get("value") for entry in value if entry["name"] == name]
            yield (*path, name), values
    elif value is not None:
        yield path, value


def _plain(value):
    """Return data without what Ansible knows of it: json takes no mapping that templates itself."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def _are_arguments(value):
    return isinstance(value, list) and all(
        isinstance(entry, dict) and isinstance(entry.get("name"), str) for entry in value
    )


def _is_elsewhere(path):
    return any(".".join(path[:length]) in ELSEWHERE for length in range(1, len(path) + 1))
