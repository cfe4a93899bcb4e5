#!/usr/bin/python
# Copyright: the ohmykube authors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

DOCUMENTATION = r"""
module: node_info
short_description: Facts about a node that the roles of this collection need
version_added: 0.1.0
description:
  - Returns the fact C(ohmykube_node), read in milliseconds. M(ohmykube.cluster.node_prepare) returns it too.
author:
  - The ohmykube authors (@monshunter)
options:
  wait_for_api:
    description: Seconds that an API server on this node is given to become ready.
    type: int
    default: 0
attributes:
  check_mode:
    description: Changes nothing.
    support: full
"""

EXAMPLES = r"""
- name: Look at the node
  ohmykube.cluster.node_info:
"""

RETURN = r"""
ansible_facts:
  description: Facts to keep.
  returned: always
  type: dict
  contains:
    ohmykube_node:
      description:
        - V(architecture) is C(amd64) or C(arm64).
        - V(cgroup_version) is 1 or 2.
        - V(in_container) tells that the node shares its kernel with other machines.
        - V(cap_sys_resource) tells whether process 1 may lower its C(oom_score_adj).
        - V(joined) tells that C(kubeadm init) or C(kubeadm join) has finished here.
        - V(begun) is C(init) or C(join) where one has begun and not finished, or empty.
        - V(control_plane) tells that this is a control plane, V(api_server) where its API server listens (host and port, or
          empty), and V(api_problem) why that is not ready; empty when it is, and where there is none.
        - V(cluster_endpoint) is host and port under which all nodes reach the API server; empty elsewhere than on a control
          plane.
        - V(kubernetes_version) is the version that was initialised or joined here, or empty.
        - V(cluster_ca) is the hash of the cluster's certificate authority, or empty.
        - V(deployed) names what was deployed and is as it was left, each with the digest that the caller of
          M(ohmykube.cluster.deploy) gave. Only M(ohmykube.cluster.node_prepare) tells it.
        - V(default_ip), V(hostname), V(has_zstd), V(os), V(python), V(resolver), V(swap) and V(systemd) are what they say.
      type: dict
      returned: always
"""

from ansible_collections.ohmykube.cluster.plugins.module_utils import ansible_module, node

OPTIONS = {"wait_for_api": {"type": "int", "default": 0}}


def main():
    module = ansible_module.Module(OPTIONS)
    facts = node.gather(wait_for_api=module.params["wait_for_api"])
    module.exit_json(changed=False, ansible_facts={"ohmykube_node": facts})


if __name__ == "__main__":
    main()
