"""What ``up`` says when this host cannot make machines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ohmykube.errors import PrerequisiteError
from ohmykube.providers.base import Check, CheckStatus
from ohmykube.steps.preflight import preflight

if TYPE_CHECKING:
    from ohmykube.steps.context import Context


@pytest.mark.parametrize(
    ("packages", "wanted"),
    [
        ((), "ohmykube doctor --provider fake"),
        (("qemu-utils",), "ohmykube doctor --fix --provider fake"),
    ],
)
def test_the_next_command_is_for_the_provider_that_failed(
    ctx: Context, monkeypatch: pytest.MonkeyPatch, packages: tuple[str, ...], wanted: str
) -> None:
    failed = Check(
        id="x", title="qemu-img", status=CheckStatus.FAIL, evidence="not there", packages=packages
    )
    monkeypatch.setattr(ctx.provider, "check", lambda: [failed])
    with pytest.raises(PrerequisiteError) as caught:
        preflight(ctx)
    assert caught.value.why == "qemu-img: not there"
    assert caught.value.hint == wanted
