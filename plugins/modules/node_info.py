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
        - V(kubernetes_version) is the version that was initialised or joined here, or empty.
        - V(cluster_ca) is the hash of the cluster's certificate authority, or empty.
        - V(default_ip), V(hostname), V(has_zstd), V(os), V(python), V(resolver), V(swap) and V(systemd) are what they say.
      type: dict
      returned: always
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ohmykube.cluster.plugins.module_utils import node


def main():
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    module.exit_json(changed=False, ansible_facts={"ohmykube_node": node.gather()})


if __name__ == "__main__":
    main()
