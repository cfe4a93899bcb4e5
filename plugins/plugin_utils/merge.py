# Copyright: the ohmykube authors
# SPDX-License-Identifier: Apache-2.0
"""Lay one mapping over another."""

from __future__ import annotations


def merged(base, patch):
    """Return ``base`` with ``patch`` merged over it: mappings deeply, everything else replaced."""
    result = dict(base)
    for key, value in patch.items():
        if isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = merged(result[key], value)
        else:
            result[key] = value
    return result
