#!/usr/bin/python
# Copyright: the ohmykube authors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

DOCUMENTATION = r"""
module: etcd_member
short_description: Remove the etcd member of a control plane
version_added: 0.1.0
description:
  - Runs on any other control plane whose etcd answers, for the etcd that kubeadm keeps on control planes. Without one, as
    with an external etcd, there is nothing to do.
  - Refuses to remove a member when fewer than a majority of those that stay answer, and the last one.
author:
  - The ohmykube authors (@monshunter)
options:
  nodes:
    description: Node name, and the address of its machine or an empty string. A member is a node's by its name or its address.
    type: dict
    required: true
  only_replaced:
    description:
      - The machines at these addresses hold no cluster, and are to take the place of members of the same name or address.
        Fails when such a member gives signs of life at another address.
    type: bool
    default: false
attributes:
  check_mode:
    description: Reports what would be removed, and refuses what would be refused.
    support: full
"""

EXAMPLES = r"""
- name: Remove the member of a control plane that is gone
  ohmykube.cluster.etcd_member:
    nodes:
      cp3: 10.0.0.13
"""

RETURN = r"""
removed:
  description: Members that were removed, or would be, with C(id), C(name), C(peer_urls) and C(learner).
  type: list
  elements: dict
  returned: success
members:
  description: Members that are left.
  type: list
  elements: dict
  returned: success
"""

from ansible_collections.ohmykube.cluster.plugins.module_utils import ansible_module, etcd

OPTIONS = {
    "nodes": {"type": "dict", "required": True},
    "only_replaced": {"type": "bool", "default": False},
}
REFUSED = (
    "the etcd member of %s is not removed: %s. Bring the others back first, or restore etcd from a snapshot; nothing was "
    "changed for it"
)
ALIVE = (
    "a control plane called %s answers at %s, so another machine of this name cannot join. Give one of them another name "
    "(kubeadm_node_name), or take the old one out: playbook ohmykube.cluster.node_remove"
)


class Removal:
    """One call of the module."""

    def __init__(self, params, check_mode, client):
        self._params = params
        self._check = check_mode
        self._client = client
        self._members = client.members()
        self.removed = []

    def run(self):
        """Remove the members one after the other; return the module's result."""
        for node, address in sorted(self._params["nodes"].items()):
            for member in [one for one in self._members if one.is_of(node, address)]:
                self._remove(node, address, member)
        return {
            "changed": bool(self.removed),
            "removed": [member.facts() for member in self.removed],
            "members": [member.facts() for member in self._members],
        }

    def _remove(self, node, address, member):
        elsewhere = not member.is_of("", address)
        if self._params["only_replaced"] and elsewhere and self._client.is_healthy(member):
            raise etcd.EtcdError(ALIVE % (node, ", ".join(member.clients)))
        staying = [one for one in self._members if one.id != member.id]
        healthy = {one.id for one in staying if self._client.is_healthy(one)}
        problem = etcd.problem_without(member, self._members, healthy)
        if problem:
            raise etcd.EtcdError(REFUSED % (node, problem))
        if not self._check:
            self._client.remove(member)
        self._members = staying
        self.removed.append(member)


def main():
    module = ansible_module.Module(OPTIONS)
    if not etcd.is_here():
        module.exit_json(changed=False, removed=[], members=[])
    try:
        result = Removal(module.params, module.check_mode, etcd.Etcd()).run()
    except etcd.EtcdError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
