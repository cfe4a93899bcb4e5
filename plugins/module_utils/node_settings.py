# Copyright: the ohmykube authors
# SPDX-License-Identifier: Apache-2.0
"""What a node and its cluster were made with, as kubeadm wrote it down: whoever asked for it, and however."""

from __future__ import annotations

import re
import shlex

from ansible_collections.ohmykube.cluster.plugins.module_utils import kubeadm, storage

KUBELET_FLAGS = "/var/lib/kubelet/kubeadm-flags.env"
KUBELET_CONFIGURATION = "/var/lib/kubelet/config.yaml"
API_SERVER = kubeadm.DIRECTORY + "/manifests/kube-apiserver.yaml"
CONTROLLER_MANAGER = kubeadm.DIRECTORY + "/manifests/kube-controller-manager.yaml"
POD_CIDR = re.compile(r"--cluster-cidr=([^\s\"']+)")
SERVICE_CIDR = re.compile(r"--service-cluster-ip-range=([^\s\"']+)")
NOTHING = dict.fromkeys(("dns_domain", "node_ip", "node_name", "pod_cidr", "service_cidr"), "")
DNS_DOMAIN = re.compile(r"^clusterDomain: *[\"']?([^\s\"']+)", re.MULTILINE)


def gather(at, hostname):
    """Return the node's name and address, and the cluster's networks; empty where they are not known.

    ``at`` leads to files below another root. The networks are known on control planes.
    """

    def find(pattern, path):
        found = pattern.search(storage.read_text(at(path)))
        return found.group(1) if found else ""

    text = storage.read_text(at(KUBELET_FLAGS))
    flags = kubelet_flags(text)
    return {
        "dns_domain": find(DNS_DOMAIN, KUBELET_CONFIGURATION),
        "node_ip": flags.get("node-ip", ""),
        "node_name": flags.get("hostname-override", hostname.lower()) if text else "",
        "pod_cidr": find(POD_CIDR, CONTROLLER_MANAGER),
        "service_cidr": find(SERVICE_CIDR, API_SERVER),
    }


def kubelet_flags(text):
    """Return name -> value of the arguments that kubeadm gives to the kubelet."""
    _name, _equals, value = text.partition("=")
    words = [word for part in shlex.split(value) for word in part.split()]
    return dict(word[2:].split("=", 1) for word in words if re.match("--[^=]+=", word))
