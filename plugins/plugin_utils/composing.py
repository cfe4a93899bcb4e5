# Copyright: the ohmykube authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables and groups that the user composes from what an inventory knows of a host."""

from __future__ import annotations

from ansible.inventory.helpers import get_group_vars
from ansible.plugins.inventory import Constructable
from ansible.utils.vars import combine_vars


class Composing(Constructable):
    """A plugin with the options of ``ansible.builtin.constructed``."""

    def compose(self, name):
        """Do what the options say of a host that has all its groups and variables."""
        strict = self.get_option("strict")
        known = self._known(name)
        self._set_composite_vars(self.get_option("compose"), known, name, strict=strict)
        known = self._known(name)
        self._add_host_to_composed_groups(
            self.get_option("groups"), known, name, strict=strict, fetch_hostvars=False
        )
        self._add_host_to_keyed_groups(
            self.get_option("keyed_groups"), known, name, strict=strict, fetch_hostvars=False
        )

    def _known(self, name):
        host = self.inventory.get_host(name)
        return combine_vars(get_group_vars(host.get_groups()), host.get_vars())
