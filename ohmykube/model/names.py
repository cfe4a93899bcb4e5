"""The one rule for names of clusters and nodes.

They become directory, network namespace, cgroup and host names, so a name is a DNS label (RFC 1123)
and short: never a path, never ``..``, never an option.
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


def is_name(text: str) -> bool:
    """Tell whether ``text`` may be the name of a cluster or node."""
    return _FORM.fullmatch(text) is not None
