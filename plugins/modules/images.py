#!/usr/bin/python
# Copyright: the ohmykube authors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

DOCUMENTATION = r"""
module: images
short_description: Tell containerd where images come from, and pull them ahead of time
version_added: 0.1.0
description:
  - Writes one C(hosts.toml) for each registry that has mirrors or a server of its own, and removes those it wrote before that are not wanted. One of
    somebody else is copied before, and put back then.
  - Pulls the images that are missing or have another digest, several at a time in the order given, and pins them, so
    that the kubelet's garbage collection leaves them.
  - Pulling is done by a transient systemd unit, which goes on when the caller dies. A second call waits for it, and pulls
    what it could not, because the mirrors of the first one may have gone.
author:
  - The ohmykube authors (@monshunter)
options:
  state:
    description: V(absent) removes the files that V(present) wrote; images stay.
    type: str
    choices: [present, absent]
    default: present
  images:
    description: Images to have.
    type: list
    elements: dict
    default: []
    suboptions:
      ref:
        description: Full reference, such as C(registry.k8s.io/pause:3.10.2).
        type: str
        required: true
      digest:
        description: Digest of its manifest or index. Without it any image of that name will do.
        type: str
        default: ""
      repacked:
        description: >-
          Digest of another manifest with the same config, whose layers are cheaper to unpack. It is pulled first and
          leaves no name; then nothing but the manifest of the image itself is missing. Where it cannot be had, the
          image comes as it is.
        type: str
        default: ""
  mirrors:
    description: Registry, or C(_default) for all others, and the URLs to ask before the registry itself.
    type: dict
    default: {}
  servers:
    description: Registry, and the URL by which it is asked itself, where that is not by https or needs one of O(mirror_options).
    type: dict
    default: {}
  registry_config_path:
    description: Directory of containerd's registry host files.
    type: path
    default: /etc/containerd/certs.d
  token:
    description: Bearer token for mirrors.
    type: str
    default: ""
  token_scope:
    description: URL below which a mirror gets the token.
    type: str
    default: ""
  mirror_options:
    description: What single mirrors and servers need.
    type: list
    elements: dict
    default: []
    suboptions:
      url:
        description: One of the URLs in O(mirrors) or O(servers).
        type: str
        required: true
      token:
        description: Bearer token for it.
        type: str
        default: ""
      username:
        description: Name for it, where it wants a password instead of a token.
        type: str
        default: ""
      password:
        description: Password of that name.
        type: str
        default: ""
      ca:
        description: Certificate that signed its own, PEM.
        type: str
        default: ""
      override_path:
        description: Its URL leads to the registry API already, so that C(/v2) is not added to it.
        type: bool
        default: false
  fallback:
    description: V(false) asks mirrors only, never a registry itself that O(servers) does not name.
    type: bool
    default: true
  check_config:
    description: Fail when containerd does not read O(registry_config_path), because all this would be in vain.
    type: bool
    default: true
  parallel:
    description: How many images are pulled at a time.
    type: int
    default: 3
  wait:
    description: V(false) returns as soon as the pulls of this call run in the background.
    type: bool
    default: true
  timeout:
    description: Seconds to wait for all pulls.
    type: int
    default: 1800
attributes:
  check_mode:
    description: Reports what would change.
    support: full
  diff_mode:
    description: Names the files; their text may hold a token and is not shown.
    support: full
"""

EXAMPLES = r"""
- name: Have the sandbox image on the node
  ohmykube.cluster.images:
    mirrors:
      _default: ["http://127.0.0.1:5055"]
    images:
      - ref: registry.k8s.io/pause:3.10.2
"""

RETURN = r"""
pulled:
  description: Images that were pulled; with O(wait=false) those whose pull was begun. In check mode those that would be.
  type: list
  elements: str
  returned: always
present:
  description: Images that were there already.
  type: list
  elements: str
  returned: always
running:
  description: Whether pulls are still under way.
  type: bool
  returned: always
files:
  description: Registry host files and certificates that were written or removed.
  type: list
  elements: str
  returned: always
config_path:
  description: Directories from which containerd reads registry host files; null when that was not looked at.
  type: list
  elements: str
  returned: always
"""

import time

from ansible_collections.ohmykube.cluster.plugins.module_utils import (
    ansible_module,
    managed,
    node_state,
    ownership,
    programs,
    pulls,
    registries,
    storage,
    units,
)

START_ATTEMPTS = 4
CRI_SECONDS = 60


class Images:
    """One call of the module."""

    def __init__(self, params, check_mode):
        self._params = params
        self._check = check_mode
        self.present = []
        self.pulled = []
        self.running = False
        self.files = []
        self.diffs = []
        self.config_path = None
        self.warnings = []

    def converge(self):
        """Write the host files, then pull what is missing."""
        absent = self._params["state"] == "absent"
        mirrors, servers = ({} if absent else self._params[key] for key in ("mirrors", "servers"))
        if (any(mirrors.values()) or servers) and self._params["check_config"]:
            self._check_config()
        files = registries.desired_files(
            self._params["registry_config_path"],
            mirrors,
            servers=servers,
            token=self._params["token"],
            token_scope=self._params["token_scope"],
            options=self._params["mirror_options"],
            fallback=self._params["fallback"],
        )
        owned = ownership.Ownership()
        self.files, self.diffs = storage.converge_files(files, self._check, owned.claim)
        if not self._check:
            gone = [item.path for item in files if item.state == "absent"]
            for path in gone:
                owned.release(path)
            registries.remove_empty(gone)
            self._note(files, absent)
        if self._params["images"] and not absent:
            self._pull()

    def _pull(self):
        deadline = time.monotonic() + self._params["timeout"]
        started = False
        while not started:
            found = self._found()
            missing = self._missing(found)
            self.running = bool(missing) and pulls.is_running()
            if self._check or not missing:
                break
            if self.running:
                self._wait(deadline)  # what an earlier call began
            else:
                started = self._start(missing, deadline)
        self.pulled = [image["ref"] for image in missing]
        self.present = [image["ref"] for image in self._params["images"] if image not in missing]
        if self._check or not self._params["wait"]:
            return
        if started:
            self._wait(deadline)
            found = self._found()
        self._verify(found)

    def _note(self, files, absent):
        if absent:
            managed.Managed().forget(files=[item.path for item in files], images=True)
        else:
            wanted = [
                {"ref": image["ref"], "digest": image["digest"]} for image in self._params["images"]
            ]
            managed.Managed().note(files=files, images=wanted)

    def _check_config(self):
        """Refuse to write what containerd would not read; without a containerd there is nothing to ask."""
        try:
            dump = programs.run(["containerd", "config", "dump"], timeout=30).stdout
        except programs.ProgramError:
            return  # not there, or it does not start: told by whoever needs it to run
        self.config_path = registries.config_path(dump)
        message = registries.complaint(self._params["registry_config_path"], self.config_path)
        if message and not self._check:
            raise programs.ProgramError(message)
        self.warnings += [message] if message else []

    def _found(self):
        """Return {reference: (digest, labels)}; in check mode nothing, when containerd is not there yet."""
        try:
            return pulls.found(timeout=60)
        except programs.ProgramError:
            if self._check:
                return {}
            raise

    def _missing(self, found):
        """Return the images that are not there with the wanted digest."""
        return [image for image in self._params["images"] if not node_state.matches(image, found)]

    def _start(self, missing, deadline):
        """Start the unit; return False when what a killed run left on the node has just done so."""
        words = [word for image in missing for word in pulls.words(image)]
        hosts, parallel = self._params["registry_config_path"], self._params["parallel"]
        start = pulls.start(hosts, parallel, words)
        attempts = 0
        while True:
            try:
                programs.run(start)
                self.running = True
                return True
            except programs.ProgramError as error:
                if pulls.is_running():
                    return False
                # The unit of a killed run may still be taken away: its pulls end first.
                waits = pulls.is_left() and time.monotonic() < deadline
                attempts = 0 if waits else attempts + 1
                if attempts >= START_ATTEMPTS:
                    reason = "; ".join([str(error), *error.output.splitlines()[-1:]])
                    raise programs.ProgramError(
                        "the unit that pulls images could not be started: %s" % reason, error.output
                    ) from error
                time.sleep(1)

    def _wait(self, deadline):
        while pulls.is_running():
            if time.monotonic() > deadline:
                raise programs.ProgramError(
                    "images were not pulled within %d s" % self._params["timeout"]
                )
            time.sleep(0.2)
        self.running = False

    def _verify(self, found):
        lost = [image["ref"] for image in self._missing(found)]
        if lost:
            message = "could not pull %s" % ", ".join(lost)
            raise programs.ProgramError(message, units.journal(pulls.UNIT))
        # Until containerd's CRI has marked an image it has not named it by its ID either, and a node
        # that is stopped now, or becomes a template, would be without that name for good.
        deadline = time.monotonic() + min(CRI_SECONDS, self._params["timeout"])
        wanted = [image["ref"] for image in self._params["images"]]
        while waits := [ref for ref in wanted if pulls.MANAGED not in found.get(ref, ("", []))[1]]:
            if time.monotonic() > deadline:
                message = "containerd's CRI did not take over %s" % ", ".join(waits)
                raise programs.ProgramError(message)
            time.sleep(0.1)
            found = self._found()


def check(params):
    """Raise ValueError or TypeError for values that are no references, digests or registries."""
    for image in params["images"]:
        pulls.check(image)
    registries.check(params["mirrors"], params["servers"], params["mirror_options"])
    if not 1 <= params["parallel"] <= 32:
        raise ValueError("parallel must be between 1 and 32")


OPTIONS = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "images": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "ref": {"type": "str", "required": True},
            "digest": {"type": "str", "default": ""},
            "repacked": {"type": "str", "default": ""},
        },
    },
    "mirrors": {"type": "dict", "default": {}},
    "servers": {"type": "dict", "default": {}},
    "registry_config_path": {"type": "path", "default": "/etc/containerd/certs.d"},
    "token": {"type": "str", "default": "", "no_log": True},
    "token_scope": {"type": "str", "default": "", "no_log": False},
    "mirror_options": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "url": {"type": "str", "required": True},
            "token": {"type": "str", "default": "", "no_log": True},
            "username": {"type": "str", "default": ""},
            "password": {"type": "str", "default": "", "no_log": True},
            "ca": {"type": "str", "default": ""},
            "override_path": {"type": "bool", "default": False},
        },
    },
    "fallback": {"type": "bool", "default": True},
    "check_config": {"type": "bool", "default": True},
    "parallel": {"type": "int", "default": 3},
    "wait": {"type": "bool", "default": True},
    "timeout": {"type": "int", "default": 1800},
}


def main():
    module = ansible_module.Module(OPTIONS)
    images = Images(module.params, module.check_mode)
    try:
        check(module.params)
        images.converge()
    except programs.ProgramError as error:
        module.fail_json(msg=str(error), output=error.output)
    except (ValueError, TypeError, OSError) as error:
        module.fail_json(msg=str(error))
    for warning in images.warnings:
        module.warn(warning)
    module.exit_json(
        changed=bool(images.files or images.pulled),
        pulled=images.pulled,
        present=images.present,
        running=images.running,
        files=images.files,
        config_path=images.config_path,
        diff=images.diffs,
    )


if __name__ == "__main__":
    main()
