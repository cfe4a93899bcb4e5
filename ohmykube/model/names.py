"""The rules for names of clusters and nodes.

They become directory, network namespace, cgroup and host names, so a name is a DNS label (RFC 1123)
and short: never a path, never ``..``, never an option. A host that exists has a name already, often
one of several parts; its node may have it too, as far as Kubernetes allows.
"""

from __future__ import annotations

import re

LONGEST = 40
"""Characters; ``<cluster>.<node>`` stays well below the limits of everything it is used in."""

PATTERN = r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$"
RULE = f"lower-case letters, digits and inner hyphens, at most {LONGEST}"

HIDDEN = "_"
"""Clusters that ohmykube makes for itself begin with this: no user's name does."""

_FORM = re.compile(PATTERN.strip("^$"))


LONGEST_OF_HOST = 63
"""Characters; the kubelet makes a label of a node's name, and values of labels end there."""

PATTERN_OF_HOST = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$"
RULE_OF_HOST = (
    "a DNS name: lower-case letters, digits, inner hyphens and dots between them, "
    f"at most {LONGEST_OF_HOST}"
)

RESERVED = frozenset({"all", "ungrouped", "localhost"})
"""No node's name: they mean something else to Ansible."""

_FORM_OF_HOST = re.compile(PATTERN_OF_HOST.strip("^$"))
_NUMBERS = re.compile(r"[0-9.]+")


def is_name(text: str) -> bool:
    """Tell whether ``text`` may be the name of a cluster or node."""
    return _FORM.fullmatch(text) is not None


def is_host_name(text: str) -> bool:
    """Tell whether a node on a host that exists may have this name.

    Dots and digits alone are an address, which is none: the host may get another one.
    """
    if len(text) > LONGEST_OF_HOST or ("." in text and _NUMBERS.fullmatch(text)):
        return False
    return _FORM_OF_HOST.fullmatch(text) is not None
