# Copyright: the ohmykube authors
# SPDX-License-Identifier: Apache-2.0
"""Lay one mapping over another."""

from __future__ import annotations


def merged(base, patch, lists=None):
    """Return ``base`` with ``patch`` merged over it: mappings deeply, everything else replaced.

    ``lists`` gives for the name of a field, wherever it stands, the function that lays a list of ``patch``
    over that of ``base``. What such a list, or a mapping, has in ``base`` also stays where ``patch`` says null.
    """
    lists = lists or {}
    result = dict(base)
    for key, value in patch.items():
        ours = result.get(key)
        if isinstance(ours, dict) and (isinstance(value, dict) or value is None):
            result[key] = merged(ours, value or {}, lists)
        elif key in lists and isinstance(ours, list) and (isinstance(value, list) or value is None):
            result[key] = lists[key](ours, value or [])
        else:
            result[key] = value
    return result


def by_name(ours, theirs):
    """Lay entries over others of the same ``name``; several of theirs may have one name."""
    names = [entry.get("name") for entry in theirs if isinstance(entry, dict)]
    return [entry for entry in ours if entry.get("name") not in names] + theirs


def united(ours, theirs):
    """Return the entries of both, each once."""
    return ours + [entry for entry in theirs if entry not in ours]
