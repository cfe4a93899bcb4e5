#!/usr/bin/python
# Copyright: the ohmykube authors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

DOCUMENTATION = r"""
module: kube_drain
short_description: Let nodes take no more pods, and move those away that they have
version_added: 0.1.0
description:
  - Runs C(kubectl cordon) for all nodes and then C(kubectl drain) for one after the other, on a control plane.
  - Disruption budgets are respected. What they still hold when the time is over is named, and the nodes stay cordoned.
  - Pods of DaemonSets and static pods stay.
author:
  - The ohmykube authors (@monshunter)
options:
  nodes:
    description: Names of the nodes. Those that the cluster does not have are passed over.
    type: list
    elements: str
    required: true
  delete_emptydir_data:
    description: Also move pods whose C(emptyDir) volumes are lost by it.
    type: bool
    default: false
  force:
    description: Also delete pods that nothing makes anew, as they belong to no controller.
    type: bool
    default: false
  grace_period:
    description: Seconds that a pod has to end; a negative number leaves it to the pod.
    type: int
    default: -1
  timeout:
    description: Seconds that each node may take.
    type: int
    default: 300
  kubeconfig:
    description: kubeconfig on the node.
    type: path
    default: /etc/kubernetes/admin.conf
attributes:
  check_mode:
    description: Reports which pods would be moved.
    support: full
"""

EXAMPLES = r"""
- name: Empty a worker
  ohmykube.cluster.kube_drain:
    nodes: [worker1]
    delete_emptydir_data: true
    timeout: 600
"""

RETURN = r"""
nodes:
  description: For each node whether it was C(cordoned), and the pods that were C(moved), as C(namespace/name).
  type: dict
  returned: always
blocked:
  description: Pods that are left, as C(pod), and C(reasons), such as the budget that holds it.
  type: list
  elements: dict
  returned: failure
output:
  description: Last lines of kubectl.
  type: str
  returned: failure
"""

from ansible_collections.ohmykube.cluster.plugins.module_utils import (
    ansible_module,
    kubectl,
    pods,
    programs,
)

OPTIONS = {
    "nodes": {"type": "list", "elements": "str", "required": True},
    "delete_emptydir_data": {"type": "bool", "default": False},
    "force": {"type": "bool", "default": False},
    "grace_period": {"type": "int", "default": -1},
    "timeout": {"type": "int", "default": 300},
    "kubeconfig": {"type": "path", "default": "/etc/kubernetes/admin.conf"},
}
MARGIN = 30
# Tells a node that we have cordoned from one that somebody else has.
LEAVING = "ohmykube.dev/leaving"


class Blocked(Exception):
    """A node could not be emptied: ``left`` are its pods with reasons, ``output`` what kubectl said."""

    def __init__(self, node, left, output):
        shown = "; ".join(
            "%s%s" % (one["pod"], " (%s)" % ", ".join(one["reasons"]) if one["reasons"] else "")
            for one in left
        )
        last = output.splitlines()[-1] if output else ""
        super().__init__(
            "node %s is not empty: %s. It takes no new pods; `kubectl uncordon %s` takes that back"
            % (node, shown or last, node)
        )
        self.left = left
        self.output = output


class Drain:
    """One call of the module."""

    def __init__(self, params, check_mode):
        self._params = params
        self._check = check_mode
        self._client = kubectl.Kubectl(params["kubeconfig"])
        self.nodes = {}

    def run(self):
        """Cordon all nodes, then empty each."""
        for name in self._params["nodes"]:
            node = self._client.object("node", name)
            if node is None:
                continue
            is_open = not node["spec"].get("unschedulable")
            self.nodes[name] = {"cordoned": is_open, "moved": []}
            if is_open and not self._check:
                self._client.run(["label", "nodes", name, "--overwrite", LEAVING + "="])
                self._client.run(["cordon", name])
        for name, done in self.nodes.items():
            found = self._leaving(name)
            if found and not self._check:
                self._drain(name)
            done["moved"] = [pods.name_of(pod) for pod in found]

    @property
    def changed(self):
        return any(done["cordoned"] or done["moved"] for done in self.nodes.values())

    def _leaving(self, node):
        on_node = ["--all-namespaces", "--field-selector", "spec.nodeName=" + node]
        return pods.leaving(self._client.objects("pods", *on_node))

    def _drain(self, node):
        argv = ["drain", node, "--ignore-daemonsets"]
        argv += ["--delete-emptydir-data"] if self._params["delete_emptydir_data"] else []
        argv += ["--force"] if self._params["force"] else []
        argv.append("--grace-period=%d" % self._params["grace_period"])
        argv.append("--timeout=%ds" % self._params["timeout"])
        try:
            self._client.run(argv, timeout=self._params["timeout"] + MARGIN)
        except programs.ProgramError as error:
            budgets = self._client.objects("poddisruptionbudgets", "--all-namespaces")
            left = [
                {"pod": pods.name_of(pod), "reasons": pods.holding(pod, budgets)}
                for pod in self._leaving(node)
            ]
            raise Blocked(node, left, error.output) from error


def main():
    module = ansible_module.Module(OPTIONS)
    drain = Drain(module.params, module.check_mode)
    try:
        drain.run()
    except Blocked as error:
        module.fail_json(msg=str(error), blocked=error.left, output=error.output, nodes=drain.nodes)
    except (programs.ProgramError, OSError) as error:
        module.fail_json(msg=str(error), output=getattr(error, "output", ""), nodes=drain.nodes)
    module.exit_json(changed=drain.changed, nodes=drain.nodes)


if __name__ == "__main__":
    main()
