"""What commands make of the add-ons of a document, before it is checked like any other."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from ohmykube.config.problems import closest, echo
from ohmykube.kit import entrypoints
from ohmykube.model.addon import GROUP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ohmykube.config.overrides import AddonChange
    from ohmykube.config.problems import Path
    from ohmykube.config.yaml_source import Source

_FLAGS = {"version": "--version", "namespace": "--namespace", "values": "--values"}


def apply(source: Source, changes: Sequence[AddonChange]) -> None:
    """Make the changes in ``spec.addons``; what cannot be is noted among the source's problems."""
    spec: Any = source.data.setdefault("spec", {})
    if not isinstance(spec, dict):
        return  # which is going to be said
    entries = [
        {"name": one} if isinstance(one, str) else dict(one) for one in spec.get("addons") or []
    ]
    for change in changes:
        if change.remove:
            entries = _without(source, entries, change)
        else:
            _put(source, entries, change)
    spec["addons"] = entries


def _without(
    source: Source, entries: list[dict[str, Any]], change: AddonChange
) -> list[dict[str, Any]]:
    left = [entry for entry in entries if entry["name"] != change.name]
    network = (source.data["spec"].get("network") or {}).get("cni")
    if change.name == network:
        text = f"{change.name} is the pod network of this cluster, which cannot be taken away"
        _refuse(source, len(left), text)
    elif len(left) == len(entries):
        known = (*(entry["name"] for entry in entries), *entrypoints.names(GROUP))
        if change.name not in known:
            text = f"there is no add-on {echo(change.name)}{closest(change.name, known)}"
            _refuse(source, len(left), text)
    return left


def _put(source: Source, entries: list[dict[str, Any]], change: AddonChange) -> None:
    names = [entry["name"] for entry in entries]
    if change.name not in names:
        if change.preferred:
            text = f"{change.name} is not in this cluster: ohmykube addon install {change.name}"
            _refuse(source, len(entries), text)
            return
        names.append(change.name)
        entries.append({"name": change.name})
    index = names.index(change.name)
    entry, path = entries[index], ("spec", "addons", index)
    if change.preferred:
        entry.pop("version", None)
    given = {"version": change.version, "namespace": change.namespace, "values": change.values}
    entry |= {key: value for key, value in given.items() if value is not None}
    source.flags[(*path, "name")] = "NAME"
    source.flags |= {(*path, key): flag for key, flag in _FLAGS.items() if given[key] is not None}
    if change.settings:
        entry["values"] = copy.deepcopy(entry.get("values") or {})
    for keys, value in change.settings.items():
        _set(entry["values"], keys, value)
        source.flags[(*path, "values", *keys)] = f"--set {'.'.join(keys)}"


def _set(values: dict[str, Any], keys: tuple[str, ...], value: Any) -> None:
    """Put a value where its keys lead; what is in the way, and is no mapping, makes room."""
    *above, last = keys
    for key in above:
        if not isinstance(values.get(key), dict):
            values[key] = {}
        values = values[key]
    values[last] = value


def _refuse(source: Source, index: int, text: str) -> None:
    path: Path = ("spec", "addons", index, "name")
    source.flags[path] = "NAME"
    source.problems.append(source.problem(path, text))
