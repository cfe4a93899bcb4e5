# Copyright: the ohmykube authors
# SPDX-License-Identifier: Apache-2.0
"""What a node lacks, and what of others is in the way: named at once, before anything is changed."""

from __future__ import annotations

import glob
import os

from ansible_collections.ohmykube.cluster.plugins.module_utils import (
    apt_proxy,
    artifacts,
    ownership,
    programs,
    trust,
    units,
)

CONFIG = "/etc/containerd/config.toml"
UNIT = "containerd.service"
PROGRAM = "containerd"
TASKS = "/run/containerd/io.containerd.runtime.v2.task"
PACKAGES = {
    "conntrack": "conntrack",
    "ip": "iproute2",
    "iptables": "iptables",
    "modprobe": "kmod",
    "mount": "mount",
    "nsenter": "util-linux",
    "swapoff": "mount",
    "umount": "mount",
    "update-ca-certificates": "ca-certificates",
    "update-ca-trust": "ca-certificates",
}
FOREIGN = (
    "this node has a containerd that these roles did not install: %s. It stays as it is. Next: use another host, or set "
    "containerd_takeover (containerdTakeover in cluster.yaml), if all that it runs may go on with ours; what is replaced is "
    "copied and put back when ours is removed. Nothing was changed"
)
MISSING = "this node lacks %s. Next: install %s (packages of Debian: %s). Nothing was changed"


def problems(params, facts):
    """Return what is wrong; ``params`` are those of ``node_prepare``."""
    wanted = list(params["programs"])
    if facts.get("in_container") or not params["manage_kernel"]:
        wanted = [name for name in wanted if name not in ("modprobe", "swapoff")]
    if params["swap"] == "keep":
        wanted = [name for name in wanted if name != "swapoff"]
    result = trust.problems(params["trusted_certificates"])
    result += apt_proxy.problems(params["apt_proxies"])
    if params["trusted_certificates"]:
        wanted.append(trust.store(str)[1])
    missing = [name for name in wanted if programs.find(name) is None]
    if missing:
        packages = sorted({PACKAGES[name] for name in missing if name in PACKAGES})
        it = "it" if len(missing) == 1 else "them"
        result.append(MISSING % (", ".join(missing), it, " ".join(packages) or "not known"))
    if params["foreign_containerd"] == "refuse":
        strange = foreign_containerd()
        if strange:
            result.append(FOREIGN % ", ".join(strange))
    return result


def foreign_containerd():
    """Return what shows a containerd of others: configuration, program, unit, containers."""
    owned, ours = ownership.Ownership(), artifacts.Inventory().all_files()
    strange = []
    if os.path.lexists(CONFIG) and not owned.has(CONFIG):
        strange.append(CONFIG)
    program = programs.find(PROGRAM)
    if program and program not in ours and not owned.has(program):
        strange.append(program)
    unit = units.survey([UNIT]).get(UNIT, {})
    path = unit.get("FragmentPath", "")
    if path and not owned.has(path):
        strange.append("%s (%s)" % (path, unit.get("ActiveState", "")))
    if strange:
        for place in sorted(glob.glob(TASKS + "/*")):
            count = len(os.listdir(place))
            if count:
                strange.append("%d running in %s" % (count, os.path.basename(place)))
    return strange
