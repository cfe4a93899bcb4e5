# Copyright: the ohmykube authors
# SPDX-License-Identifier: Apache-2.0
"""What kubeadm, the kubelet and pod networks leave on a node, and what of these names was there before them.

A name proves nothing: an etcd of somebody else also keeps its data in /var/lib/etcd. So what is there when kubeadm
begins is recorded, and stays when Kubernetes is taken off.
"""

from __future__ import annotations

import json
import os
import re

from ansible_collections.ohmykube.cluster.plugins.module_utils import artifacts, programs

ETCD_DATA = "/var/lib/etcd"
PATHS = (
    "/etc/kubernetes",
    ETCD_DATA,
    "/var/lib/kubelet",
    "/var/lib/cni",
    "/var/log/pods",
    "/var/log/containers",
    "/run/flannel",
    "/usr/libexec/kubernetes",
    "/etc/cni/net.d/10-flannel.conflist",
    "/opt/cni/bin/flannel",
)
LINKS = ("flannel.1", "flannel-v6.1", "cni0", "kube-ipvs0", "nodelocaldns")
CHAIN = re.compile(r"KUBE-|FLANNEL-|CNI-")
NFT_TABLES = ("kube-proxy", "flannel-ipv4", "flannel-ipv6")
FAMILIES = ("iptables", "ip6tables")
NOTHING = {"paths": [], "links": [], "chains": [], "tables": []}


def found(ours=()):
    """Return what of these names is on the node now; ``ours`` are files that our modules wrote."""
    return {
        "paths": [part for path in PATHS for part in foreign(path, set(ours))],
        "links": sorted(links().intersection(LINKS)),
        "chains": sorted({chain for family in FAMILIES for chain in chains(saved(family))}),
        "tables": [" ".join(table) for table in nft_tables()],
    }


def found_beside(has_etcd):
    """Return what is not the Kubernetes' that somebody made here; ``has_etcd``: it keeps an etcd of its own."""
    return dict(NOTHING, paths=[] if has_etcd else foreign(ETCD_DATA))


def foreign(path, ours=()):
    """Return what a path holds that is not ours: the files in it, and directories further down that hold files."""
    if os.path.islink(path) or not os.path.isdir(path):
        return [path] if os.path.lexists(path) and path not in ours else []
    result = []
    for directory, names, files in os.walk(path):
        linked = [name for name in names if os.path.islink(os.path.join(directory, name))]
        here = {os.path.join(directory, name) for name in files + linked}
        theirs = here.difference(ours)
        if directory == path:
            result += theirs
        elif theirs:
            result.append(directory)
            names.clear()
    return sorted(result)


def removable(path, kept=()):
    """Return the topmost parts of a path that hold nothing which stays."""
    inside = is_kept(path, kept)
    if path in inside:
        return []
    if not inside or not os.path.isdir(path):
        return [path] if is_there(path) else []
    return [
        part
        for name in sorted(os.listdir(path))
        for part in removable(os.path.join(path, name), inside)
    ]


def is_kept(path, kept):
    """Return what stays of a path, out of all that stays."""
    return [one for one in kept if one == path or one.startswith(path + "/")]


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


def links():
    """Return the network interfaces of this node; /sys may show those of the machine around a container."""
    with open("/proc/net/dev", encoding="ascii") as stream:
        return {line.partition(":")[0].strip() for line in stream if ":" in line}


def saved(family):
    """Return the packet filter's rules as ``iptables-save`` prints them, or '' where it is not installed."""
    if programs.find(family + "-save") is None or programs.find(family + "-restore") is None:
        return ""
    return programs.run([family + "-save"], timeout=60).stdout


def chains(text):
    """Return the chains of Kubernetes and of pod networks in the text of iptables-save."""
    names = (line.split()[0][1:] for line in text.splitlines() if line.startswith(":"))
    return {name for name in names if CHAIN.match(name)}


def without_kubernetes(text, kept=()):
    """Return the text of iptables-save without chains of Kubernetes and rules that are in them or lead to them.

    Chains in ``kept`` stay, with all that is in them or leads to them.
    """
    gone = chains(text).difference(kept)
    lines = []
    for line in text.splitlines(keepends=True):
        words = line.split()
        in_chain = line.startswith(":") and words[0][1:] in gone
        rule = line.startswith("-A") and not gone.isdisjoint([words[1], *_targets(words)])
        # flannel marks rules of its own in chains of the kernel.
        flannel = line.startswith("-A") and "flanneld" in line and not kept
        if not (in_chain or rule or flannel):
            lines.append(line)
    return "".join(lines)


def _targets(words):
    return [
        words[index + 1]
        for index, word in enumerate(words[:-1])
        if word in ("-j", "-g", "--jump", "--goto")
    ]


def nft_tables():
    """Return family and name of the tables of kube-proxy and flannel."""
    if programs.find("nft") is None:
        return []
    try:
        listed = json.loads(programs.run(["nft", "--json", "list", "tables"]).stdout)["nftables"]
    except (programs.ProgramError, ValueError, KeyError):
        return []
    tables = (entry.get("table", {}) for entry in listed)
    return [[table["family"], table["name"]] for table in tables if table.get("name") in NFT_TABLES]
