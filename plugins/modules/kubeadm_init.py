#!/usr/bin/python
# Copyright: the ohmykube authors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

DOCUMENTATION = r"""
module: kubeadm_init
short_description: Make a cluster, with this node as its first control plane
version_added: 0.1.0
description:
  - Runs C(kubeadm init) once. A run that was killed is waited for when kubeadm itself still works, counts as done when
    it finished, and is undone by C(kubeadm reset) and begun again when it did not.
  - A control plane that was made by other means is taken over when it answers, and never reset.
  - Whether there is a cluster already on another node is for the caller to find out, as the role
    P(ohmykube.cluster.kubeadm#role) does.
author:
  - The ohmykube authors (@monshunter)
options:
  documents:
    description:
      - Kubernetes documents for kubeadm's configuration file, as structured data. The filter
        P(ohmykube.cluster.kubeadm_init_documents#filter) makes them.
    type: list
    elements: dict
    required: true
  config_path:
    description: Where the configuration is written, mode 0600.
    type: path
    default: /etc/kubernetes/kubeadm.yaml
  kubernetes_version:
    description: Version that is kept in the node's record, and returned as a fact by M(ohmykube.cluster.node_info).
    type: str
    default: ""
  control_planes:
    description:
      - How many control planes the cluster is to have. With several, a warning says so when the endpoint of all nodes is the
        address of this one alone.
    type: int
    default: 1
  timeout:
    description: Seconds that kubeadm may take.
    type: int
    default: 600
  lock_timeout:
    description: Seconds to wait for another kubeadm on the same node.
    type: int
    default: 600
  drift:
    description:
      - What to do where the node was made with other settings, which stay as they are. V(warn) and V(fail) name them.
      - What M(ohmykube.cluster.kube_nodes) brings about does not count, nor what counts only while kubeadm runs. Of nodes
        that were made before version 0.2.0 of this collection, or by others, it is not known.
    type: str
    choices: [warn, fail, ignore]
    default: warn
    version_added: 0.2.0
attributes:
  check_mode:
    description: Reports whether kubeadm would run.
    support: full
  diff_mode:
    description: Shows the configuration file.
    support: full
"""

EXAMPLES = r"""
- name: Initialise the control plane
  ohmykube.cluster.kubeadm_init:
    documents:
      - apiVersion: kubeadm.k8s.io/v1beta4
        kind: ClusterConfiguration
        kubernetesVersion: v1.36.3
"""

RETURN = r"""
ca_cert_hash:
  description: Hash of the cluster's certificate authority, for joining nodes. Empty in check mode before the first run.
  type: str
  returned: success
node:
  description: What M(ohmykube.cluster.node_info) would say of the node now.
  type: dict
  returned: success
drift:
  description: Settings that were others when the node was made, as kind and field, such as C(KubeletConfiguration.maxPods).
  type: list
  elements: str
  returned: success
phase:
  description: Phase of kubeadm that failed.
  type: str
  returned: failure
output:
  description: Last lines of kubeadm's output; all of it is in C(/var/log/ohmykube/kubeadm-init.log).
  type: str
  returned: failure
"""

import os
import re

from ansible_collections.ohmykube.cluster.plugins.module_utils import (
    ansible_module,
    kubeadm,
    kubeadm_settings,
    kubectl,
    node,
    programs,
    storage,
)

OPTIONS = {
    "documents": {"type": "list", "elements": "dict", "required": True},
    "config_path": {"type": "path", "default": "/etc/kubernetes/kubeadm.yaml"},
    "kubernetes_version": {"type": "str", "default": ""},
    "control_planes": {"type": "int", "default": 1},
    "timeout": {"type": "int", "default": 600},
    "lock_timeout": {"type": "int", "default": 600},
    "drift": {"type": "str", "choices": ["warn", "fail", "ignore"], "default": "warn"},
}
API_SECONDS = 60
ONE_ENDPOINT = (
    "the cluster is to have %d control planes, and all nodes reach it at the address of one, %s: without that one no node "
    "reaches the others. Set kubeadm_control_plane_endpoint to a load balancer before the cluster is made; it cannot be "
    "changed later"
)
SECRET_FIELDS = re.compile(r'("(?:token|certificateKey)": ")[^"]*')
MANIFESTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")


def is_complete():
    """Return True when a control plane that others made is whole and answers."""
    parts = [kubeadm.ADMIN_CONFIG, kubeadm.KUBELET_CONFIG]
    parts += ["%s/manifests/%s.yaml" % (kubeadm.DIRECTORY, name) for name in MANIFESTS[1:]]
    if not all(os.path.exists(part) for part in parts):
        return False
    config = [
        "get",
        "configmap",
        "kubeadm-config",
        "--namespace",
        "kube-system",
        "--output",
        "name",
    ]
    try:
        kubectl.Kubectl(kubeadm.ADMIN_CONFIG).run([*config, "--request-timeout=20s"], timeout=30)
    except programs.ProgramError:
        return False
    return True


def without_secrets(difference):
    """Return a diff in which no token and no key is shown."""
    return {name: SECRET_FIELDS.sub(r"\1(not shown)", text) for name, text in difference.items()}


def endpoint_warning(documents, control_planes):
    """Return what is to be known of a cluster with several control planes and the address of one; else ''."""
    fields = {}
    for document in documents:
        fields.update(document)
    endpoint = fields.get("controlPlaneEndpoint") or ""
    own = (fields.get("localAPIEndpoint") or {}).get("advertiseAddress")
    if control_planes < 2 or not own or endpoint.rpartition(":")[0].strip("[]") != own:
        return ""
    return ONE_ENDPOINT % (control_planes, endpoint)


def initialise(params, check_mode):
    """Do it; return the module's result."""
    documents = params["documents"]
    wanted = storage.DesiredFile(params["config_path"], kubeadm.render(documents), mode="0600")

    def prepare():
        wanted.apply()
        kubeadm.validate(params["config_path"])
        return params["config_path"]

    difference = without_secrets(wanted.difference())
    ran = kubeadm.run_once(
        "init",
        documents,
        params,
        check_mode=check_mode,
        adopt=is_complete,
        prepare=prepare,
    )
    started = not (ran and check_mode) and kubeadm.start_kubelet(check_mode)
    drift = kubeadm.drift("init", documents, params)
    return {
        "changed": ran or started,
        "node": node.gather(wait_for_api=API_SECONDS),
        "ca_cert_hash": kubeadm.ca_hash(),
        "drift": drift,
        "diff": [difference] if ran else [],
    }


def main():
    module = ansible_module.Module(OPTIONS)
    try:
        result = initialise(module.params, module.check_mode)
    except kubeadm.KubeadmError as error:
        module.fail_json(msg=str(error), phase=error.phase, output=error.output)
    except (programs.ProgramError, OSError) as error:
        module.fail_json(msg=str(error), output=getattr(error, "output", ""))
    warning = endpoint_warning(module.params["documents"], module.params["control_planes"])
    if warning and result["diff"]:
        module.warn(warning)
    if result["drift"] and module.params["drift"] == "warn":
        module.warn(kubeadm_settings.warning(result["drift"]))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
