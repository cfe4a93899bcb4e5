# Copyright: the ohmykube authors
# SPDX-License-Identifier: Apache-2.0
"""kubectl on a control plane."""

from __future__ import annotations

from ansible_collections.ohmykube.cluster.plugins.module_utils import programs

FIELD_MANAGER = "ohmykube"
CACHE = "/run/ohmykube-kubectl"


class Kubectl:
    """kubectl with one kubeconfig."""

    def __init__(self, kubeconfig):
        self._base = ["kubectl", "--kubeconfig", kubeconfig]

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
