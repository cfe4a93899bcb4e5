# Copyright: the ohmykube authors
# SPDX-License-Identifier: Apache-2.0
"""What the roles must know about a node, read from the kernel and /etc in milliseconds."""

from __future__ import annotations

import os
import platform
import socket

from ansible_collections.ohmykube.cluster.plugins.module_utils import (
    api_server,
    kubeadm,
    node_settings,
    programs,
)
from ansible_collections.ohmykube.cluster.plugins.module_utils.storage import read_text

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
CAP_SYS_RESOURCE = 24


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
        "default_ip": default_address(),
        "has_zstd": programs.find("zstd") is not None,
        "hostname": hostname,
        "in_container": in_container(at),
        "joined": joined,
        "kubernetes_version": record.value.get("kubernetes", ""),
        "os": {"id": release.get("ID", ""), "version": release.get("VERSION_ID", "")},
        "python": platform.python_version(),
        "resolver": resolver(at),
        "swap": len(read_text(at("/proc/swaps")).splitlines()) > 1,
        "systemd": os.path.isdir(at("/run/systemd/system")),
    }


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


def default_address():
    """Return the address of the interface with the default route, or ''. Nothing is sent."""
    for family, target in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((target, 9))
                return probe.getsockname()[0]
        except OSError:
            continue
    return ""
