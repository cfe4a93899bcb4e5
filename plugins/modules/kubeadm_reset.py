#!/usr/bin/python
# Copyright: the ohmykube authors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

DOCUMENTATION = r"""
module: kubeadm_reset
short_description: Take Kubernetes off a node
version_added: 0.1.0
description:
  - Runs C(kubeadm reset), then removes what kubeadm leaves - network interfaces, packet filter chains and tables of
    kube-proxy and flannel, CNI configuration and state, data of etcd and the kubelet, logs of pods.
  - Rules of the packet filter that are not Kubernetes' own stay.
author:
  - The ohmykube authors (@monshunter)
options:
  timeout:
    description: Seconds that C(kubeadm reset) may take.
    type: int
    default: 300
  lock_timeout:
    description: Seconds to wait for another kubeadm on the same node.
    type: int
    default: 600
attributes:
  check_mode:
    description: Reports what would be removed.
    support: full
"""

EXAMPLES = r"""
- name: Take Kubernetes off
  ohmykube.cluster.kubeadm_reset:
"""

RETURN = r"""
ansible_facts:
  description: The fact C(ohmykube_node), see M(ohmykube.cluster.node_info).
  type: dict
  returned: success
changes:
  description: What was removed.
  type: list
  elements: str
  returned: always
"""

import glob
import json
import os
import re

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ohmykube.cluster.plugins.module_utils import (
    artifacts,
    kubeadm,
    kubectl,
    node,
    node_state,
    programs,
    storage,
)

OPTIONS = {
    "timeout": {"type": "int", "default": 300},
    "lock_timeout": {"type": "int", "default": 600},
}
PATHS = (
    kubeadm.DIRECTORY,
    kubeadm.ETCD_DATA,
    "/var/lib/kubelet",
    "/var/lib/cni",
    "/var/log/pods",
    "/var/log/containers",
    "/run/flannel",
    kubectl.CACHE,
    kubeadm.RECORD,
    *(
        "%s/%s" % (storage.STATE_DIRECTORY, name)
        for name in (node_state.MANAGED, node_state.OBJECTS)
    ),
    kubeadm.LOG_DIRECTORY,
)
CNI_FILES = ("/etc/cni/net.d/10-flannel.conflist", "/opt/cni/bin/flannel")
LINKS = ("flannel.1", "flannel-v6.1", "cni0", "kube-ipvs0", "nodelocaldns")
CHAIN = re.compile(r"KUBE-|FLANNEL-|CNI-")
NFT_TABLES = ("kube-proxy", "flannel-ipv4", "flannel-ipv6")


class Reset:
    """One call of the module."""

    def __init__(self, params, check_mode):
        self._params = params
        self._check = check_mode
        self.changes = []

    def run(self):
        """Take Kubernetes off."""
        with kubeadm.locked(self._params["lock_timeout"]) as lock:
            self._kubeadm(lock)
            for path in PATHS + CNI_FILES:
                if is_there(path):
                    self._do("remove " + path, lambda path=path: remove(path))
            present = links()
            for name in LINKS:
                if name in present:
                    self._do(
                        "remove link " + name,
                        lambda name=name: programs.run(["ip", "link", "delete", name]),
                    )
            for family in ("iptables", "ip6tables"):
                self._filter(family)
            self._nftables()

    def _kubeadm(self, lock):
        is_used = kubeadm.traces() or kubeadm.Record().value or running_pods()
        if is_used and programs.find("kubeadm"):
            self._do("kubeadm reset", lambda: kubeadm.reset(lock, self._params["timeout"]))

    def _do(self, what, action):
        self.changes.append(what)
        if not self._check:
            action()

    def _filter(self, family):
        save, restore = family + "-save", family + "-restore"
        if programs.find(save) is None or programs.find(restore) is None:
            return
        text = programs.run([save], timeout=60).stdout
        rest = without_kubernetes(text)
        if rest != text:
            self._do("clean " + family, lambda: programs.run([restore], stdin=rest, timeout=60))

    def _nftables(self):
        if programs.find("nft") is None:
            return
        try:
            listed = json.loads(programs.run(["nft", "--json", "list", "tables"]).stdout)[
                "nftables"
            ]
        except (programs.ProgramError, ValueError, KeyError):
            return
        for entry in listed:
            table = entry.get("table", {})
            if table.get("name") in NFT_TABLES:
                words = [table["family"], table["name"]]
                self._do(
                    "remove nft table %s %s" % tuple(words),
                    lambda words=words: programs.run(["nft", "delete", "table", *words]),
                )


def links():
    """Return the network interfaces of this node; /sys may show those of the machine around a container."""
    with open("/proc/net/dev", encoding="ascii") as stream:
        return {line.partition(":")[0].strip() for line in stream if ":" in line}


def running_pods():
    """Return True when containerd runs pods of Kubernetes."""
    return bool(glob.glob("/run/containerd/io.containerd.runtime.v2.task/k8s.io/*"))


def without_kubernetes(saved):
    """Return the text of iptables-save without chains of Kubernetes and rules that are in them or lead to them."""
    kept = []
    for line in saved.splitlines(keepends=True):
        words = line.split()
        in_chain = line.startswith(":") and CHAIN.match(words[0][1:])
        rule = line.startswith("-A") and any(
            CHAIN.match(word) for word in (words[1], *_targets(words))
        )
        flannel = line.startswith("-A") and "flanneld" in line
        if not (in_chain or rule or flannel):
            kept.append(line)
    return "".join(kept)


def _targets(words):
    return [
        words[index + 1]
        for index, word in enumerate(words[:-1])
        if word in ("-j", "-g", "--jump", "--goto")
    ]


def is_there(path):
    """Return True when there is something to remove; an empty mount point is nothing, a dead link is something."""
    if os.path.isdir(path) and not os.path.islink(path):
        return bool(os.listdir(path)) or not os.path.ismount(path)
    return os.path.lexists(path)


def remove(path):
    """Remove a path; mounts below a directory (the kubelet's volumes) are undone first."""
    prefix = path.rstrip("/") + "/"
    with open("/proc/self/mounts", encoding="utf-8") as stream:
        points = [line.split()[1].replace("\\040", " ") for line in stream]
    for point in sorted((point for point in points if point.startswith(prefix)), reverse=True):
        programs.run(["umount", "--lazy", point])
    artifacts.remove_tree(path)


def main():
    module = AnsibleModule(argument_spec=OPTIONS, supports_check_mode=True)
    reset = Reset(module.params, module.check_mode)
    try:
        reset.run()
    except kubeadm.KubeadmError as error:
        module.fail_json(
            msg=str(error), phase=error.phase, output=error.output, changes=reset.changes
        )
    except (programs.ProgramError, OSError) as error:
        module.fail_json(msg=str(error), output=getattr(error, "output", ""), changes=reset.changes)
    module.exit_json(
        changed=bool(reset.changes),
        changes=reset.changes,
        ansible_facts={"ohmykube_node": node.gather()},
    )


if __name__ == "__main__":
    main()
