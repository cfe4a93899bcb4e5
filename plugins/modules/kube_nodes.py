#!/usr/bin/python
# Copyright: the ohmykube authors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

DOCUMENTATION = r"""
module: kube_nodes
short_description: Bring labels and taints of nodes to what is wanted, and delete nodes
version_added: 0.1.0
description:
  - Runs on a control plane and looks at all nodes in one call. Labels and taints that are not named stay as they are.
  - Taints are told apart by key and effect; another value replaces that of before.
author:
  - The ohmykube authors (@monshunter)
options:
  nodes:
    description:
      - Node name, and its C(labels) (a mapping) and C(taints) (a list of C(key=value:Effect)). C(absent_labels) (a list of
        keys) and C(absent_taints) (a list of C(key:Effect)) are taken away.
    type: dict
    default: {}
  absent:
    description: Names of nodes that are deleted from the cluster, whatever runs there.
    type: list
    elements: str
    default: []
  replaced:
    description:
      - Node name and address of a machine that holds no cluster, and is to join under this name. A node of that name is
        deleted when its machine is gone, because the new one has its address or because it gives no sign of life.
      - Fails when it is alive.
    type: dict
    default: {}
  kubeconfig:
    description: kubeconfig on the node.
    type: path
    default: /etc/kubernetes/admin.conf
attributes:
  check_mode:
    description: Reports what would change.
    support: full
"""

EXAMPLES = r"""
- name: Label a worker
  ohmykube.cluster.kube_nodes:
    nodes:
      worker1:
        labels:
          node-role.kubernetes.io/worker: ""
        absent_labels: [example.com/disk]
"""

RETURN = r"""
changes:
  description: Nodes and what was set on them, taken away or deleted, as kubectl writes it.
  type: list
  elements: str
  returned: success
"""

import os
import time

from ansible_collections.ohmykube.cluster.plugins.module_utils import (
    ansible_module,
    kubectl,
    programs,
)

OPTIONS = {
    "nodes": {"type": "dict", "default": {}},
    "absent": {"type": "list", "elements": "str", "default": []},
    "replaced": {"type": "dict", "default": {}},
    "kubeconfig": {"type": "path", "default": "/etc/kubernetes/admin.conf"},
}
LEASES = "kube-node-lease"
# A kubelet renews its lease every quarter of the time for which it counts.
LEASE_SECONDS = 40
RENEWALS = 4
ALIVE = (
    "a node called %s is alive in the cluster at %s, so another machine of this name cannot join. Give one of them another "
    "name (kubeadm_node_name), or take the old one out: playbook ohmykube.cluster.node_remove"
)


def differing(node, wanted):
    """Return (labels, taints) in which the Node object differs from ``wanted``, as kubectl's arguments."""
    labels = node["metadata"].get("labels", {})
    listed = node.get("spec", {}).get("taints", [])
    taints = {taint_text(taint) for taint in listed}
    pairs = {"%s:%s" % (taint["key"], taint["effect"]) for taint in listed}
    label_changes = [
        "%s=%s" % (key, value)
        for key, value in sorted((wanted.get("labels") or {}).items())
        if labels.get(key) != str(value)
    ]
    label_changes += [key + "-" for key in wanted.get("absent_labels") or [] if key in labels]
    taint_changes = [
        taint for taint in wanted.get("taints") or [] if normal_taint(taint) not in taints
    ]
    taint_changes += [pair + "-" for pair in wanted.get("absent_taints") or [] if pair in pairs]
    return label_changes, taint_changes


def taint_text(taint):
    """Return a taint object as ``key=value:Effect``."""
    return "%s=%s:%s" % (taint["key"], taint.get("value", ""), taint["effect"])


def normal_taint(text):
    """Return ``key:Effect`` as ``key=:Effect``."""
    key, _colon, effect = text.rpartition(":")
    return "%s:%s" % (key if "=" in key else key + "=", effect)


def addresses(node):
    """Return the addresses of a Node object."""
    return [one["address"] for one in node.get("status", {}).get("addresses", [])]


def is_ready(node):
    """Return True when the API takes a node for ready."""
    conditions = node.get("status", {}).get("conditions", [])
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


class Nodes:
    """The nodes of the cluster, and what is changed on them."""

    def __init__(self, params, check_mode):
        self._params = params
        self._check = check_mode
        self._client = kubectl.Kubectl(params["kubeconfig"])
        listed = self._client.objects("nodes")
        self._found = {node["metadata"]["name"]: node for node in listed}
        self.changes = []

    def converge(self):
        """Do it."""
        for name, address in sorted(self._params["replaced"].items()):
            node = self._found.get(name)
            if node is None:
                continue
            if (
                address not in addresses(node)
                and is_ready(node)
                and self._gives_signs_of_life(name)
            ):
                raise programs.ProgramError(ALIVE % (name, ", ".join(addresses(node))))
            self._delete(name)
        for name in self._params["absent"]:
            if name in self._found:
                self._delete(name)
        for name, wanted in sorted(self._params["nodes"].items()):
            self._mark(name, wanted)

    def _gives_signs_of_life(self, name):
        before = self._renewed(name)
        if before is None:
            return False
        renewed_after = before.get("leaseDurationSeconds", LEASE_SECONDS) / RENEWALS
        for _look in range(6):  # one and a half times as long as a kubelet takes
            time.sleep(renewed_after / 4)
            if self._renewed(name) != before:
                return True
        return False

    def _renewed(self, name):
        lease = self._client.object("lease", name, "--namespace", LEASES)
        return None if lease is None else lease["spec"]

    def _delete(self, name):
        self.changes.append("delete " + name)
        if not self._check:
            self._client.run(["delete", "node", name, "--ignore-not-found"])

    def _mark(self, name, wanted):
        if name not in self._found:
            if not self._check:
                raise programs.ProgramError("there is no node %s in the cluster" % name)
            return
        for verb, arguments in zip(("label", "taint"), differing(self._found[name], wanted)):
            if arguments:
                self.changes.append("%s %s %s" % (verb, name, " ".join(arguments)))
                if not self._check:
                    self._client.run([verb, "nodes", name, "--overwrite", *arguments])


def main():
    module = ansible_module.Module(OPTIONS)
    if module.check_mode and not os.path.exists(module.params["kubeconfig"]):
        module.exit_json(changed=True, changes=[])
    try:
        nodes = Nodes(module.params, module.check_mode)
        nodes.converge()
    except (programs.ProgramError, OSError) as error:
        module.fail_json(msg=str(error), output=getattr(error, "output", ""))
    module.exit_json(changed=bool(nodes.changes), changes=nodes.changes)


if __name__ == "__main__":
    main()
