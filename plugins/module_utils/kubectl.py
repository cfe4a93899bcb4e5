# Copyright: the ohmykube authors
# SPDX-License-Identifier: Apache-2.0
"""kubectl on a control plane."""

from __future__ import annotations

import json
import re
import time

from ansible_collections.ohmykube.cluster.plugins.module_utils import (
    api_server,
    kubeadm,
    node_state,
    programs,
)

FIELD_MANAGER = "ohmykube"
CACHE = node_state.KUBECTL_CACHE
APPLY = ("--server-side", "--force-conflicts", "--field-manager")
UNKNOWN_KIND = "no matches for kind"
_NO_KIND = re.compile(UNKNOWN_KIND + "|ensure CRDs are installed first")
_NO_NAMESPACE = re.compile(r'namespaces "[^"]+" not found')
_NO_WEBHOOK = re.compile(r"failed calling webhook")
_LOOK_SECONDS = 1.0


def _lines(stderr):
    """Return what kubectl complains of, warnings left out."""
    return [line for line in stderr.splitlines() if line and not line.startswith("Warning:")]


class Kubectl:
    """kubectl with one kubeconfig; that of kubeadm asks the API server of this node itself."""

    def __init__(self, kubeconfig):
        self._base = ["kubectl", "--kubeconfig", kubeconfig]
        own = api_server.address() if kubeconfig == kubeadm.ADMIN_CONFIG else ""
        if own:
            self._base += ["--server", "https://" + own]

    def run(self, arguments, timeout=120, stdin=None, ok_codes=(0,)):
        """Run one command; raises ProgramError."""
        # Without a place of its own kubectl's cache fills the home of whoever runs the play.
        # No colours and no pager in the difference, whatever the node's profile says.
        return programs.run(
            self._base + arguments,
            timeout=timeout,
            stdin=stdin,
            ok_codes=ok_codes,
            KUBECACHEDIR=CACHE,
            KUBECTL_EXTERNAL_DIFF="diff -u -N",
        )

    def objects(self, kind, *arguments):
        """Return the objects of a kind; raises ProgramError."""
        found = self.run(["get", kind, *arguments, "--output", "json"])
        return json.loads(found.stdout)["items"]

    def object(self, kind, name, *arguments):
        """Return one object, or None; raises ProgramError."""
        found = self.run(["get", kind, name, *arguments, "--ignore-not-found", "--output", "json"])
        return json.loads(found.stdout) if found.stdout.strip() else None

    def existing(self, text):
        """Return the objects of documents as the API has them; of a kind that it does not know none is there."""
        argv = ["get", "--ignore-not-found", "--output", "json", "--filename", "-"]
        done = self.run(argv, stdin=text, ok_codes=(0, 1))
        _only(done, "get", _NO_KIND)
        found = json.loads(done.stdout or "{}")
        return found.get("items", [found] if found else [])

    def delete(self, text, timeout):
        """Delete the objects of documents; what is gone already is no error. Returns kubectl's lines."""
        argv = ["delete", "--ignore-not-found", "--wait=true", "--filename", "-"]
        done = self.run(argv, stdin=text, timeout=timeout, ok_codes=(0, 1))
        _only(done, "delete", _NO_KIND)
        return done.stdout.splitlines()

    def apply(self, text, manager=FIELD_MANAGER, timeout=120):
        """Apply documents in whatever order they are; return kubectl's last line on each object.

        What waits for another of them is applied once that is there: an object for the definition of its
        kind or its namespace, anything for a webhook whose server begins. ``timeout`` is how many seconds are
        waited in all; they are counted, as a host may sleep meanwhile.
        """
        argv = ["apply", *APPLY, manager, "--filename", "-"]
        told, left = {}, timeout
        while True:
            done = self.run(argv, stdin=text, ok_codes=(0, 1))
            told.update((line.split()[0], line) for line in done.stdout.splitlines() if line)
            if done.code == 0:
                return list(told.values())
            if left <= 0 or not _comes(_lines(done.stderr), told):
                raise _failed("apply", done)
            time.sleep(_LOOK_SECONDS)
            left -= _LOOK_SECONDS


def _comes(complaints, told):
    """Return whether all that is complained of will be there because of what has been applied."""
    kinds = {name.partition("/")[0] for name in told}
    coming = [_NO_WEBHOOK]
    if "customresourcedefinition.apiextensions.k8s.io" in kinds:
        coming.append(_NO_KIND)
    if "namespace" in kinds:
        coming.append(_NO_NAMESPACE)
    return bool(complaints) and all(
        any(pattern.search(line) for pattern in coming) for line in complaints
    )


def _only(done, verb, pattern):
    """Raise ProgramError when a command failed for anything else."""
    if done.code and not all(pattern.search(line) for line in _lines(done.stderr)):
        raise _failed(verb, done)


def _failed(verb, done):
    return programs.ProgramError(
        "kubectl %s failed" % verb, programs.last_lines(done.stdout + done.stderr), done.code
    )
