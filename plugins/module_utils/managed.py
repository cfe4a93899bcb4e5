# Copyright: the ohmykube authors
# SPDX-License-Identifier: Apache-2.0
"""The record of what our modules look after on a node, as they left it; ``node_state`` compares it.

``node_prepare`` begins it anew, and each module after it adds what it has just made sure of. So after
a play it holds what that play looks after, and nothing of an earlier release. Deployments stay, as they
need not be made again where nothing of them differs; one that is made replaces all of its former self.
What is applied to the cluster's API is recorded apart, on the control plane that applied it.
"""

from __future__ import annotations

import contextlib
import os
import time

from ansible_collections.ohmykube.cluster.plugins.module_utils import (
    node_state,
    programs,
    releases,
    storage,
)


def _path(name):
    return os.path.join(storage.STATE_DIRECTORY, name)


def file_entry(item):
    """Return the entry of a DesiredFile that is as desired."""
    if item.state == "absent":
        return None
    return {
        "mark": node_state.mark(os.lstat(item.path)),
        "sha256": node_state.digest_of(item.path),
    }


def files():
    """Return the paths of files that our modules wrote or removed."""
    return set(storage.read_json(_path(node_state.MANAGED), {}).get("files", {}))


def units():
    """Return the full names of units that our modules look after."""
    return set(storage.read_json(_path(node_state.MANAGED), {}).get("units", {}))


def intact():
    """Return {name: digest} of the deployments of which all is as they left it; raises ProgramError."""
    known = storage.read_json(_path(node_state.MANAGED), {})
    made = known.get("deployments", {})
    installed = storage.read_json(_path(node_state.ARTIFACTS), {}).get("artifacts", {})
    names = sorted({unit for entry in made.values() for unit in entry["units"]})
    shown = programs.run([*node_state.SHOW, *names]).stdout.split("\n\n") if names else []
    found = dict(zip(names, shown))
    return {
        name: entry["digest"]
        for name, entry in made.items()
        if entry["digest"] and not any(_differences(entry, known, installed, found))
    }


def _differences(entry, known, installed, shown):
    """Return in what a deployment differs from what it left, and '' for all that does not."""
    parts = [
        _recorded(entry, part, there)
        for part, there in (
            ("files", known.get("files", {})),
            ("units", known.get("units", {})),
            ("artifacts", installed),
        )
    ]
    yield from [] if None not in parts else ["the records do not agree"]
    files, wanted, artifacts = [part or {} for part in parts]
    kept = {"files": files, "directories": entry["directories"]}
    yield from node_state.files_differ(kept, {"artifacts": artifacts})
    for name, unit in wanted.items():
        yield from node_state.units_differ({name: unit}, shown[name])


def _recorded(entry, part, there):
    """Return of a record what belongs to a deployment; None where something is missing."""
    names = entry[part]
    return {name: there[name] for name in names} if there.keys() >= set(names) else None


class Managed:
    """What is looked after on this node."""

    def __init__(self):
        self._value = storage.read_json(_path(node_state.MANAGED), {})

    def begin(self):
        """Forget everything but deployments; written with the next note."""
        made = self._value.get("deployments", {})
        if not made:
            self._value = {}
            return
        kept = {
            part: sorted({name for entry in made.values() for name in entry[part]})
            for part in ("files", "directories", "units")
        }
        former, self._value = self._value, {"deployments": made, "directories": kept["directories"]}
        for part in ("files", "units"):
            there = former.get(part, {})
            self._value[part] = {name: there[name] for name in kept[part] if name in there}

    def deploy(self, name, digest, files, directories, *, units, artifacts):
        """Note a whole deployment instead of its former self.

        ``digest`` identifies what was asked for, '' where something is still to be done; ``artifacts`` are
        names. The others are as for ``note``.
        """
        former = self._value.get("deployments", {}).get(name)
        if former:
            self._drop(former["files"], former["directories"], former["units"])
        self._value.setdefault("deployments", {})[name] = {
            "digest": digest,
            "files": sorted(item.path for item in files),
            "directories": sorted(directories),
            "units": sorted(units),
            "artifacts": sorted(artifacts),
        }
        self.note(files, directories, units)

    def note(self, files=(), directories=(), units=None, **other):
        """Add what is as desired now.

        ``files`` are DesiredFiles, ``units`` {full name: {"active": bool or None, "enabled": bool or None}};
        ``other`` are ``sysctls`` (a dictionary), ``modules``, ``images`` (lists) and ``swap_off``, which replace
        those of before.
        """
        self._value.setdefault("files", {}).update((item.path, file_entry(item)) for item in files)
        known = set(self._value.get("directories", ()))
        self._value["directories"] = sorted(known.union(directories))
        for name, wanted in (units or {}).items():
            entry = self._value.setdefault("units", {}).setdefault(name, {})
            entry.update({key: value for key, value in wanted.items() if value is not None})
        self._value.update(other)
        self._save()

    def forget(self, files=(), directories=(), units=(), images=False, deployment=""):
        """Take out what is looked after no more; ``files`` are paths."""
        if not self._value:
            return
        former = self._value.get("deployments", {}).pop(deployment, None)
        if former:
            self._drop(former["files"], former["directories"], former["units"])
        self._drop(files, directories, units)
        if images:
            self._value.pop("images", None)
        self._save()

    def _drop(self, files, directories, units):
        for path in files:
            self._value.get("files", {}).pop(path, None)
        for name in units:
            self._value.get("units", {}).pop(name, None)
        kept = set(self._value.get("directories", ())).difference(directories)
        self._value["directories"] = sorted(kept)

    def _save(self):
        storage.write_json(_path(node_state.MANAGED), dict(self._value, schema=1))

    @staticmethod
    def remove():
        """Remove the record; the directory too, where nothing else is in it."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(_path(node_state.MANAGED))
        with contextlib.suppress(OSError):
            os.rmdir(storage.STATE_DIRECTORY)


class Applied:
    """What was applied to the cluster's API from this control plane."""

    def __init__(self):
        self._known = storage.read_json(_path(node_state.OBJECTS), {}).get("objects", {})

    def note(self, items, clock=time.time):
        """Add objects as the API has them now; what was noted last, on whichever node, counts."""
        for item in items:
            self._set(item, node_state.object_digest(item), clock)
        self._save()

    def forget(self, items, clock=time.time):
        """Note that objects are gone; another control plane may remember them as applied."""
        for item in items:
            self._set(item, None, clock)
        self._save()

    def _set(self, item, digest, clock):
        self._known[node_state.object_name(item)] = {
            "identity": releases.identity(item),
            "digest": digest,
            "at": clock(),
        }

    def _save(self):
        storage.write_json(_path(node_state.OBJECTS), {"schema": 1, "objects": self._known})
