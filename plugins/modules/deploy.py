#!/usr/bin/python
# Copyright: the ohmykube authors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

DOCUMENTATION = r"""
module: deploy
short_description: Install artifacts, files and systemd units in one step
version_added: 0.1.0
description:
  - Fetches all artifacts in parallel, checks their sums while they arrive and puts them in place atomically.
  - Writes files atomically, reloads systemd when one of its files changed, then enables and starts units.
  - What is installed is recorded in C(/var/lib/ohmykube/artifacts.json). An artifact counts as installed when the
    record names the same checksum and each of its files still has the recorded size and time.
  - A file of somebody else that is replaced is copied first, and put back with O(state=absent). What this module wrote is
    recorded in C(/var/lib/ohmykube/owned.json); nothing else is removed.
  - Never restarts a unit. Units that run with replaced files are returned in RV(stale_units) for a handler.
author:
  - The ohmykube authors (@monshunter)
options:
  state:
    description:
      - V(absent) stops and disables the units and removes the artifacts, files and directories. A unit that was
        somebody else's before is then as it was.
    type: str
    choices: [present, absent]
    default: present
  artifacts:
    description: What to fetch and install.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name under which it is recorded; unique on a node.
        type: str
        required: true
      url:
        description: Where it is fetched from; C(http), C(https) or C(file).
        type: str
        required: true
      checksum:
        description: Its sum, C(sha256:<hex>) or C(sha512:<hex>).
        type: str
        required: true
      content_checksum:
        description:
          - Sum of the unpacked tar. A node without the C(zstd) program then asks for the URL with C(enc=identity).
        type: str
      dest:
        description: Path of the file, or the directory that an archive is unpacked into.
        type: path
        required: true
      mode:
        description: Mode of a single file, octal. An archive brings its own.
        type: str
      unpack:
        description: The artifact is a tar archive (plain, gzip, xz or zstd).
        type: bool
        default: false
      members:
        description: Archive members to take, each with the absolute path it goes to. Without it all are taken.
        type: dict
  alternatives:
    description:
      - Names under which the same may have been recorded by another run, for instance as one package instead of
        single files. With O(state=absent) these go too.
    type: list
    elements: str
    default: []
  files:
    description: Text files to write or remove.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Where.
        type: path
        required: true
      content:
        description: The whole text.
        type: str
      mode:
        description: Octal; C(0644) when not given, C(0600) for one that is sensitive.
        type: str
      owner:
        description: Name or number; root when not given.
        type: str
      group:
        description: Name or number; root when not given.
        type: str
      state:
        description: Whether the file is to be there.
        type: str
        choices: [present, absent]
      sensitive:
        description: The diff does not show the text.
        type: bool
  directories:
    description: Directories to make with mode 0755. With O(state=absent) they are removed when no file is left in them.
    type: list
    elements: path
    default: []
  data:
    description:
      - Directories in which the programs keep what is theirs; not made. With O(state=absent) they are removed with all they
        hold, unless they held something when they were first named with O(state=present).
    type: list
    elements: path
    default: []
  units:
    description: systemd units.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the unit.
        type: str
        required: true
      enabled:
        description: Whether it starts at boot.
        type: bool
      state:
        description: Whether it runs now.
        type: str
        choices: [started, stopped]
      triggers:
        description: Paths and artifact names whose change makes a running unit stale.
        type: list
        elements: str
        default: []
  deployment:
    description: Name under which the node records that all of this is done; unique on a node.
    type: str
  digest:
    description:
      - What the caller tells by whether it asks for the same again. M(ohmykube.cluster.node_prepare) returns it in
        C(ohmykube_node.deployed) as long as nothing of the deployment was changed.
    type: str
  token:
    description: Bearer token for downloads.
    type: str
    default: ""
  token_scope:
    description: URL below which the token is sent; nowhere else, and never to the target of a redirect.
    type: str
    default: ""
  timeout:
    description: Seconds without a byte after which a download is tried again.
    type: int
    default: 60
attributes:
  check_mode:
    description: Reports what would change.
    support: full
  diff_mode:
    description: Shows the text files.
    support: full
"""

EXAMPLES = r"""
- name: Install a tool and its configuration
  ohmykube.cluster.deploy:
    artifacts:
      - name: runc
        url: https://github.com/opencontainers/runc/releases/download/v1.4.3/runc.amd64
        checksum: sha256:f6ae8efc0fa40079e1475e97cbe9d1bd3f106a28d6af78a11d9f1bd565515e60
        dest: /usr/local/sbin/runc
    files:
      - path: /etc/tool.conf
        content: "answer = 42\n"
"""

RETURN = r"""
changes:
  description: Paths, artifact names and units that were changed, or would be.
  type: list
  elements: str
  returned: always
installed:
  description: Names of the artifacts that were fetched and installed.
  type: list
  elements: str
  returned: always
stale_units:
  description: Units that run with something that this task replaced.
  type: list
  elements: str
  returned: always
"""

import os

from ansible_collections.ohmykube.cluster.plugins.module_utils import (
    ansible_module,
    archive,
    artifacts,
    fetch,
    managed,
    ownership,
    programs,
    storage,
    units,
)

OPTIONS = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "artifacts": {"type": "list", "elements": "dict", "options": artifacts.OPTIONS, "default": []},
    "alternatives": {"type": "list", "elements": "str", "default": []},
    "files": {"type": "list", "elements": "dict", "options": storage.FILE_OPTIONS, "default": []},
    "directories": {"type": "list", "elements": "path", "default": []},
    "data": {"type": "list", "elements": "path", "default": []},
    "units": {"type": "list", "elements": "dict", "options": units.OPTIONS, "default": []},
    "deployment": {"type": "str"},
    "digest": {"type": "str"},
    "token": {"type": "str", "default": "", "no_log": True},
    "token_scope": {"type": "str", "default": "", "no_log": False},
    "timeout": {"type": "int", "default": 60},
}
RELOADED = ("/etc/systemd/system/", "/etc/systemd/system.conf.d/")
"""Where systemd reads a changed file when it is told to."""


class Deployment:
    """One call of the module."""

    def __init__(self, params, check_mode):
        self._params = params
        self._check = check_mode
        self._owned = ownership.Ownership()
        self._inventory = artifacts.Inventory(owned=self._owned)
        self._names = [units.full_name(unit["name"]) for unit in params["units"]]
        self.changes = []
        self.installed = []
        self.diffs = []
        self.stale = []

    def present(self):
        """Install everything."""
        if not self._check:
            self._claim()
        for path in self._params["directories"]:
            if not os.path.isdir(path):
                self.changes.append(path)
                if not self._check:
                    os.makedirs(path, mode=0o755)
        missing = [item for item in self._params["artifacts"] if not self._inventory.has(item)]
        if not self._check:
            fetcher = fetch.Fetcher(
                self._params["token"], self._params["token_scope"], timeout=self._params["timeout"]
            )
            artifacts.install_all(missing, fetcher, self._inventory)
        self.installed = [item["name"] for item in missing]
        self.changes += self.installed
        files = [storage.DesiredFile.from_params(item) for item in self._params["files"]]
        changed, diffs = storage.converge_files(files, self._check, self._owned.claim)
        self.changes += changed
        self.diffs += diffs
        self._converge_units(any(path.startswith(RELOADED) for path in changed))
        if not self._check:
            self._note(files)

    def _note(self, files):
        name, directories = self._params["deployment"], self._params["directories"]
        wanted = units.wanted(self._params["units"])
        if not name:
            managed.Managed().note(files, directories, wanted)
            return
        # Where a unit is still to be restarted, the next run has to look again.
        digest = "" if self.stale else self._params["digest"]
        listed = [item["name"] for item in self._params["artifacts"]]
        managed.Managed().deploy(name, digest, files, directories, units=wanted, artifacts=listed)

    def _claim(self):
        """Note what is somebody else's, before anything is touched."""
        for path in self._params["data"]:
            self._owned.claim_directory(path)
        written = {item["path"] for item in self._params["files"] if self._owned.has(item["path"])}
        for name, unit in units.survey(self._names).items():
            path = unit.get("FragmentPath")
            if path and path not in written:
                self._owned.claim_unit(name, units.state_of(unit))

    def _converge_units(self, reload):
        if not self._names:
            return
        found = units.survey(self._names)
        if not self._check and (
            reload or any(unit.get("NeedDaemonReload") == "yes" for unit in found.values())
        ):
            units.reload_daemon()
            found = units.survey(self._names)
        replaced = list(self.changes)
        for params in self._params["units"]:
            unit = units.Desired(params, found)
            if unit.is_stale(replaced):
                self.stale.append(unit.name)
            self._bring(unit)

    def _bring(self, unit):
        for verb in unit.problems():
            self.changes.append("%s %s" % (verb, unit.name))
            if not self._check:
                units.apply(verb, unit.name)

    def absent(self):
        """Remove everything that ``present`` with the same options would have made."""
        self._stop_units()
        listed = [item["name"] for item in self._params["artifacts"]]
        for name in dict.fromkeys(listed + self._params["alternatives"]):
            if self._inventory.knows(name):
                self.changes.append(name)
                if not self._check:
                    self._inventory.remove(name)
        changed = self._release_files()
        for path in sorted(self._params["directories"], key=len, reverse=True):
            if ownership.is_empty(path):
                self.changes.append(path)
                if not self._check:
                    ownership.remove_empty(path)
        for path in self._params["data"]:
            self._remove_data(path)
        if not self._check:
            paths = [item["path"] for item in self._params["files"]]
            record = managed.Managed()
            name = self._params["deployment"] or ""
            record.forget(paths, self._params["directories"], self._names, deployment=name)
            self._put_units_back(any(path.startswith(RELOADED) for path in changed))

    def _stop_units(self):
        found = units.survey(self._names)
        looked_after = managed.units()
        for params in self._params["units"]:
            name = units.full_name(params["name"])
            # One that is not ours, or was put back by an earlier run, is none of our business.
            if name in looked_after or self._owned.has(found.get(name, {}).get("FragmentPath", "")):
                gone = dict(params, enabled=False, state="stopped")
                self._bring(units.Desired(gone, found))

    def _release_files(self):
        changed = []
        for params in self._params["files"]:
            item = storage.DesiredFile(
                params["path"], state="absent", sensitive=bool(params.get("sensitive"))
            )
            if not self._owned.has(item.path):
                continue
            there = item.differs()
            if there:
                self.diffs.append(item.difference())
            # One that something else has removed is forgotten too, and what was there before comes back.
            put_back = not self._check and self._owned.release(item.path)
            if there or put_back:
                changed.append(item.path)
        self.changes += changed
        return changed

    def _remove_data(self, path):
        held = bool(ownership.contents(path))
        made = self._owned.is_made(path) if self._check else self._owned.release_directory(path)
        if made and (held or ownership.is_empty(path)):
            self.changes.append(path)
            if not self._check:
                artifacts.remove_tree(path)

    def _put_units_back(self, reload):
        if reload:
            units.reload_daemon()
        for name in self._names:
            for verb in self._owned.release_unit(name).get("verbs", []):
                self.changes.append("%s %s" % (verb, name))
                units.apply(verb, name)


def main():
    module = ansible_module.Module(OPTIONS)
    deployment = Deployment(module.params, module.check_mode)
    try:
        deployment.present() if module.params["state"] == "present" else deployment.absent()
    except programs.ProgramError as error:
        module.fail_json(msg=str(error), output=error.output, changes=deployment.changes)
    except (fetch.FetchError, archive.ArchiveError, OSError, KeyError) as error:
        module.fail_json(msg=str(error), changes=deployment.changes)
    module.exit_json(
        changed=bool(deployment.changes),
        changes=deployment.changes,
        installed=deployment.installed,
        stale_units=deployment.stale,
        diff=deployment.diffs,
    )


if __name__ == "__main__":
    main()
