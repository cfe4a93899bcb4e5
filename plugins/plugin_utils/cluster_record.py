# Copyright: the ohmykube authors
# SPDX-License-Identifier: Apache-2.0
"""Read what the CLI keeps of a cluster: its record and its ssh configuration; pure but for reading files.

The CLI's package may not be installed where this runs, so its formats are read here once more. Its tests
hold both readers to the same files. Everything returned is data from outside.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys

SCHEMA = 2
DOCUMENT = "ohmykube.dev/v1"
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
NODE_NAME = re.compile(
    r"(?=.{1,63}$)(?![0-9]+\.[0-9.]+$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*"
)
CONTROL_PLANE, WORKER = "control-plane", "worker"
GROUPS = {CONTROL_PLANE: "kube_control_plane", WORKER: "kube_node"}
PREFIX = {CONTROL_PLANE: "cp", WORKER: "w"}
LOCAL_SANS = ("127.0.0.1", "localhost")
# Settings of a lock of schema 1, and the variables of roles that they became.
LOCKED = {
    "pause_image": "containerd_sandbox_image",
    "etcd_tag": "kubeadm_etcd_image_tag",
    "coredns_tag": "kubeadm_dns_image_tag",
    "flannel_image": "flannel_image",
    "flannel_cni_image": "flannel_cni_plugin_image",
}


class RecordError(Exception):
    """There is no such cluster, or what is remembered of it cannot be used; says what to do."""


class _Damaged(Exception):
    """The content is not what the CLI writes; says in what way."""


def state_directory(environ, platform=sys.platform):
    """Return the directory in which the CLI keeps its state for the user of this environment."""
    if environ.get("OHMYKUBE_HOME"):
        return os.path.join(os.path.abspath(os.path.expanduser(environ["OHMYKUBE_HOME"])), "state")
    home = os.path.abspath(environ.get("HOME") or os.path.expanduser("~"))
    if platform == "darwin":
        return os.path.join(home, "Library", "Application Support", "ohmykube", "state")
    given = environ.get("XDG_STATE_HOME") or ""
    return os.path.join(given if os.path.isabs(given) else home + "/.local/state", "ohmykube")


def load(state, cluster):
    """Return ``(directory, record)`` of a cluster below the state directory.

    Raises RecordError.
    """
    if not NAME.fullmatch(cluster):
        raise RecordError("%r is not the name of a cluster" % cluster[:80])
    directory = os.path.join(state, "clusters", cluster)
    path = os.path.join(directory, "record.json")
    data = _read(path)
    if data is None:
        raise RecordError(
            'there is no cluster "%s": %s does not exist (ohmykube list shows the clusters of a user)'
            % (cluster, path)
        )
    try:
        record = decode(data, cluster)
    except _Damaged as error:
        raise RecordError(
            'the record of cluster "%s" is damaged (ohmykube status %s tells the way back): %s: %s'
            % (cluster, cluster, path, error)
        ) from None
    except RecordError as error:
        raise RecordError("%s: %s" % (path, error)) from None
    return directory, record


def decode(data, cluster):
    """Return the record of ``cluster`` in the bytes of a file; raises RecordError for a newer one."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        raise _Damaged("it is not JSON") from None
    if not isinstance(content, dict) or not isinstance(content.get("schema"), int):
        raise _Damaged("it has no schema number")
    schema, body = content["schema"], content.get("cluster")
    if schema > SCHEMA:
        raise RecordError(
            "made by a newer version of ohmykube (schema %d, this collection knows %d); upgrade the collection: "
            "ansible-galaxy collection install --upgrade ohmykube.cluster" % (schema, SCHEMA)
        )
    text = json.dumps([schema, body], sort_keys=True, separators=(",", ":"))
    if content.get("sha256") != hashlib.sha256(text.encode("ascii")).hexdigest():
        raise _Damaged("its checksum does not match its content")
    texts = ("name", "provider", "kubernetes_version")
    whole = (
        schema in (1, SCHEMA) and isinstance(body, dict) and isinstance(body.get("document"), dict)
    )
    if not whole or not all(isinstance(body.get(key), str) for key in texts):
        raise _Damaged("its content is not a record")
    if body["name"] != cluster:
        raise _Damaged('it is the record of cluster "%s"' % body["name"][:80])
    if body["document"].get("apiVersion") != DOCUMENT:
        raise _Damaged("it describes no cluster")
    return _of_schema_2(body) if schema == 1 else body


def _of_schema_2(body):
    """Return the content of a record of schema 1 as one of schema 2."""
    found = dict(body, addons=[])
    try:
        lock, network = body.get("lock"), body["document"]["spec"]["network"]
        if lock:
            settings = lock.get("settings", {})
            variables = {LOCKED[name]: settings[name] for name in LOCKED if name in settings}
            found["lock"] = {"architectures": [lock["arch"]], "sets": [{"variables": variables}]}
        if network["cni"] == "flannel":
            variables = {
                "flannel_network": network["podCIDR"],
                "flannel_backend": network["flannel"]["backend"],
                "flannel_nftables": network["proxyMode"] == "nftables",
            }
            role = "ohmykube.cluster.flannel"
            found["addons"] = [{"role": role, "provides": ["cni"], "variables": variables}]
    except (AttributeError, KeyError, TypeError) as error:
        raise _Damaged("its content cannot be read (%s)" % error) from None
    return found


def nodes(record):
    """Return the nodes that the cluster should have, control planes first: mappings with name, role,
    labels, taints (None when not given), files (each with path, mode and sha256), host (None or the host's
    mapping).

    Raises RecordError.
    """
    try:
        wanted = record["document"]["spec"]["nodes"]
        found = [
            *_members(wanted["controlPlane"], CONTROL_PLANE),
            *_members(wanted["workers"], WORKER),
        ]
        wrong = [node["name"] for node in found if not NODE_NAME.fullmatch(node["name"])]
    except (AttributeError, KeyError, TypeError) as error:
        raise RecordError("the nodes of the cluster cannot be read (%s)" % error) from None
    if wrong:
        raise RecordError("%r is not the name of a node" % wrong[0][:80])
    return found


def _members(groups, role):
    groups = groups if isinstance(groups, list) else [groups]
    for group in groups:
        hosts = group.get("hosts")
        if hosts is not None:
            named = [(host["name"], host) for host in hosts]
        elif "names" in group:
            named = [(name, None) for name in group["names"]]
        else:  # the only group of this role: others have names
            named = [(PREFIX[role] + str(one + 1), None) for one in range(group["count"])]
        for name, host in named:
            yield {
                "name": name,
                "role": role,
                "labels": dict(group.get("labels") or {}),
                "taints": group.get("taints"),
                "files": group.get("files") or [],
                "host": host,
            }


def settings(record):
    """Return the cluster's own settings as the roles' variables; raises RecordError."""
    try:
        spec, lock = record["document"]["spec"], record.get("lock") or {}
        network, patches = spec["network"], spec.get("kubeadm") or {}
        found = {
            "cluster_name": record["name"],
            "cluster_cni": network["cni"],
            "kubeadm_kubernetes_version": record["kubernetes_version"],
            "kubeadm_control_plane_group": GROUPS[CONTROL_PLANE],
            "kubeadm_worker_group": GROUPS[WORKER],
            "kubeadm_control_plane_endpoint": network.get("apiServerEndpoint") or "",
            "kubeadm_pod_cidr": network["podCIDR"],
            "kubeadm_service_cidr": network["serviceCIDR"],
            "kubeadm_dns_domain": network["dnsDomain"],
            "kubeadm_proxy_mode": network["proxyMode"],
            "kubeadm_cert_sans": list(dict.fromkeys([*LOCAL_SANS, *network["certSANs"]])),
            "kubeadm_init_configuration": patches.get("initConfiguration") or {},
            "kubeadm_join_configuration": patches.get("joinConfiguration") or {},
            "kubeadm_cluster_configuration": patches.get("clusterConfiguration") or {},
            "kubeadm_kubelet_configuration": patches.get("kubeletConfiguration") or {},
            "kubeadm_kube_proxy_configuration": patches.get("kubeProxyConfiguration") or {},
        }
        if patches.get("patches"):
            found["kubeadm_patches"] = patches["patches"]
        networks = [addon["role"] for addon in record["addons"] if "cni" in addon["provides"]]
        others = [addon["role"] for addon in record["addons"] if "cni" not in addon["provides"]]
        found["cluster_network_role"] = networks[0] if networks else ""
        if others:
            found["cluster_addon_roles"] = others
        for one in (*record["addons"], *lock.get("sets", ())):
            found.update(one["variables"])
    except (AttributeError, KeyError, TypeError) as error:
        raise RecordError("the settings of the cluster cannot be read (%s)" % error) from None
    return found


def ssh_hosts(directory):
    """Return the path of the cluster's ssh configuration, and keyword -> value for each ``Host`` in it.

    Raises RecordError.
    """
    path = os.path.join(directory, "ssh_config")
    data = _read(path)
    if data is None:
        raise RecordError(
            "the cluster has no machines to reach yet: %s does not exist (ohmykube up)" % path
        )
    hosts, current = {}, {}
    for line in data.decode("utf-8", "replace").splitlines():
        key, _blank, value = line.strip().partition(" ")
        if key == "Host":
            current = hosts.setdefault(value, {})
        elif key:
            current[key] = _value(value)
    return path, hosts


def file_contents(directory, wanted):
    """Return the path of the texts of the user's files, and the sums of ``wanted`` of which it has none.

    It is ``''`` where nothing is wanted. Raises RecordError.
    """
    if not wanted:
        return "", []
    path = os.path.join(directory, "file-contents.json")
    try:
        known = json.loads(_read(path) or "{}")
    except ValueError:
        known = None
    if not isinstance(known, dict):
        raise RecordError("%s is damaged (run ohmykube up with the cluster's file)" % path)
    return path, sorted(set(wanted) - set(known))


def shares_connections(hosts):
    """Return True unless ssh would fail because the directory for its sockets is gone, as after a reboot."""
    socket = hosts.get("*", {}).get("ControlPath")
    return socket is None or os.path.isdir(os.path.dirname(socket))


def _value(text):
    if text.startswith('"'):
        text = re.sub(r"\\(.)", r"\1", text[1:-1])
    return text.replace("%%", "%")


def _read(path):
    """Return a file's bytes, None when it does not exist."""
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise RecordError(
            "cannot read %s: %s (run as its owner)" % (path, error.strerror)
        ) from error
