# Copyright: the ohmykube authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The virtual machines of Lima that ``ohmykube up`` made, as an inventory."""

from __future__ import annotations

DOCUMENTATION = r"""
name: lima
short_description: Virtual machines of Lima made by ohmykube
version_added: 0.2.0
author: The ohmykube authors (@monshunter)
description:
  - Asks C(limactl) for the machines that C(ohmykube) made with its provider C(lima), and gives them as hosts. The command
    C(ohmykube) itself is neither run nor needed; no machine is started or changed.
  - The file must be named C(*.lima.yml) or C(*.lima.yaml).
  - Only machines that carry the mark of C(ohmykube) are hosts, whatever else is in that directory of Lima.
  - Hosts are in the groups C(kube_control_plane) and C(kube_node), both of them children of C(k8s_cluster). With O(cluster) a
    host is named after its node; else after its instance, for nodes of two clusters may have the same name.
  - Each host has what Ansible needs to reach it, C(kubeadm_node_name) and C(kubeadm_node_ip), C(ohmykube_cluster),
    C(ohmykube_role), C(ohmykube_provider), and of the machine C(lima_instance), C(lima_status), C(lima_cpus), C(lima_memory) and
    C(lima_disk) (bytes), C(lima_arch), C(lima_vm_type), C(lima_network), C(lima_version).
  - Text from machines is data. Templates in it are never evaluated.
notes:
  - Run it as the user who made the cluster.
  - With a cache, the ports of ssh are those of when it was filled. They change when a machine starts.
seealso:
  - plugin: ohmykube.cluster.cluster
    plugin_type: inventory
extends_documentation_fragment:
  - ansible.builtin.constructed
  - ansible.builtin.inventory_cache
options:
  plugin:
    description: Marks the file as one for this plugin.
    required: true
    choices: [ohmykube.cluster.lima]
  cluster:
    description: Name of a cluster; the machines of all clusters when not given.
    type: str
  lima_home:
    description:
      - Directory of Lima in which the machines are.
      - When not given it is found as the command finds it, C($OHMYKUBE_LIMA_HOME), else C($OHMYKUBE_HOME/lima), else
        C(~/.omk/lima).
    type: path
  limactl:
    description: The program, a name on PATH or a path.
    type: str
    default: limactl
  stopped:
    description: Whether machines that do not run are hosts too.
    type: bool
    default: false
"""

EXAMPLES = r"""
# dev.lima.yml, for
#   ansible-inventory -i dev.lima.yml --graph
#   ansible -i dev.lima.yml kube_node -m ansible.builtin.command -a uptime
plugin: ohmykube.cluster.lima
cluster: dev

---
# All clusters, a group for each of them, and what is big
plugin: ohmykube.cluster.lima
stopped: true
strict: true
keyed_groups:
  - prefix: cluster
    key: ohmykube_cluster
groups:
  big: lima_memory >= 4 * 1024 ** 3
compose:
  node_address: kubeadm_node_ip | default(ansible_host)
"""

import os

from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable
from ansible_collections.ohmykube.cluster.plugins.plugin_utils import composing, lima_instances

SUFFIXES = (".lima.yml", ".lima.yaml")
ALL = "k8s_cluster"


class InventoryModule(BaseInventoryPlugin, composing.Composing, Cacheable):
    """Hosts and groups of one cluster, or of all."""

    NAME = "ohmykube.cluster.lima"

    def verify_file(self, path):
        """Tell whether the file is one for this plugin."""
        return super().verify_file(path) and path.endswith(SUFFIXES)

    def parse(self, inventory, loader, path, cache=True):
        """Fill the inventory; raises AnsibleParserError."""
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        key = self.get_cache_key(path)
        keep = self.get_option("cache")
        hosts = self._cache.get(key) if keep and cache else None
        if hosts is None:
            hosts = self._ask()
            if keep:
                self._cache[key] = hosts
        self._populate(hosts)

    def _ask(self):
        cluster = self.get_option("cluster")
        if cluster is not None and not lima_instances.NAME.fullmatch(cluster):
            raise AnsibleParserError(
                "ohmykube.cluster.lima: %r is not the name of a cluster" % cluster[:80]
            )
        home = self.get_option("lima_home") or lima_instances.home(os.environ)
        marked = lima_instances.marks(home, cluster)
        if cluster is not None and not marked:
            raise AnsibleParserError(
                'ohmykube.cluster.lima: there is no machine of cluster "%s" in %s (ohmykube list shows the clusters of a user)'
                % (cluster, home)
            )
        try:
            program = os.path.expanduser(self.get_option("limactl"))
            instances = lima_instances.listed(home, program, list(marked))
        except lima_instances.LimaError as error:
            raise AnsibleParserError("ohmykube.cluster.lima: %s" % error) from error
        return lima_instances.hosts(home, marked, instances)

    def _populate(self, hosts):
        for group in (ALL, *lima_instances.GROUPS.values()):
            self.inventory.add_group(group)
        for group in lima_instances.GROUPS.values():
            self.inventory.add_child(ALL, group)
        named = "instance" if self.get_option("cluster") is None else "node"
        for host in hosts:
            if not host["running"] and not self.get_option("stopped"):
                self.display.vv("%s does not run; it is left out" % host["instance"])
                continue
            self._populate_host_vars([host[named]], host["variables"], host["group"] or ALL)
            self.compose(host[named])
