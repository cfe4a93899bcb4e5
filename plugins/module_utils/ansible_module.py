# Copyright: the ohmykube authors
# SPDX-License-Identifier: Apache-2.0
"""AnsibleModule as all modules of this collection use it: no text of an argument is logged or returned.

Ansible writes the arguments of each module into the node's journal, and gives them back with its result. Files, manifests
and documents may hold secrets, which no list of ours could tell from other text.
"""

from __future__ import annotations

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ohmykube.cluster.plugins.module_utils import storage

NOT_SHOWN = "(not shown)"
SHOWN_TYPES = ("bool", "int", "path")
NO_ROOT = (
    "this needs root, and the user on this node is not. Next: set become: true for the play or the host (ansible_become). "
    "Nothing was changed"
)


def may_write(path):
    """Return True where a path may be written, or made below what is there."""
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return os.access(path, os.R_OK | os.W_OK | os.X_OK)


def shown(options, params):
    """Return arguments of which numbers, switches, paths and choices are kept, for logs and results."""
    result = {}
    for name, value in params.items():
        about = options.get(name, {})
        harmless = about.get("type") in SHOWN_TYPES or "choices" in about
        result[name] = value if value in (None, "", [], {}) or harmless else NOT_SHOWN
    return result


class Module(AnsibleModule):
    """A module with check mode; ``options`` is its argument_spec."""

    def __init__(self, options):
        self._options = options
        super().__init__(argument_spec=options, supports_check_mode=True)
        if not may_write(storage.STATE_DIRECTORY):
            self.fail_json(NO_ROOT)

    def log(self, msg, log_args=None):
        """Log a message; the one of the invocation brings the arguments along."""
        if log_args is not None:
            log_args = {
                name: str(value) for name, value in shown(self._options, self.params).items()
            }
            msg = "Invoked with " + " ".join("%s=%s" % pair for pair in sorted(log_args.items()))
        super().log(msg, log_args=log_args)

    def exit_json(self, **result):
        """End with a result."""
        super().exit_json(**self._with_invocation(result))

    def fail_json(self, msg, **result):
        """End with a failure."""
        super().fail_json(msg, **self._with_invocation(result))

    def _with_invocation(self, result):
        if hasattr(self, "params"):
            result["invocation"] = {"module_args": shown(self._options, self.params)}
        return result
