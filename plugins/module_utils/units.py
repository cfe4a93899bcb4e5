# Copyright: the ohmykube authors
# SPDX-License-Identifier: Apache-2.0
"""systemd units on a node: one look at all, then only what differs."""

from __future__ import annotations

from ansible_collections.ohmykube.cluster.plugins.module_utils import node_state, programs

PROPERTIES = "Id,LoadState,ActiveState,UnitFileState,NeedDaemonReload,FragmentPath"
RUNNING = node_state.RUNNING
OPTIONS = {
    "name": {"type": "str", "required": True},
    "enabled": {"type": "bool"},
    "state": {"type": "str", "choices": ["started", "stopped"]},
    "triggers": {"type": "list", "elements": "str", "default": []},
}


def survey(names):
    """Return {unit name: {property: value}} for ``names``."""
    if not names:
        return {}
    shown = programs.run(
        ["systemctl", "show", "--property=" + PROPERTIES, "--", *list(names)]
    ).stdout
    return dict(zip(names, node_state.properties(shown)))


def full_name(name):
    """Return a unit's name with its suffix."""
    return name if "." in name else name + ".service"


def wanted(listed):
    """Return {full name: {"active": bool or None, "enabled": bool or None}} of units as modules are given them."""
    runs = {"started": True, "stopped": False}
    return {
        full_name(unit["name"]): {"active": runs.get(unit["state"]), "enabled": unit["enabled"]}
        for unit in listed
    }


class Desired:
    """A unit as it should be."""

    def __init__(self, params, found):
        self.name = full_name(params["name"])
        self._enabled = params.get("enabled")
        self._state = params.get("state")
        self._triggers = params.get("triggers") or []
        self._found = found.get(self.name, {})

    @property
    def runs(self):
        return self._found.get("ActiveState") in RUNNING

    def problems(self):
        """Return the verbs of systemctl that would bring it to its desired state, in order."""
        verbs = []
        is_enabled = self._found.get("UnitFileState") in (
            "enabled",
            "enabled-runtime",
            "static",
            "alias",
        )
        if self._state == "stopped" and self.runs:
            verbs.append("stop")
        if (
            self._enabled is not None
            and self._enabled != is_enabled
            and not self._is_gone(self._enabled)
        ):
            verbs.append("enable" if self._enabled else "disable")
        if self._state == "started" and not self.runs:
            verbs.append("start")
        return verbs

    def _is_gone(self, wanted):
        return not wanted and self._found.get("LoadState") == "not-found"

    def is_stale(self, changes):
        """Return True when it runs with something that ``changes`` (paths, artifact names) replaced."""
        return self.runs and any(change in self._triggers for change in changes)


def state_of(found):
    """Return the verbs of systemctl that bring a unit back to how it was found."""
    enabled = found.get("UnitFileState") == "enabled"
    runs = found.get("ActiveState") in RUNNING
    return {"verbs": ["enable"] * enabled + ["start"] * runs}


def reload_daemon():
    programs.run(["systemctl", "daemon-reload"])


def apply(verb, name, timeout=90):
    """Run one verb of systemctl on one unit; a failed start reports the unit's last log lines."""
    try:
        programs.run(["systemctl", verb, "--", name], timeout=timeout)
    except programs.ProgramError as error:
        raise programs.ProgramError(
            str(error), error.output + "\n" + journal(name), error.code
        ) from error


def journal(name, lines=15):
    """Return the last log lines of a unit, or '' where there is no journal."""
    try:
        argv = ["journalctl", "--no-pager", "--output=cat", "--lines=%d" % lines, "--unit", name]
        return programs.run(argv, timeout=10).stdout
    except programs.ProgramError:
        return ""
