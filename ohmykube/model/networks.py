"""Networks of clusters: those that providers take, and the word for a free one."""

from __future__ import annotations

import ipaddress

AUTO = "auto"
"""Instead of a network: one that is free when the cluster is made."""

RESERVED = {"nspawn": ipaddress.IPv4Network("10.88.0.0/23")}
"""Networks in which a provider puts its nodes, and their way out."""
