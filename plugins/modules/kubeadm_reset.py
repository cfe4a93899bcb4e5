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
  - Does so only on a node on which M(ohmykube.cluster.kubeadm_init) or M(ohmykube.cluster.kubeadm_join) recorded that
    they began or took over. What was there before kubeadm began stays, such as the data of another etcd.
  - Fails on a node with a Kubernetes that is in no record of theirs.
  - Rules of the packet filter that are not Kubernetes' own stay.
author:
  - The ohmykube authors (@monshunter)
options:
  force:
    description: Remove everything of these names, whoever made it.
    type: bool
    default: false
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
kept:
  description: Paths of which something stays, as it was there before.
  type: list
  elements: str
  returned: success
"""

import glob

from ansible_collections.ohmykube.cluster.plugins.module_utils import (
    ansible_module,
    kubeadm,
    kubectl,
    leftovers,
    node,
    node_state,
    programs,
    storage,
)

OPTIONS = {
    "force": {"type": "bool", "default": False},
    "timeout": {"type": "int", "default": 300},
    "lock_timeout": {"type": "int", "default": 600},
}
REFUSED = (
    "this node has a Kubernetes that was not made by these roles: %s. It stays as it is; with kubeadm_reset_force it is "
    "removed all the same, with its data"
)


def own_paths():
    """Return what nobody but us makes, the record of kubeadm last."""
    names = (node_state.MANAGED, node_state.OBJECTS)
    records = ["%s/%s" % (storage.STATE_DIRECTORY, name) for name in names]
    return [kubectl.CACHE, kubeadm.LOG_DIRECTORY, *records, kubeadm.RECORD]


class Reset:
    """One call of the module."""

    def __init__(self, params, check_mode):
        self._params = params
        self._check = check_mode
        self.changes = []
        self.kept = []

    def run(self):
        """Take Kubernetes off."""
        with kubeadm.locked(self._params["lock_timeout"]) as lock:
            record = kubeadm.Record()
            strange = [] if record.value else traces()
            if strange and not self._params["force"]:
                raise kubeadm.KubeadmError(REFUSED % ", ".join(strange), "survey")
            if record.value or self._params["force"]:
                found = leftovers.NOTHING if self._params["force"] else record.found
                self._everything_but(found, lock)
            for path in own_paths():
                self._remove(path)
        self.kept = [path for path in leftovers.PATHS if leftovers.is_there(path)]

    def _everything_but(self, found, lock):
        if (kubeadm.Record().value or traces()) and programs.find("kubeadm"):
            timeout = self._params["timeout"]
            self._do("kubeadm reset", lambda: kubeadm.reset(lock, timeout, found))
        for path in leftovers.PATHS:
            self._remove(path, found["paths"])
        for name in sorted(
            leftovers.links().intersection(leftovers.LINKS).difference(found["links"])
        ):
            self._do(
                "remove link " + name,
                lambda name=name: programs.run(["ip", "link", "delete", name]),
            )
        for family in leftovers.FAMILIES:
            text = leftovers.saved(family)
            rest = leftovers.without_kubernetes(text, found["chains"])
            if rest != text:
                restore = [family + "-restore"]
                self._do(
                    "clean " + family,
                    lambda rest=rest, argv=restore: programs.run(argv, stdin=rest),
                )
        for table in leftovers.nft_tables():
            shown = " ".join(table)
            if shown not in found["tables"]:
                argv = ["nft", "delete", "table", *table]
                self._do("remove nft table " + shown, lambda argv=argv: programs.run(argv))

    def _remove(self, path, kept=()):
        for part in leftovers.removable(path, kept):
            self._do("remove " + part, lambda part=part: leftovers.remove(part))

    def _do(self, what, action):
        self.changes.append(what)
        if not self._check:
            action()


def traces():
    """Return what shows that Kubernetes is or was here: files, and pods that containerd runs."""
    pods = glob.glob("/run/containerd/io.containerd.runtime.v2.task/k8s.io/*")
    return kubeadm.traces() + (["pods in containerd"] if pods else [])


def main():
    module = ansible_module.Module(OPTIONS)
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
        kept=reset.kept,
        ansible_facts={"ohmykube_node": node.gather()},
    )


if __name__ == "__main__":
    main()
