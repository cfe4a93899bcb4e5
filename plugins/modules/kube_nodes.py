#!/usr/bin/python
# Copyright: the ohmykube authors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

DOCUMENTATION = r"""
module: kube_nodes
short_description: Bring labels and taints of nodes to what is wanted
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
    required: true
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
  description: Nodes and what was set on them, or taken away, as kubectl writes it.
  type: list
  elements: str
  returned: success
"""

import json
import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ohmykube.cluster.plugins.module_utils import kubectl, programs

OPTIONS = {
    "nodes": {"type": "dict", "required": True},
    "kubeconfig": {"type": "path", "default": "/etc/kubernetes/admin.conf"},
}


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


def converge(params, check_mode):
    """Do it; return the list of changes."""
    client = kubectl.Kubectl(params["kubeconfig"])
    listed = json.loads(client.run(["get", "nodes", "--output", "json"]).stdout)["items"]
    found = {node["metadata"]["name"]: node for node in listed}
    changes = []
    for name, wanted in sorted(params["nodes"].items()):
        if name not in found:
            if not check_mode:
                raise programs.ProgramError("there is no node %s in the cluster" % name)
            continue
        for verb, arguments in zip(("label", "taint"), differing(found[name], wanted)):
            if arguments:
                changes.append("%s %s %s" % (verb, name, " ".join(arguments)))
                if not check_mode:
                    client.run([verb, "nodes", name, "--overwrite", *arguments])
    return changes


def main():
    module = AnsibleModule(argument_spec=OPTIONS, supports_check_mode=True)
    if module.check_mode and not os.path.exists(module.params["kubeconfig"]):
        module.exit_json(changed=True, changes=[])
    try:
        changes = converge(module.params, module.check_mode)
    except (programs.ProgramError, OSError) as error:
        module.fail_json(msg=str(error), output=getattr(error, "output", ""))
    module.exit_json(changed=bool(changes), changes=changes)


if __name__ == "__main__":
    main()
