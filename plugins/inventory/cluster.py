# Copyright: the ohmykube authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The nodes of a cluster that ``ohmykube up`` made, as an inventory."""

from __future__ import annotations

DOCUMENTATION = r"""
name: cluster
short_description: Nodes of a cluster made by ohmykube
version_added: 0.1.0
author: The ohmykube authors (@monshunter)
description:
  - Reads what the command C(ohmykube) keeps of a cluster on this machine, and gives its nodes as hosts.
    The command itself is neither run nor needed; nothing is changed, and no machine is asked.
  - The file must be named C(*.ohmykube.yml) or C(*.ohmykube.yaml).
  - Hosts are in the groups C(kube_control_plane) and C(kube_node), both of them children of C(k8s_cluster).
  - Each host has what Ansible needs to reach it (C(ansible_host), C(ansible_user), C(ansible_ssh_common_args) with the
    cluster's own ssh configuration, C(ansible_become) where needed), C(ohmykube_role) (C(control-plane) or C(worker)),
    C(kubeadm_node_name), C(kubeadm_node_labels), and, where known, C(kubeadm_node_taints), C(kubeadm_node_ip) and
    C(kubeadm_files).
  - The group C(k8s_cluster) has the settings of the cluster (version, networks, kubeadm configuration) as the variables of
    this collection's roles, so that a role run with this inventory does not change them, and C(ohmykube_provider).
  - Text from the record is data. Templates in it, in a label for example, are never evaluated.
notes:
  - Run it as the user who made the cluster. Clusters made with sudo belong to root.
  - Roles that install something take it from upstream with this inventory. The cache of this machine is opened to the nodes
    by C(ohmykube up) alone.
  - A node of the record without a machine is left out with a warning.
seealso:
  - name: Using the roles
    description: The ways in, with examples.
    link: https://github.com/monshunter/ohmykube/blob/main/docs/roles.md
extends_documentation_fragment:
  - ansible.builtin.constructed
options:
  plugin:
    description: Marks the file as one for this plugin.
    required: true
    choices: [ohmykube.cluster.cluster]
  cluster:
    description: Name of the cluster, as C(ohmykube list) shows it.
    type: str
    required: true
  state_directory:
    description:
      - Directory in which the command keeps its clusters.
      - When not given it is found as the command finds it, C($OHMYKUBE_HOME/state), else C($XDG_STATE_HOME/ohmykube), else
        C(~/.local/state/ohmykube) (on macOS C(~/Library/Application Support/ohmykube/state)).
    type: path
"""

EXAMPLES = r"""
# dev.ohmykube.yml, for
#   ansible-inventory -i dev.ohmykube.yml --graph
#   ansible -i dev.ohmykube.yml kube_node -m ansible.builtin.command -a uptime
#   ansible-playbook -i dev.ohmykube.yml ohmykube.cluster.node_facts
plugin: ohmykube.cluster.cluster
cluster: dev

---
# A group for each value of a label, and variables of your own
plugin: ohmykube.cluster.cluster
cluster: dev
state_directory: ~/clusters/state
strict: true
keyed_groups:
  - prefix: zone
    key: kubeadm_node_labels['topology.kubernetes.io/zone'] | default('none')
groups:
  storage: "'storage' in kubeadm_node_labels"
compose:
  node_address: kubeadm_node_ip | default(ansible_host)
"""

import os
import shlex

from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin
from ansible_collections.ohmykube.cluster.plugins.plugin_utils import cluster_record, composing

SUFFIXES = (".ohmykube.yml", ".ohmykube.yaml")
ALL = "k8s_cluster"
# The machines of this provider are all in one network, at the addresses that ssh uses.
ONE_NETWORK = "nspawn"


class InventoryModule(BaseInventoryPlugin, composing.Composing):
    """Hosts, groups and variables of one cluster."""

    NAME = "ohmykube.cluster.cluster"

    def verify_file(self, path):
        """Tell whether the file is one for this plugin."""
        return super().verify_file(path) and path.endswith(SUFFIXES)

    def parse(self, inventory, loader, path, cache=True):
        """Fill the inventory; raises AnsibleParserError."""
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        state = self.get_option("state_directory") or cluster_record.state_directory(os.environ)
        try:
            self._populate(str(state), str(self.get_option("cluster")))
        except cluster_record.RecordError as error:
            raise AnsibleParserError("ohmykube.cluster.cluster: %s" % error) from error
        for name in list(self.inventory.groups[ALL].get_hosts()):
            self.compose(str(name))

    def _populate(self, state, cluster):
        directory, record = cluster_record.load(state, cluster)
        ssh_config, reached = cluster_record.ssh_hosts(directory)
        arguments = ["-F", ssh_config]
        if not cluster_record.shares_connections(reached):
            arguments += ["-o", "ControlMaster=no", "-o", "ControlPath=none"]
        for group in cluster_record.GROUPS.values():
            self.inventory.add_group(group)
        self.inventory.add_group(ALL)
        for group in cluster_record.GROUPS.values():
            self.inventory.add_child(ALL, group)
        shared = self._settings(directory, record)
        planes, addresses = {}, {}
        for node in cluster_record.nodes(record):
            there = reached.get(node["name"], {})
            if "HostName" not in there:
                self.display.warning(
                    'node "%s" of cluster "%s" has no machine; it is left out'
                    % (node["name"], cluster)
                )
                continue
            variables = _variables(node, there, shared)
            variables["ansible_ssh_common_args"] = shlex.join(arguments)
            addresses[node["name"]] = _addresses(node, there, shared).partition(",")[0]
            if node["role"] == cluster_record.CONTROL_PLANE:
                planes[node["name"]] = addresses[node["name"]]
            self._populate_host_vars([node["name"]], variables, cluster_record.GROUPS[node["role"]])
        for name, address in addresses.items():
            known = dict(planes, **{name: address})
            if all(known.values()):
                self.inventory.set_variable(name, "node_hosts", known)
        for name, value in shared.items():
            self.inventory.set_variable(ALL, name, value)

    def _settings(self, directory, record):
        """Return the variables of all; of the user's files the sums, and where roles find the texts."""
        found = dict(cluster_record.settings(record), ohmykube_provider=record["provider"])
        files = [one for node in cluster_record.nodes(record) for one in node["files"]]
        wanted = [one["sha256"] for one in files + found.get("kubeadm_patches", [])]
        path, missing = cluster_record.file_contents(directory, wanted)
        if missing:
            found.pop("kubeadm_patches", None)
            self.display.warning(
                "texts of files for nodes of cluster %s are not known here, so roles are given none of them "
                "(ohmykube up with its file keeps them): %s" % (record["name"], ", ".join(missing))
            )
        elif path:
            found["kubeadm_contents_file"] = path
        return found


def _variables(node, there, shared):
    """Return a host's variables, but for the arguments of ssh."""
    found = {
        "ansible_host": node["name"],
        # Ansible's own would share connections between clusters whose nodes have the same names.
        "ansible_ssh_args": "",
        "ansible_python_interpreter": "/usr/bin/python3",
        "ohmykube_role": node["role"],
        "kubeadm_node_name": node["name"],
        "kubeadm_node_labels": node["labels"],
    }
    if "User" in there:
        found["ansible_user"] = there["User"]
    if (node["host"] or {}).get("become"):
        found["ansible_become"] = True
    if node["files"] and "kubeadm_contents_file" in shared:
        found["kubeadm_files"] = node["files"]
    if node["taints"] is not None:
        found["kubeadm_node_taints"] = node["taints"]
    addresses = _addresses(node, there, shared)
    # Of two IP families a node knows its other address itself.
    if addresses.count(",") == shared["kubeadm_pod_cidr"].count(",") and addresses:
        found["kubeadm_node_ip"] = addresses
    return found


def _addresses(node, there, shared):
    """Return what is known of a node's addresses, the primary one first; '' where nothing is."""
    if shared["ohmykube_provider"] == ONE_NETWORK:
        return there["HostName"]
    return (node["host"] or {}).get("nodeIP") or ""
