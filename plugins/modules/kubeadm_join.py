#!/usr/bin/python
# Copyright: the ohmykube authors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

DOCUMENTATION = r"""
module: kubeadm_join
short_description: Join a node to a cluster, as worker or control plane
version_added: 0.1.0
description:
  - Runs C(kubeadm join) once, with the same care for killed runs as M(ohmykube.cluster.kubeadm_init).
  - Refuses a node that belongs to another cluster.
  - A control plane can join while nothing answers at the cluster's endpoint, which may be the address of the very node
    that joins, when O(api_server) names one that does.
author:
  - The ohmykube authors (@monshunter)
options:
  document:
    description:
      - A C(JoinConfiguration) without its secrets, as structured data. The filter
        P(ohmykube.cluster.kubeadm_join_document#filter) makes it. A field C(controlPlane) makes a control plane.
    type: dict
    required: true
  ca_cert_hash:
    description: Hash of the cluster's certificate authority, as M(ohmykube.cluster.kubeadm_init) returns it.
    type: str
    default: ""
  token:
    description: Bootstrap token. Not needed for a node that has joined.
    type: str
    default: ""
  ca_certificate:
    description:
      - The cluster's certificate authority itself (PEM), as M(ohmykube.cluster.kubeadm_token) returns it. The node then
        trusts what came with this task instead of a ConfigMap of the cluster, which is not signed for a new token for
        some seconds. Without effect on a document that says more of its discovery than the endpoint.
    type: str
    default: ""
  api_server:
    description:
      - Host and port of the API server of a control plane that answers, as M(ohmykube.cluster.kubeadm_token) returns it.
        A control plane joins through it; a worker takes the endpoint of O(document), at which its kubelet stays.
      - Without effect on a document that says more of its discovery than the endpoint.
    type: str
    default: ""
  etcd_servers:
    description:
      - Host and port at which a member of etcd answers, as M(ohmykube.cluster.kubeadm_token) returns them. A control plane
        must reach them all.
    type: list
    elements: str
    default: []
  certificate_key:
    description: Key of the uploaded certificates, for a control plane.
    type: str
    default: ""
  kubernetes_version:
    description: Version that is kept in the node's record, and returned as a fact by M(ohmykube.cluster.node_info).
    type: str
    default: ""
  timeout:
    description: Seconds that kubeadm may take.
    type: int
    default: 600
  lock_timeout:
    description: Seconds to wait for another kubeadm on the same node.
    type: int
    default: 600
  drift:
    description: As of M(ohmykube.cluster.kubeadm_init).
    type: str
    choices: [warn, fail, ignore]
    default: warn
    version_added: 0.2.0
attributes:
  check_mode:
    description: Reports whether kubeadm would run.
    support: full
  diff_mode:
    description: There is no file to compare.
    support: none
"""

EXAMPLES = r"""
- name: Join a worker
  ohmykube.cluster.kubeadm_join:
    token: "{{ token }}"
    ca_cert_hash: "{{ ca_cert_hash }}"
    document:
      apiVersion: kubeadm.k8s.io/v1beta4
      kind: JoinConfiguration
      discovery:
        bootstrapToken:
          apiServerEndpoint: 10.0.0.11:6443
"""

RETURN = r"""
drift:
  description: As of M(ohmykube.cluster.kubeadm_init).
  type: list
  elements: str
  returned: success
phase:
  description: Phase of kubeadm that failed.
  type: str
  returned: failure
output:
  description: Last lines of kubeadm's output; all of it is in C(/var/log/ohmykube/kubeadm-join.log).
  type: str
  returned: failure
"""

import base64
import contextlib
import copy
import os
import tempfile

from ansible_collections.ohmykube.cluster.plugins.module_utils import (
    ansible_module,
    api_server,
    kubeadm,
    kubeadm_settings,
    programs,
    storage,
)

OPTIONS = {
    "document": {"type": "dict", "required": True},
    "ca_cert_hash": {"type": "str", "default": ""},
    "ca_certificate": {"type": "str", "default": ""},
    "api_server": {"type": "str", "default": ""},
    "etcd_servers": {"type": "list", "elements": "str", "default": []},
    "token": {"type": "str", "default": "", "no_log": True},
    "certificate_key": {"type": "str", "default": "", "no_log": True},
    "kubernetes_version": {"type": "str", "default": ""},
    "timeout": {"type": "int", "default": 600},
    "lock_timeout": {"type": "int", "default": 600},
    "drift": {"type": "str", "choices": ["warn", "fail", "ignore"], "default": "warn"},
}
ENDPOINT_SECONDS = 3
# Of the time that kubeadm may take: 20 seconds by default.
REACH_SHARE = 30
UNREACHABLE = "this node does not reach %s. Next: let TCP %s through the firewalls between them, and run this again. kubeadm was not run"
ONE_ENDPOINT = (
    "the cluster has more than one control plane now, and all nodes reach it at the address of one, %s: without that one no "
    "node reaches the others. It cannot be changed later. Next: make clusters of several control planes with a load balancer "
    "as kubeadm_control_plane_endpoint"
)
OTHER_CLUSTER = (
    "this node belongs to another cluster: its certificate authority is %s, and that of this cluster %s. Nothing was "
    "changed; look whether it is the node that you mean. To move it, take it out of its cluster first: playbook "
    "ohmykube.cluster.node_remove"
)


def is_complete():
    """Return True when others joined this node: the kubelet has its own certificate."""
    return all(
        os.path.exists(part) for part in (kubeadm.KUBELET_CONFIG, kubeadm.CLIENT_CERTIFICATE)
    )


def knows_only_the_endpoint(document):
    """Return True when a JoinConfiguration says of its discovery where the API server is, and no more."""
    discovery = document.get("discovery") or {}
    return set(discovery) == {"bootstrapToken"} and set(discovery["bootstrapToken"]) == {
        "apiServerEndpoint"
    }


def endpoint_of(document):
    """Return the endpoint that a JoinConfiguration names."""
    return document["discovery"]["bootstrapToken"]["apiServerEndpoint"]


def endpoint_warning(document, server):
    """Return what is to be known of a control plane that joins behind the address of another one; else ''."""
    if "controlPlane" not in document or not knows_only_the_endpoint(document):
        return ""
    return ONE_ENDPOINT % server if endpoint_of(document) == server else ""


def cluster_info(server, certificate):
    """Return a kubeconfig without credentials: address and certificate authority of the cluster."""
    authority = base64.b64encode(certificate.encode()).decode()
    cluster = {"server": "https://" + server, "certificate-authority-data": authority}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "", "cluster": cluster}],
    }


def with_secrets(params, info_path):
    """Return the JoinConfiguration with token, trust and certificate key filled in.

    ``info_path`` is the file of ``cluster_info``, or empty.
    """
    document = copy.deepcopy(params["document"])
    discovery = document.setdefault("discovery", {})
    if info_path:
        document["discovery"] = {
            "file": {"kubeConfigPath": info_path},
            "tlsBootstrapToken": params["token"],
        }
    elif "file" not in discovery:
        bootstrap = discovery.setdefault("bootstrapToken", {})
        bootstrap["token"] = params["token"]
        if params["ca_cert_hash"]:
            bootstrap["caCertHashes"] = [params["ca_cert_hash"]]
    if "controlPlane" in document and params["certificate_key"]:
        document["controlPlane"]["certificateKey"] = params["certificate_key"]
    return document


class Join:
    """One call of the module."""

    def __init__(self, params):
        self._params = params
        self._document = params["document"]
        self._configs = []
        trusted = params["ca_certificate"] and knows_only_the_endpoint(self._document)
        plane = "controlPlane" in self._document
        self._server = params["api_server"] if trusted and plane else ""

    def run(self, check_mode):
        """Do it; return the module's result."""
        try:
            ran = kubeadm.run_once(
                "join",
                [self._document],
                self._params,
                check_mode=check_mode,
                adopt=is_complete,
                prepare=self._prepare,
                before=self._before,
            )
        finally:
            for path in self._configs:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
        own, wanted = kubeadm.ca_hash(), self._params["ca_cert_hash"]
        if own and wanted and own != wanted and not ran:
            raise kubeadm.KubeadmError(OTHER_CLUSTER % (own, wanted), "survey")
        drift = kubeadm.drift("join", [self._document], self._params)
        if not check_mode:
            aim_at_the_endpoint()
        started = not (ran and check_mode) and kubeadm.start_kubelet(check_mode)
        return {"changed": ran or started, "ran": ran, "drift": drift}

    def _prepare(self):
        params, document = self._params, self._document
        if not params["token"] and "file" not in document.get("discovery", {}):
            raise kubeadm.KubeadmError(
                "this node has not joined yet, and no token was given", "discovery"
            )
        self._reach()
        info_path = ""
        if params["ca_certificate"] and knows_only_the_endpoint(document):
            server = self._server or endpoint_of(document)
            info_path = self._keep(cluster_info(server, params["ca_certificate"]))
        path = self._keep(with_secrets(params, info_path))
        kubeadm.validate(path)
        return path

    def _reach(self):
        """Tell within seconds what kubeadm tells after minutes, as behind a firewall that answers nothing."""
        discovery = self._document.get("discovery") or {}
        endpoint = (discovery.get("bootstrapToken") or {}).get("apiServerEndpoint")
        wanted = {self._server or endpoint: "the API server of the cluster"}
        if "controlPlane" in self._document:
            wanted.update(dict.fromkeys(self._params["etcd_servers"], "etcd"))
        wanted.pop(None, None)
        problems = api_server.unreachable(wanted, self._params["timeout"] / REACH_SHARE)
        if problems:
            shown = ["%s at %s: %s" % (wanted[server], server, why) for server, why in problems]
            ports = ["port %s of %s" % server.rpartition(":")[::-2] for server, _why in problems]
            raise kubeadm.KubeadmError(
                UNREACHABLE % (", and ".join(shown), " and ".join(ports)), "discovery"
            )

    def _keep(self, content):
        descriptor, path = tempfile.mkstemp(prefix="ohmykube-join-", suffix=".yaml", dir="/run")
        os.close(descriptor)
        self._configs.append(path)
        storage.write_atomically(path, kubeadm.render([content]).encode(), mode=0o600)
        return path

    def _before(self, path, lock):
        """Where nothing answers at the cluster's endpoint, lead kubeadm past it.

        kubeadm asks through admin.conf, which it makes itself and aims at the endpoint; one that is there
        already it takes as it is. So it makes it first, and we aim it at the server that answers.
        """
        if not self._server or not api_server.problem(
            endpoint_of(self._document), self._params["ca_certificate"], timeout=ENDPOINT_SECONDS
        ):
            return
        kubeadm.Record().note(endpoint=endpoint_of(self._document))
        for phase in ("download-certs", "kubeconfig"):
            argv = ["join", "phase", "control-plane-prepare", phase, "--config", path]
            kubeadm.execute("join", argv, lock, self._params["timeout"])
        aim(self._server)


def aim(server):
    """Let admin.conf lead to another server."""
    text = api_server.aimed(storage.read_text(kubeadm.ADMIN_CONFIG), server)
    storage.write_atomically(kubeadm.ADMIN_CONFIG, text.encode(), mode=0o600)


def aim_at_the_endpoint():
    """Let admin.conf lead where it must, after a join that was led past the endpoint."""
    record = kubeadm.Record()
    if record.finished and record.value.get("endpoint"):
        aim(record.value["endpoint"])
        record.note(endpoint=None)


def main():
    module = ansible_module.Module(OPTIONS)
    try:
        result = Join(module.params).run(module.check_mode)
    except kubeadm.KubeadmError as error:
        module.fail_json(msg=str(error), phase=error.phase, output=error.output)
    except (programs.ProgramError, OSError) as error:
        module.fail_json(msg=str(error), output=getattr(error, "output", ""))
    warning = endpoint_warning(module.params["document"], module.params["api_server"])
    if result.pop("ran") and warning:
        module.warn(warning)
    if result["drift"] and module.params["drift"] == "warn":
        module.warn(kubeadm_settings.warning(result["drift"]))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
