#!/usr/bin/python
# Copyright: the ohmykube authors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

DOCUMENTATION = r"""
module: kubeadm_token
short_description: Make a short-lived bootstrap token, and upload certificates for further control planes
version_added: 0.1.0
description:
  - Runs on any control plane, and asks the API server of that node. Use C(no_log) on the task; no secret appears in an
    argument of a program.
author:
  - The ohmykube authors (@monshunter)
options:
  ttl:
    description: How long the token is good for, such as C(15m).
    type: str
    default: 15m
  certificates:
    description: Upload the control plane's certificates too, encrypted with a fresh key.
    type: bool
    default: false
attributes:
  check_mode:
    description: Makes nothing and returns what is no secret.
    support: full
"""

EXAMPLES = r"""
- name: Make a token
  ohmykube.cluster.kubeadm_token:
    ttl: 10m
  no_log: true
"""

RETURN = r"""
token:
  description: The bootstrap token.
  type: str
  returned: success
ca_cert_hash:
  description: Hash of the cluster's certificate authority.
  type: str
  returned: success
ca_certificate:
  description: The certificate authority itself (PEM).
  type: str
  returned: success
certificate_key:
  description: Key of the uploaded certificates, or empty.
  type: str
  returned: success
endpoint:
  description: Host and port under which all nodes reach the API server, as the cluster itself has it.
  type: str
  returned: success
api_server:
  description: Host and port of the API server of this node.
  type: str
  returned: success
etcd_servers:
  description: Where the etcd of this node answers other control planes, as host and port. Empty where etcd is an external one.
  type: list
  elements: str
  returned: success
nodes:
  description: Names of the nodes that the cluster has.
  type: list
  elements: str
  returned: success
"""

import os

from ansible_collections.ohmykube.cluster.plugins.module_utils import (
    ansible_module,
    join_secrets,
    kubeadm,
    programs,
)

OPTIONS = {
    "ttl": {"type": "str", "default": join_secrets.TTL},
    "certificates": {"type": "bool", "default": False},
}


def main():
    module = ansible_module.Module(OPTIONS)
    if not os.path.exists(kubeadm.ADMIN_CONFIG):
        if module.check_mode:
            module.exit_json(changed=True, **join_secrets.NOTHING)
        module.fail_json(msg="this node is no control plane: there is no %s" % kubeadm.ADMIN_CONFIG)
    try:
        result = join_secrets.made(
            module.params["certificates"], module.check_mode, ttl=module.params["ttl"]
        )
    except (programs.ProgramError, OSError) as error:
        module.fail_json(msg=str(error), output=getattr(error, "output", ""))
    module.exit_json(changed=True, **result)


if __name__ == "__main__":
    main()
