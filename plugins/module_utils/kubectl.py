# Copyright: the ohmykube authors
# SPDX-License-Identifier: Apache-2.0
"""kubectl on a control plane."""

from __future__ import annotations

import json

from ansible_collections.ohmykube.cluster.plugins.module_utils import (
    api_server,
    kubeadm,
    node_state,
    programs,
)

FIELD_MANAGER = "ohmykube"
CACHE = node_state.KUBECTL_CACHE


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
