"""What units of systemd are to be like."""

from __future__ import annotations

import pytest
from ansible_collections.ohmykube.cluster.plugins.module_utils import units


@pytest.mark.parametrize(
    ("state", "active"),
    [("started", True), ("stopped", False), ("restarted", None), (None, None)],
)
@pytest.mark.parametrize("enabled", [True, False, None])
def test_a_unit_is_noted_as_it_is_wanted(
    state: str | None, active: bool | None, enabled: bool | None
) -> None:
    listed = [{"name": "a", "state": state, "enabled": enabled}]
    assert units.wanted(listed) == {"a.service": {"active": active, "enabled": enabled}}
