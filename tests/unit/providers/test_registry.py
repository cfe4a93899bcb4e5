"""Finding providers by name, and what ``auto`` says when none can work."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ohmykube.errors import NotFoundError, PrerequisiteError
from ohmykube.kit.paths import Paths
from ohmykube.providers import registry
from ohmykube.providers.base import Check, CheckStatus, ProviderContext
from ohmykube.providers.nspawn.provider import NspawnProvider
from ohmykube.providers.ssh.provider import SshProvider
from ohmykube.testing.reporter import RecordingReporter

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def context(tmp_path: Path) -> ProviderContext:
    paths = Paths(state=tmp_path / "s", data=tmp_path / "d", cache=tmp_path / "c")
    return ProviderContext(paths=paths, reporter=RecordingReporter())


def test_ours_come_through_the_same_door(context: ProviderContext) -> None:
    assert {"fake", "nspawn", "ssh"} <= set(registry.names())
    assert isinstance(registry.load("nspawn", context), NspawnProvider)
    assert isinstance(registry.load("ssh", context), SshProvider)


def test_an_unknown_name(context: ProviderContext) -> None:
    with pytest.raises(NotFoundError):
        registry.load("nope", context)


@pytest.mark.linux
def test_auto_says_what_is_missing(
    context: ProviderContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(PrerequisiteError, match="no provider") as error:
        registry.load("auto", context)
    assert error.value.why is not None
    assert "mmdebstrap is not installed" in error.value.why
    assert error.value.hint == "ohmykube doctor --fix"


def test_auto_does_not_offer_to_install_what_no_package_has(
    context: ProviderContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = Check(id="root", title="root rights", status=CheckStatus.FAIL)
    monkeypatch.setattr(registry, "AUTO_ORDER", ("nspawn",))
    monkeypatch.setattr(NspawnProvider, "check", lambda _: [failed])
    with pytest.raises(PrerequisiteError, match="no provider") as error:
        registry.load("auto", context)
    assert error.value.hint == "ohmykube doctor"


def test_auto_takes_what_works_offline_when_nothing_else_works(
    context: ProviderContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def checks(*lacking: str) -> None:
        found = [
            Check(id=name, title=name, status=CheckStatus.FAIL, for_network=name == "mmdebstrap")
            for name in lacking
        ]
        monkeypatch.setattr(NspawnProvider, "check", lambda _: found)

    monkeypatch.setattr(registry, "AUTO_ORDER", ("nspawn",))
    checks("mmdebstrap")
    assert isinstance(registry.load("auto", context), NspawnProvider)
    checks("mmdebstrap", "root")
    with pytest.raises(PrerequisiteError, match="no provider"):
        registry.load("auto", context)
