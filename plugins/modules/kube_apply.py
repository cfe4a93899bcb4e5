#!/usr/bin/python
# Copyright: the ohmykube authors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

DOCUMENTATION = r"""
module: kube_apply
short_description: Apply a manifest with server-side apply, when it differs
version_added: 0.1.0
description:
  - Runs on a control plane, with C(kubectl diff) first. Nothing is applied when nothing differs.
  - Documents may come in any order. An object is applied when the definition of its kind is there.
author:
  - The ohmykube authors (@monshunter)
options:
  state:
    description: V(absent) deletes the manifest's objects.
    type: str
    choices: [present, absent]
    default: present
  manifest:
    description: YAML or JSON documents.
    type: str
    required: true
  kubeconfig:
    description: kubeconfig on the node.
    type: path
    default: /etc/kubernetes/admin.conf
  field_manager:
    description: Owner of the fields.
    type: str
    default: ohmykube
  sensitive:
    description: Shows neither the difference nor what kubectl prints. Objects of kind Secret are never shown.
    type: bool
    default: false
  release:
    description:
      - Name under which the cluster remembers the objects. What an earlier manifest of the same name had, and this one has not,
        is deleted; with V(absent) all that is remembered.
      - Definitions of kinds, namespaces and claims for volumes are kept, as others may have something in them. So is what an
        empty name stands for.
    type: str
    default: ""
  rollouts:
    description:
      - Workloads to wait for, each as C(namespace/kind/name).
      - With any, it also waits until the API server reaches what objects of kind APIService in the manifest name.
    type: list
    elements: str
    default: []
  timeout:
    description: Seconds to wait for each rollout, and for what objects of the manifest wait for.
    type: int
    default: 180
attributes:
  check_mode:
    description: Reports whether something differs.
    support: full
  diff_mode:
    description: Shows what C(kubectl diff) prints.
    support: full
"""

EXAMPLES = r"""
- name: Make a namespace
  ohmykube.cluster.kube_apply:
    manifest: |
      apiVersion: v1
      kind: Namespace
      metadata:
        name: demo
"""

RETURN = r"""
applied:
  description: What kubectl said about each object.
  type: list
  elements: str
  returned: success
"""

import json
import os
import re

from ansible_collections.ohmykube.cluster.plugins.module_utils import (
    ansible_module,
    kubectl,
    managed,
    node_state,
    programs,
    releases,
    rollouts,
    storage,
)

OPTIONS = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "manifest": {"type": "str", "required": True},
    "kubeconfig": {"type": "path", "default": "/etc/kubernetes/admin.conf"},
    "field_manager": {"type": "str", "default": kubectl.FIELD_MANAGER},
    "sensitive": {"type": "bool", "default": False},
    "release": {"type": "str", "default": ""},
    "rollouts": {"type": "list", "elements": "str", "default": []},
    "timeout": {"type": "int", "default": 180},
}


# The key of a mapping, in any spelling of YAML; kubectl masks what it shows of objects that are there.
SECRET = re.compile(
    r"""(?:^\s*(?:-\s+)?|[{,]\s*)["']?kind["']?\s*:\s*["']?Secret\b""", re.MULTILINE
)
DOCUMENT = re.compile(r"^---.*\n", re.MULTILINE)


def without_secrets(text):
    """Return documents of which those that hold a Secret are not shown."""
    parts = DOCUMENT.split(text)
    return "---\n".join(storage.SECRET_TEXT if SECRET.search(part) else part for part in parts)


class Manifest:
    """The module's manifest and the cluster it is for."""

    def __init__(self, params):
        self._kubectl = kubectl.Kubectl(params["kubeconfig"])
        self._text = params["manifest"]
        self._shown = without_secrets(self._text)
        self._apply = [*kubectl.APPLY, params["field_manager"], "--filename", "-"]
        self.release = releases.Release(self._kubectl, params["release"])
        self._params = params

    def difference(self):
        """Return what ``kubectl diff`` prints; '' when nothing differs.

        kubectl reads each object and then asks what applying would make of it. What a controller writes
        in between, a status, looks like a difference of ours; it is none if the next look has none.
        """
        found = self._look()
        return found if found in ("", self._shown) else self._look()

    def _look(self):
        """Look once. The dry run of an object in a namespace that is itself new fails with NotFound: that
        differs too."""
        try:
            found = self._kubectl.run(["diff", *self._apply], stdin=self._text, ok_codes=(0, 1))
        except programs.ProgramError as error:
            if not _differs(error.output):
                raise
            return self._shown
        if found.code == 0:
            return ""
        if found.stdout:
            return found.stdout
        if _differs(found.stderr):
            return self._shown
        raise programs.ProgramError("kubectl diff failed", programs.last_lines(found.stderr))

    def apply(self):
        """Apply it; return kubectl's lines."""
        manager, seconds = self._params["field_manager"], self._params["timeout"]
        return self._kubectl.apply(self._text, manager, seconds)

    def delete(self, check_mode):
        """Delete its objects and what else its release has; return kubectl's lines, none when nothing was there.

        In check mode the objects that are there."""
        items = self.items()
        dropped = self.release.dropped(items)
        if check_mode:
            return [node_state.object_name(item) for item in [*items, *dropped]]
        lines = self._kubectl.delete(self._text, self._params["timeout"]) if items else []
        managed.Applied().forget(items)
        lines += self.drop(dropped)
        self.release.forget()
        return lines

    def drop(self, items):
        """Delete objects that its release has no more; return kubectl's lines."""
        if not items:
            return []
        text = json.dumps(releases.as_list(items))
        lines = self._kubectl.delete(text, self._params["timeout"])
        managed.Applied().forget(items)
        return lines

    def items(self):
        """Return its objects as the API has them."""
        return self._kubectl.existing(self._text)

    def wait(self, items):
        """Wait for the rollouts, and then for the APIs that its objects, as they are there, serve."""
        wanted, seconds = self._params["rollouts"], self._params["timeout"]
        for rollout in wanted:
            rollouts.wait(self._kubectl, rollout, seconds)
        for item in items if wanted else ():
            if item["kind"] == "APIService" and item.get("spec", {}).get("service"):
                rollouts.wait_for_api(self._kubectl, item, seconds)


def _differs(said):
    """Return whether kubectl could not compare because an object, its namespace or its kind is not there yet."""
    return "NotFound" in said or kubectl.UNKNOWN_KIND in said


def converge(params, check_mode):
    """Do it; return the module's result."""
    if check_mode and not os.path.exists(params["kubeconfig"]):
        return {"changed": params["state"] == "present", "applied": []}
    manifest = Manifest(params)
    if params["state"] == "absent":
        lines = manifest.delete(check_mode)
        return {"changed": bool(lines), "applied": lines}
    difference = manifest.difference()
    lines = manifest.apply() if difference and not check_mode else []
    # In check mode only a release asks what is there.
    items = [] if check_mode and not manifest.release.known else manifest.items()
    dropped = manifest.release.dropped(items)
    if not check_mode:
        lines += manifest.drop(dropped)
        # Before the wait: what never becomes ready is there as well.
        manifest.release.remember(items)
        manifest.wait(items)
        managed.Applied().note(manifest.items() if lines else items)
    shown = storage.SECRET_TEXT if params["sensitive"] and difference else difference
    shown += "".join("- %s\n" % node_state.object_name(item) for item in dropped)
    return {
        "changed": bool(difference or dropped),
        "applied": lines,
        "diff": {"prepared": shown},
    }


def main():
    module = ansible_module.Module(OPTIONS)
    try:
        result = converge(module.params, module.check_mode)
    except (programs.ProgramError, OSError) as error:
        output = "" if module.params["sensitive"] else getattr(error, "output", "")
        last = output.splitlines()[-1:] or [""]
        module.fail_json(
            msg=": ".join(part for part in (str(error), last[0]) if part), output=output
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
