# Copyright: the ohmykube authors
# SPDX-License-Identifier: Apache-2.0
"""Lay one mapping over another."""

from __future__ import annotations

LABELS = "node-labels"


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


def ignored(ours, theirs):
    """Return the preflight errors to ignore of both; kubeadm refuses ``all`` beside others."""
    if any(isinstance(entry, str) and entry.lower() == "all" for entry in theirs):
        return ["all"]
    return united(ours, theirs)


def kubelet_arguments(ours, theirs):
    """Lay a kubelet's arguments over others by name, but those with labels: it adds them up."""
    taken = {label.partition("=")[0] for label in _labels(theirs)}
    kept = [label for label in _labels(ours) if label.partition("=")[0] not in taken]
    labels = [{"name": LABELS, "value": ",".join(kept)}] if kept else []
    found = by_name(ours, theirs)
    return found if any(one in found for one in labels) else labels + found


def _labels(arguments):
    named = [one for one in arguments if isinstance(one, dict) and one.get("name") == LABELS]
    return [label for one in named for label in str(one.get("value") or "").split(",") if label]
