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
nodes:
  description: Names of the nodes that the cluster has.
  type: list
  elements: str
  returned: success
"""

import os
import re
import secrets
import tempfile

from ansible_collections.ohmykube.cluster.plugins.module_utils import (
    ansible_module,
    api_server,
    kubeadm,
    kubectl,
    programs,
    storage,
)

OPTIONS = {
    "ttl": {"type": "str", "default": "15m"},
    "certificates": {"type": "bool", "default": False},
}
NOTHING = {
    "token": "",
    "ca_cert_hash": "",
    "ca_certificate": "",
    "certificate_key": "",
    "endpoint": "",
    "api_server": "",
    "nodes": [],
}
TOKEN = re.compile(r"\b[a-z0-9]{6}\.[a-z0-9]{16}\b")


def known():
    """Return what is no secret: where the cluster is, by which authority it is known, and its nodes."""
    listed = kubectl.Kubectl(kubeadm.ADMIN_CONFIG).objects("nodes")
    return {
        "ca_cert_hash": kubeadm.ca_hash(),
        "endpoint": api_server.server_in(storage.read_text(kubeadm.ADMIN_CONFIG)),
        "api_server": api_server.address(),
        "nodes": sorted(node["metadata"]["name"] for node in listed),
    }


def upload_certificates(config):
    """Upload the certificates under a fresh key and return the key; it goes through a private file."""
    key = secrets.token_hex(32)
    document = {
        "apiVersion": "kubeadm.k8s.io/v1beta4",
        "kind": "InitConfiguration",
        "certificateKey": key,
    }
    with tempfile.NamedTemporaryFile("w", prefix="ohmykube-", suffix=".yaml", dir="/run") as stream:
        stream.write(kubeadm.render([document]))
        stream.flush()
        argv = [
            "kubeadm",
            "init",
            "phase",
            "upload-certs",
            "--upload-certs",
            "--skip-certificate-key-print",
        ]
        programs.run([*argv, "--config", stream.name, "--kubeconfig", config], timeout=120)
    return key


def create(params):
    """Make token and key; return the module's result."""
    with api_server.admin_config() as config:
        argv = ["kubeadm", "token", "create", "--kubeconfig", config, "--ttl", params["ttl"]]
        printed = TOKEN.search(programs.run(argv, timeout=120).stdout)
        if printed is None:
            raise programs.ProgramError("kubeadm token create printed no token")
        key = upload_certificates(config) if params["certificates"] else ""
    return dict(
        known(),
        token=printed.group(0),
        ca_certificate=storage.read_text(kubeadm.CA_CERTIFICATE),
        certificate_key=key,
    )


def main():
    module = ansible_module.Module(OPTIONS)
    if not os.path.exists(kubeadm.ADMIN_CONFIG):
        if module.check_mode:
            module.exit_json(changed=True, **NOTHING)
        module.fail_json(msg="this node is no control plane: there is no %s" % kubeadm.ADMIN_CONFIG)
    try:
        result = {**NOTHING, **known()} if module.check_mode else create(module.params)
    except (programs.ProgramError, OSError) as error:
        module.fail_json(msg=str(error), output=getattr(error, "output", ""))
    module.exit_json(changed=True, **result)


if __name__ == "__main__":
    main()
