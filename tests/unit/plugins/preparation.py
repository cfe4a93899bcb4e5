"""What node_prepare is asked for in tests, and what is known of the node."""

from __future__ import annotations

from typing import Any

FACTS = {"hostname": "cp1", "default_ip": "10.0.0.11", "swap": False}
PARAMS: dict[str, Any] = {
    "kernel_modules": ["overlay", "br_netfilter"],
    "sysctls": {"net.ipv4.ip_forward": 1, "vm.overcommit_memory": 1},
    "manage_kernel": True,
    "hosts": {"w1": "10.0.0.12"},
    "swap": "off",
    "trusted_certificates": [],
    "apt_proxies": [],
    "directories": ["/etc/cni/net.d"],
}
