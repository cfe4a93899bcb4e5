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
  joining:
    description:
      - Who is to join the cluster. Where this node is a control plane that answers, it makes what they need for it, as
        M(ohmykube.cluster.kubeadm_token) does. Use C(no_log) then.
    type: str
    choices: [nobody, worker, control_plane]
    default: nobody
attributes:
  check_mode:
    description: Changes nothing, and makes no token.
    support: full
"""

EXAMPLES = r"""
- name: Look at the node
  ohmykube.cluster.node_info:

- name: Look at a control plane, and get a token from it
  ohmykube.cluster.node_info:
    joining: worker
  no_log: true
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
        - V(node_name) and V(node_ip) are the node's name and address in its cluster, or empty.
        - V(pod_cidr), V(service_cidr) and V(dns_domain) are those of the cluster of a control plane, or empty.
        - V(initialised_with) is a sum of the documents that C(kubeadm init) was given here, or empty.
        - V(kubernetes_version) is the version that was initialised or joined here, or empty.
        - V(cluster_ca) is the hash of the cluster's certificate authority, or empty.
        - V(deployed) names what was deployed and is as it was left, each with the digest that the caller of
          M(ohmykube.cluster.deploy) gave. Only M(ohmykube.cluster.node_prepare) tells it.
        - V(images) has the images that containerd keeps for good, each as reference@digest, and as reference@ for any digest. Only
          M(ohmykube.cluster.node_prepare) tells it, of a node on which something was deployed.
        - V(default_ip), V(default_ip6), V(hostname), V(mtu6), V(has_zstd), V(os), V(python), V(resolver), V(swap) and V(systemd) are what they say.
      type: dict
      returned: always
joining:
  description: What M(ohmykube.cluster.kubeadm_token) returns.
  type: dict
  returned: on a control plane that answers, when O(joining) is not V(nobody)
"""

from ansible_collections.ohmykube.cluster.plugins.module_utils import (
    ansible_module,
    join_secrets,
    node,
    programs,
)

OPTIONS = {
    "wait_for_api": {"type": "int", "default": 0},
    "joining": {
        "type": "str",
        "choices": ["nobody", "worker", "control_plane"],
        "default": "nobody",
    },
}


def main():
    module = ansible_module.Module(OPTIONS)
    facts = node.gather(wait_for_api=module.params["wait_for_api"])
    result = {"changed": False, "ansible_facts": {"ohmykube_node": facts}}
    joining, answers = module.params["joining"], not facts["api_problem"]
    if joining != "nobody" and facts["control_plane"] and answers:
        try:
            made = join_secrets.made(joining == "control_plane", module.check_mode)
        except (programs.ProgramError, OSError) as error:
            module.fail_json(msg=str(error), output=getattr(error, "output", ""), **result)
        result.update(changed=True, joining=made)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
