# Copyright: the ohmykube authors
# SPDX-License-Identifier: Apache-2.0
"""What the roles must know about a node, read from the kernel and /etc in milliseconds."""

from __future__ import annotations

import fcntl
import os
import platform
import socket
import struct

from ansible_collections.ohmykube.cluster.plugins.module_utils import (
    api_server,
    kubeadm,
    node_settings,
    programs,
)
from ansible_collections.ohmykube.cluster.plugins.module_utils.storage import read_text

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
CAP_SYS_RESOURCE = 24
SIOCGIFMTU = 0x8921
POD_CARDS = ("cni", "flannel", "veth", "cilium", "lxc")


def gather(root="/", wait_for_api=0):
    """Return the facts, a flat dict; ``root`` is for tests.

    An API server that does not answer yet is given ``wait_for_api`` seconds.
    """

    def at(path):
        return os.path.join(root, path.lstrip("/"))

    record = kubeadm.Record(at(kubeadm.RECORD))
    release = os_release(read_text(at("/etc/os-release")))
    joined = kubeadm.has_joined(record, at)
    control_plane = api_server.is_here(at)
    hostname = socket.gethostname()
    is_half_done = record.begun and not joined
    return {
        **(node_settings.NOTHING if is_half_done else node_settings.gather(at, hostname)),
        "api_problem": api_server.wait(wait_for_api, at) if control_plane else "",
        "api_server": api_server.address_in(read_text(at(api_server.manifest()))),
        "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
        "begun": record.value.get("action", "") if is_half_done else "",
        "cap_sys_resource": has_capability(read_text(at("/proc/1/status")), CAP_SYS_RESOURCE),
        "cgroup_version": 2 if os.path.exists(at("/sys/fs/cgroup/cgroup.controllers")) else 1,
        "cluster_ca": kubeadm.ca_hash(at(kubeadm.CA_CERTIFICATE)),
        "cluster_endpoint": api_server.server_in(read_text(at(kubeadm.ADMIN_CONFIG))),
        "control_plane": control_plane,
        "default_ip": default_address(socket.AF_INET) or default_address(socket.AF_INET6),
        "default_ip6": default_address(socket.AF_INET6),
        "mtu6": mtu6(at),
        "has_zstd": programs.find("zstd") is not None,
        "hostname": hostname,
        "in_container": in_container(at),
        "joined": joined,
        "initialised_with": record.value.get("config", "") if _is_maker(record) else "",
        "kubernetes_version": record.value.get("kubernetes", ""),
        "os": {"id": release.get("ID", ""), "version": release.get("VERSION_ID", "")},
        "python": platform.python_version(),
        "resolver": resolver(at),
        "swap": len(read_text(at("/proc/swaps")).splitlines()) > 1,
        "systemd": os.path.isdir(at("/run/systemd/system")),
    }


def _is_maker(record):
    return record.value.get("action") == "init"


def os_release(text):
    """Return the pairs of an os-release file."""
    pairs = (
        line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#")
    )
    return {key.strip(): value.strip().strip("\"'") for key, value in pairs}


def has_capability(status, number):
    """Return True when process 1 both holds a capability and may hand it on; unknown counts as True."""
    masks = [
        int(line.split()[1], 16)
        for line in status.splitlines()
        if line.startswith(("CapEff:", "CapBnd:"))
    ]
    return all(mask >> number & 1 for mask in masks)


def in_container(at):
    """Return True in a system container, which shares its kernel with other machines."""
    if os.path.exists(at("/run/systemd/container")) or os.path.exists(
        at("/run/host/container-manager")
    ):
        return True
    try:
        return "container=" in read_text(at("/proc/1/environ"))
    except PermissionError:  # another user's process 1: a container without privileges
        return True


def resolver(at):
    """Return the resolv.conf for pods: systemd-resolved's real one where its stub is in use."""
    real = "/run/systemd/resolve/resolv.conf"
    return real if os.path.exists(at(real)) else "/etc/resolv.conf"


def mtu6(at):
    """Return the least MTU of the network cards with a global IPv6 address, pod networks aside; 0 where there is none."""
    found = []
    for row in (line.split() for line in read_text(at("/proc/net/if_inet6")).splitlines()):
        name, is_global = row[5], row[3] == "00"
        if is_global and not name.startswith(POD_CARDS) and name != "lo":
            found.append(mtu_of(name))
    return min((mtu for mtu in found if mtu), default=0)


def mtu_of(card):
    """Return the MTU of a network card, 0 where there is none; sysfs may be of another network namespace."""
    request = struct.pack("16si12x", card.encode(), 0)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            return struct.unpack("16si12x", fcntl.ioctl(probe, SIOCGIFMTU, request))[1]
    except OSError:
        return 0


def default_address(family):
    """Return the address of the interface with the default route of an IP family, or ''. Nothing is sent."""
    target = "192.0.2.1" if family == socket.AF_INET else "2001:db8::1"
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((target, 9))
            return probe.getsockname()[0]
    except OSError:
        return ""
