# Copyright: the ohmykube authors
# SPDX-License-Identifier: Apache-2.0
"""Compose kubeadm's configuration from role variables and node facts; pure functions."""

from __future__ import annotations

import json

from ansible_collections.ohmykube.cluster.plugins.module_utils import kubeadm_settings
from ansible_collections.ohmykube.cluster.plugins.plugin_utils.merge import (
    by_name,
    ignored,
    kubelet_arguments,
    merged,
    united,
)

KUBEADM = "kubeadm.k8s.io/v1beta4"
# Lists of kubeadm's configuration that hold what our nodes need: what the user adds comes beside that.
LISTS = {
    "certSANs": united,
    "extraArgs": by_name,
    "ignorePreflightErrors": ignored,
    "kubeletExtraArgs": kubelet_arguments,
}
# Its controllers each ask for a token of their own when it starts, 20 a second by default: nobody makes
# pods or signs certificates for five seconds.
CONTROLLER_MANAGER = {"kube-api-qps": "100", "kube-api-burst": "200"}
# Seconds that kubeadm waits, and by which a leader is given up, on machines of common speed.
TIMEOUTS = {
    "controlPlaneComponentHealthCheck": 240,
    "kubeletHealthCheck": 240,
    # kubeadm's own is a minute, but its first call waits for a control plane that is still to come up.
    "kubernetesAPICall": 240,
    "etcdAPICall": 120,
    "tlsBootstrap": 300,
    "discovery": 300,
}
LEADER = {
    "leader-elect-lease-duration": 15,
    "leader-elect-renew-deadline": 10,
    "leader-elect-retry-period": 2,
}
# Seconds between signs of life of a node, for how long one counts, and when a silent node is given up. A
# kubelet also takes the first for the limit of each such call, and starts over when it has passed.
KUBELET = {
    "nodeStatusUpdateFrequency": 10,
    "volumeStatsAggPeriod": 60,
    "containerLogMonitorInterval": 10,
}
NODE_LEASE_SECONDS = 40
NODE_MONITOR = {"node-monitor-period": 5, "node-monitor-grace-period": 50}
# Seconds between two looks of the kubelet's cadvisor at all cgroups of a node.
HOUSEKEEPING = {"housekeeping-interval": 10}
# Seconds in which etcd has to answer when the API server says how it is itself.
API_SERVER = {"etcd-healthcheck-timeout": 2, "etcd-readycheck-timeout": 2}
# How kubeadm lets a part of the control plane be asked how it is: answering costs a good deal where every
# second counts six times, and one that is busy is killed for its silence.
PROBES = {
    "livenessProbe": {"periodSeconds": 10, "timeoutSeconds": 15},
    "readinessProbe": {"periodSeconds": 1, "timeoutSeconds": 15},
    "startupProbe": {"timeoutSeconds": 15},
}
PARTS = {
    "etcd": ("livenessProbe", "readinessProbe", "startupProbe"),
    "kube-apiserver": ("livenessProbe", "readinessProbe", "startupProbe"),
    "kube-controller-manager": ("livenessProbe", "startupProbe"),
    "kube-scheduler": ("livenessProbe", "startupProbe"),
}
PATCHES = "/etc/kubernetes/ohmykube-patches"
SLOW = "-slow"
"""Of the names of our patches: those of the user are other files, and have the last word."""
# Milliseconds; etcd takes no election timeout of more than 50 s.
ETCD = {"heartbeat-interval": 100, "election-timeout": 1000}
ETCD_MOST = 50
# Label prefixes that a kubelet may not give itself; kube_nodes sets those.
RESTRICTED = ("kubernetes.io", "k8s.io")
ALLOWED = ("kubelet.kubernetes.io", "node.kubernetes.io")
ALLOWED_KEYS = (
    "kubernetes.io/hostname",
    "kubernetes.io/arch",
    "kubernetes.io/os",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
)


def compact(document):
    """Return a mapping without values that are None, '' or empty mappings and lists; taints may be empty."""
    result = {}
    for key, value in document.items():
        kept = compact(value) if isinstance(value, dict) else value
        if key == "taints" and value == []:
            result[key] = []
        elif kept is False or kept == 0 or kept:
            result[key] = kept
    return result


def ignored_errors(settings, node):
    """Return the preflight errors to ignore: the user's, and those that this node cannot help."""
    ignored = list(settings.get("ignore_preflight_errors") or [])
    if node.get("cgroup_version") == 1:
        ignored.append("SystemVerification")
    if node.get("in_container"):
        ignored += [
            "SystemVerification",
            "Swap",
            "FileContent--proc-sys-net-bridge-bridge-nf-call-iptables",
        ]
    elif settings.get("swap") == "keep":
        ignored.append("Swap")
    return sorted(set(ignored))


def self_labels(labels):
    """Return the labels that a kubelet may give itself."""
    return {key: value for key, value in labels.items() if not is_restricted(key)}


def is_restricted(key):
    """Return True for a label that only the control plane may set."""
    prefix = key.partition("/")[0] if "/" in key else ""
    if key in ALLOWED_KEYS or any(prefix == one or prefix.endswith("." + one) for one in ALLOWED):
        return False
    return any(prefix == one or prefix.endswith("." + one) for one in RESTRICTED)


def taint(text):
    """Return ``key[=value]:Effect`` as a Taint object."""
    head, _colon, effect = text.rpartition(":")
    key, _equals, value = head.partition("=")
    return compact({"key": key, "value": value, "effect": effect})


def registration(settings, node):
    """Return nodeRegistration."""
    labels = self_labels(settings.get("node_labels") or {})
    arguments = {"node-ip": settings["node_ip"]}
    if labels:
        arguments["node-labels"] = ",".join("%s=%s" % pair for pair in sorted(labels.items()))
    arguments.update(longer(HOUSEKEEPING, settings))
    taints = settings.get("node_taints")
    return {
        "name": settings["node_name"],
        "ignorePreflightErrors": ignored_errors(settings, node),
        "imagePullPolicy": settings.get("image_pull_policy"),
        "imagePullSerial": False,
        "kubeletExtraArgs": [
            {"name": name, "value": value} for name, value in arguments.items() if value
        ],
        "taints": None if taints is None else [taint(text) for text in taints],
    }


def primary_address(settings):
    """Return the node's address of the cluster's primary IP family."""
    return settings["node_ip"].partition(",")[0]


def kubelet_document(settings, node):
    """Return the KubeletConfiguration."""
    document = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "cgroupDriver": settings.get("cgroup_driver") or cgroup_driver("auto", node),
        "serializeImagePulls": False,
        "maxParallelImagePulls": 3,
    }
    if node.get("cgroup_version") == 1:
        document["failCgroupV1"] = False
    if node.get("in_container") or settings.get("swap") == "keep":
        document["failSwapOn"] = False
    if slowdown(settings) > 1:
        document["nodeLeaseDurationSeconds"] = NODE_LEASE_SECONDS * slowdown(settings)
        document.update(longer(KUBELET, settings))
    return merged(document, settings.get("kubelet_configuration") or {})


def kube_proxy_document(settings, node):
    """Return the KubeProxyConfiguration; the conntrack sysctls belong to the host of a system container."""
    document = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": settings["proxy_mode"],
    }
    if node.get("in_container"):
        document["conntrack"] = {"maxPerCore": 0, "min": 0}
    return merged(document, settings.get("kube_proxy_configuration") or {})


def slowdown(settings):
    """Return how many times longer than usual everything takes on the nodes."""
    return int(settings.get("slowdown") or 1)


def timeouts(settings):
    """Return kubeadm's time limits for slow nodes; None leaves its own."""
    return longer(TIMEOUTS, settings) or None


def patches(settings):
    """Return where kubeadm finds what it lays over what it writes; None where there is nothing."""
    if slowdown(settings) == 1 and not settings.get("patches"):
        return None
    return {"directory": PATCHES}


def kubeadm_files(files, contents=None):
    """Return the user's files for ``deploy``; those without ``content`` have it in ``contents``.

    Any of them may be a key, so none is shown. Without ``contents`` they are paths, to be removed, also
    those of patches.
    """
    if contents is None:
        return [
            {"path": entry.get("path") or "%s/%s" % (PATCHES, entry["name"])} for entry in files
        ]
    return [
        {
            "path": entry["path"],
            "content": _text(entry, contents),
            "mode": entry.get("mode") or "0600",
            "sensitive": True,
        }
        for entry in files
    ]


def _text(entry, contents):
    if entry.get("content") is not None:
        return entry["content"]
    if entry.get("sha256") not in contents:
        name = entry.get("path") or entry.get("name")
        raise ValueError("%s has no content, and kubeadm_contents has none either" % name)
    return contents[entry["sha256"]]


def kubeadm_patches(factor, patches=(), contents=None):
    """Return as files for ``deploy`` what kubeadm lays over what it writes.

    That is the user's ``patches``, and longer probes of the control plane's pods on slow nodes, for which
    its own configuration has no fields.
    """
    files = [
        {"path": "%s/%s" % (PATCHES, entry["name"]), "content": _text(entry, contents or {})}
        for entry in patches
    ]
    if int(factor) == 1:
        return files
    for part, probes in PARTS.items():
        container = {"name": part}
        for probe in probes:
            container[probe] = {name: value * int(factor) for name, value in PROBES[probe].items()}
        content = json.dumps({"spec": {"containers": [container]}}, indent=1, sort_keys=True)
        files.append(
            {"path": "%s/%s+strategic.json" % (PATCHES, part + SLOW), "content": content + "\n"}
        )
    return files


def longer(arguments, settings):
    """Return arguments that are seconds, longer ones for slow nodes; none for others."""
    factor = slowdown(settings)
    if factor == 1:
        return {}
    return {name: "%ds" % (seconds * factor) for name, seconds in arguments.items()}


def extra_arguments(values):
    """Return arguments as kubeadm takes them."""
    return [{"name": name, "value": value} for name, value in values.items()]


def etcd_arguments(settings):
    """Return etcd's arguments on slow nodes; none on others."""
    factor = min(slowdown(settings), ETCD_MOST)
    if factor == 1:
        return []
    return extra_arguments({name: str(base * factor) for name, base in ETCD.items()})


def cluster_document(settings):
    """Return the ClusterConfiguration; with keys for slow nodes that cost a fraction of RSA's."""
    document = {
        "apiVersion": KUBEADM,
        "kind": "ClusterConfiguration",
        "kubernetesVersion": "v" + settings["kubernetes_version"].lstrip("v"),
        "controlPlaneEndpoint": settings["control_plane_endpoint"],
        "encryptionAlgorithm": "ECDSA-P256" if slowdown(settings) > 1 else None,
        "networking": {
            "podSubnet": settings["pod_cidr"],
            "serviceSubnet": settings["service_cidr"],
            "dnsDomain": settings["dns_domain"],
        },
        "apiServer": {
            "certSANs": list(settings.get("cert_sans") or []),
            "extraArgs": extra_arguments(longer(API_SERVER, settings)),
        },
        "controllerManager": {
            "extraArgs": extra_arguments(
                dict(CONTROLLER_MANAGER, **longer(dict(LEADER, **NODE_MONITOR), settings))
            )
        },
        "scheduler": {"extraArgs": extra_arguments(longer(LEADER, settings))},
        "etcd": {
            "local": {
                "dataDir": "/var/lib/etcd",
                "imageTag": settings.get("etcd_image_tag"),
                "extraArgs": etcd_arguments(settings),
            }
        },
        "dns": {"imageTag": settings.get("dns_image_tag")},
    }
    patch = dict(settings.get("cluster_configuration") or {})
    if "external" in (patch.get("etcd") or {}):
        document.pop("etcd")
    return merged(compact(document), patch, LISTS)


def kubeadm_init_documents(settings, node):
    """Return the documents of ``kubeadm init``: Init, Cluster, Kubelet and KubeProxy configuration."""
    init = {
        "apiVersion": KUBEADM,
        "kind": "InitConfiguration",
        # kubeadm always makes one token here; nobody uses it, so it lives as short as it can.
        "bootstrapTokens": [{"ttl": "1m0s"}],
        "localAPIEndpoint": {"advertiseAddress": primary_address(settings)},
        "nodeRegistration": registration(settings, node),
        "patches": patches(settings),
        "timeouts": timeouts(settings),
    }
    return [
        merged(compact(init), settings.get("init_configuration") or {}, LISTS),
        cluster_document(settings),
        kubelet_document(settings, node),
        kube_proxy_document(settings, node),
    ]


def kubeadm_join_document(settings, node, control_plane=False):
    """Return the JoinConfiguration without its secrets."""
    join = {
        "apiVersion": KUBEADM,
        "kind": "JoinConfiguration",
        "discovery": {"bootstrapToken": {"apiServerEndpoint": settings["control_plane_endpoint"]}},
        "nodeRegistration": registration(settings, node),
        "timeouts": timeouts(settings),
    }
    if control_plane:
        join["controlPlane"] = {"localAPIEndpoint": {"advertiseAddress": primary_address(settings)}}
    if control_plane or settings.get("patches"):
        join["patches"] = patches(settings)
    return merged(compact(join), settings.get("join_configuration") or {}, LISTS)


def kube_nodes_wanted(hosts):
    """Return node name -> labels and taints that the control plane must set, for hosts' variables.

    What is wanted is in the fact ``kubeadm_node`` of each host: variables of a play or a role are not
    among what other hosts see. A node that has not joined gets its taints, and the labels it may give
    itself, from the kubelet, and has none to lose.
    """
    wanted = {}
    for host in hosts:
        node = host["kubeadm_node"]
        joined = (host.get("ansible_facts") or {}).get("ohmykube_node", {}).get("joined", False)
        labels = dict(node["labels"])
        if not joined:
            labels = {key: value for key, value in labels.items() if is_restricted(key)}
        wish = {"labels": labels, "taints": list(node["taints"] or []) if joined else []}
        if joined:
            wish["absent_labels"] = list(node["absent_labels"])
            wish["absent_taints"] = list(node["absent_taints"])
        if any(wish.values()):
            wanted[node["name"]] = wish
    return wanted


def cgroup_driver(wanted, node):
    """Return ``systemd`` or ``cgroupfs``: as wanted, or for ``auto`` what suits the node."""
    if wanted != "auto":
        return wanted
    return "systemd" if node.get("cgroup_version") == 2 and node.get("systemd") else "cgroupfs"


class FilterModule:
    """The filters of this file."""

    def filters(self):
        return {
            "cgroup_driver": cgroup_driver,
            "kube_nodes_wanted": kube_nodes_wanted,
            "kubeadm_init_documents": kubeadm_init_documents,
            "kubeadm_documents_sum": kubeadm_settings.sum_of,
            "kubeadm_join_document": kubeadm_join_document,
            "kubeadm_files": kubeadm_files,
            "kubeadm_patches": kubeadm_patches,
        }
