# Copyright: the ohmykube authors
# SPDX-License-Identifier: Apache-2.0
"""Say what is wrong with values whose format a type cannot express; all problems at once."""

from __future__ import annotations

import ipaddress
import re
import urllib.parse

LABEL_NAME = r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
DNS_NAME = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*"
PATCHED = (
    "corednsdeployment",
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubeletconfiguration",
)
IMAGE = r"[a-z0-9]([a-z0-9._:-]*[a-z0-9])?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(@sha256:[0-9a-f]{64})?"
PATTERNS = {
    "version": (r"[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?", "a version such as 1.36.3"),
    "dns_name": (DNS_NAME, "a lower-case DNS name"),
    "image": (IMAGE, "an image reference"),
    "checksum": (
        r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}",
        "a checksum such as sha256:<64 hex digits>",
    ),
    "absolute_path": (r"/[^\0\n]*", "an absolute path"),
    "module_name": (r"[A-Za-z0-9_-]+", "a kernel module"),
    "sysctl": (
        r"[a-z0-9_-]+([./][A-Za-z0-9_-]+)+",
        "a kernel parameter such as net.ipv4.ip_forward",
    ),
    "label_key": (r"(%s/)?%s" % (DNS_NAME, LABEL_NAME), "a label key"),
    "label_value": (r"(%s)?" % LABEL_NAME, "a label value"),
    "taint": (
        r"(%s/)?%s(=(%s)?)?:(NoSchedule|PreferNoSchedule|NoExecute)"
        % (DNS_NAME, LABEL_NAME, LABEL_NAME),
        "a taint such as key=value:NoSchedule",
    ),
    "kubeadm_patch": (
        r"(%s)[A-Za-z0-9-]*(\+(strategic|merge|json))?\.(json|yaml)" % "|".join(PATCHED),
        "the name of a patch such as kube-apiserver+merge.yaml",
    ),
    "tag": (r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", "an image tag"),
    "interface": (r"[^\s/]{1,15}", "a network interface"),
}


def format_problems(values):
    """Return messages for ``values``: variable name -> [format, value or list of values, may it be empty]."""
    messages = []
    for name, (kind, value, *optional) in values.items():
        for item in value if isinstance(value, (list, tuple)) else [value]:
            if (item is None or item == "") and optional and optional[0]:
                continue
            wanted = complaint(kind, item)
            if wanted:
                messages.append(
                    "%s: %r is not %s" % (name, item if item is None else str(item), wanted)
                )
    return messages


def complaint(kind, value):
    """Return what ``value`` ought to be, or '' when it is."""
    text = "" if value is None else str(value)
    if kind in PATTERNS:
        pattern, wanted = PATTERNS[kind]
        return "" if re.fullmatch(pattern, text) else wanted
    return CHECKS[kind](text)


def unknown_versions(versions, checksums, artifacts):
    """Return messages for versions without checksums.

    ``versions``: component -> [name of the variable, version]. ``checksums``: component -> architecture -> version ->
    sum. ``artifacts``: the variable that takes files of other versions.
    """
    messages = []
    for component, (variable, version) in versions.items():
        known = sorted(set().union(*checksums[component].values()), key=_numbers)
        if str(version) not in known:
            messages.append(
                "%s: the checksums of %s are not known. Next: take one of %s, or name files and checksums in %s"
                % (variable, version, ", ".join(known), artifacts)
            )
    return messages


def settled_otherwise(values):
    """Return messages for what was given and is something else by now.

    ``values``: variable -> [given, value of who gives none, what it is; empty where it is not settled yet].
    """
    return [
        "%s: it is %s here, stays so, and cannot become %s. Next: leave %s out, or say what it is"
        % (name, settled, given, name)
        for name, (given, default, settled) in values.items()
        if settled and given not in (default, settled)
    ]


def _numbers(version):
    return [int(part) for part in re.findall("[0-9]+", version)]


def cidr_complaint(text):
    """Return what a network ought to be; kubeadm refuses leading zeros and host bits."""
    try:
        for part in text.split(","):
            ipaddress.ip_network(part.strip())
    except ValueError:
        return "a network such as 10.244.0.0/16 (no host bits, no leading zeros)"
    return "" if "/" in text else "a network such as 10.244.0.0/16"


def address_complaint(text):
    """Return what an address ought to be."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return "an IP address"
    return ""


def endpoint_complaint(text):
    """Return what host:port ought to be."""
    host, _colon, port = text.rpartition(":")
    is_port = port.isdigit() and 0 < int(port) < 65536
    is_host = re.fullmatch(DNS_NAME, host) or not address_complaint(host.strip("[]"))
    return "" if is_port and is_host else "a host and port such as 10.0.0.11:6443"


def url_complaint(text):
    """Return what a URL ought to be."""
    try:
        parts = urllib.parse.urlsplit(text)
        good = parts.scheme in ("http", "https", "file") and bool(parts.netloc or parts.path)
    except ValueError:
        good = False
    return "" if good and not re.search(r"[\s\"'\\]", text) else "an http, https or file URL"


CHECKS = {
    "cidr": cidr_complaint,
    "address": address_complaint,
    "endpoint": endpoint_complaint,
    "url": url_complaint,
}


class FilterModule:
    """The filters of this file."""

    def filters(self):
        return {
            "format_problems": format_problems,
            "settled_otherwise": settled_otherwise,
            "unknown_versions": unknown_versions,
        }
