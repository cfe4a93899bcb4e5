# Copyright: the ohmykube authors
# SPDX-License-Identifier: Apache-2.0
"""Releases: which objects a manifest of that name had last, so that one it has no more can go.

The cluster itself remembers, as any control plane may be asked the next time.
"""

from __future__ import annotations

import json

NAMESPACE = "kube-system"
PREFIX = "ohmykube-release-"
KEPT = ("CustomResourceDefinition", "Namespace", "PersistentVolumeClaim")
"""With one of these goes what others keep in it: only somebody who names it deletes it."""


def identity(item):
    """Return how an object is asked for."""
    metadata = item["metadata"]
    place = {key: metadata[key] for key in ("namespace", "name") if metadata.get(key)}
    return {"apiVersion": item["apiVersion"], "kind": item["kind"], "metadata": place}


def key(item):
    """Return what makes an object that object: another version of its API is the same."""
    group = item["apiVersion"].rpartition("/")[0]
    metadata = item["metadata"]
    return (group, item["kind"], metadata.get("namespace", ""), metadata["name"])


class Release:
    """What the cluster remembers of one release; without a name nothing is."""

    def __init__(self, kubectl, name):
        self._kubectl = kubectl
        self._name = PREFIX + name if name else ""
        self.known = self._read() if name else []
        """Its objects, as they are asked for."""

    def _read(self):
        found = self._kubectl.object("configmap", self._name, "--namespace", NAMESPACE)
        return json.loads(found["data"]["objects"]) if found else []

    def dropped(self, items):
        """Return those of its objects that are there, are none of ``items`` and may be deleted."""
        wanted = {key(item) for item in items}
        gone = [item for item in self.known if key(item) not in wanted and item["kind"] not in KEPT]
        return self._kubectl.existing(json.dumps(as_list(gone))) if gone else []

    def remember(self, items):
        """Write down what belongs to it."""
        objects = sorted((identity(item) for item in items), key=key)
        if not self._name or objects == self.known:
            return
        document = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": self._name, "namespace": NAMESPACE},
            "data": {"objects": json.dumps(objects)},
        }
        self._kubectl.apply(json.dumps(document))
        self.known = objects

    def forget(self):
        """Remove what is remembered."""
        if self.known:
            argv = ["delete", "configmap", self._name, "--namespace", NAMESPACE]
            self._kubectl.run([*argv, "--ignore-not-found"])
            self.known = []


def as_list(items):
    """Return one document for objects."""
    return {"apiVersion": "v1", "kind": "List", "items": [identity(item) for item in items]}
