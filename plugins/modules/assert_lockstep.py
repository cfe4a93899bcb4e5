#!/usr/bin/python
# Copyright: the ohmykube authors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

DOCUMENTATION = r"""
module: assert_lockstep
short_description: Fail in a play whose hosts do not wait for each other
version_added: 0.2.0
description:
  - Hosts that make or join a cluster need what others of the play found out one task before. Under a strategy such as
    P(ansible.builtin.free#strategy) or P(ansible.builtin.host_pinned#strategy) it depends on chance whether they have it.
  - A play, or a batch of one (C(serial)), that has one host alone succeeds under any strategy.
  - Runs on the controller; hosts are not asked.
author:
  - The ohmykube authors (@monshunter)
attributes:
  check_mode:
    description: Changes nothing.
    support: full
"""

EXAMPLES = r"""
- name: Refuse a play whose hosts run ahead of each other
  ohmykube.cluster.assert_lockstep:
"""

RETURN = r"""
strategy:
  description: Strategy of the play.
  type: str
  returned: always
"""
