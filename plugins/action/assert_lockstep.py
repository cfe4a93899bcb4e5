# Copyright: the ohmykube authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the hosts of a play wait for each other: no variable tells that, only the play itself."""

from __future__ import annotations

from ansible.plugins.action import ActionBase
from ansible.plugins.loader import strategy_loader
from ansible.plugins.strategy.free import StrategyModule as Free

REFUSAL = (
    "under the strategy %s the hosts of this play do not wait for each other, and those that make or join a cluster must. "
    "Next: give the play `strategy: linear`; a play without one has that of ANSIBLE_STRATEGY or of ansible.cfg. Nothing of "
    "Kubernetes was changed"
)


def keeps_lockstep(name):
    """Return False for a strategy that lets hosts run ahead: free, and all that are made of it."""
    return not issubclass(strategy_loader.get(name, class_only=True), Free)


class ActionModule(ActionBase):
    """See the module of the same name."""

    _requires_connection = False
    _VALID_ARGS = frozenset()

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        strategy = self._task.get_play().strategy
        result["strategy"] = strategy
        if len(task_vars["ansible_play_batch"]) > 1 and not keeps_lockstep(strategy):
            result.update(failed=True, msg=REFUSAL % strategy)
        return result
