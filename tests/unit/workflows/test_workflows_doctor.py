"""`doctor` on hosts that lack something: what it says, and what --fix installs."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from ohmykube.errors import PermissionDenied, PrerequisiteError
from ohmykube.kit import paths
from ohmykube.progress import Message
from ohmykube.providers.base import CheckStatus
from ohmykube.steps.context import Services
from ohmykube.testing.reporter import RecordingReporter
from ohmykube.workflows.doctor import doctor

if TYPE_CHECKING:
    from pathlib import Path

APT = """#!/bin/sh
echo "$DEBIAN_FRONTEND $*" >>"{log}"
case "$*" in *install*) {act} ;; esac
"""


class Host:
    """A host with a few programs and no network."""

    def __init__(self, programs: Path) -> None:
        self.programs = programs
        self.log = programs.parent / "apt.log"
        self.services = Services(paths=paths.from_environment(), reporter=RecordingReporter())

    def program(self, name: str, text: str = "#!/bin/sh\nexit 0\n") -> None:
        (self.programs / name).write_text(text)
        (self.programs / name).chmod(0o755)

    def apt(self, act: str) -> None:
        self.program("apt-get", APT.format(log=self.log, act=act))


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    # Port 9 is nobody's: no server and no module proxy can be asked.
    for name in ("http_proxy", "https_proxy", "GOPROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(sys, "platform", "linux")
    return Host(programs)


def test_what_every_source_is_short_of_is_said(host: Host) -> None:
    report = doctor(host.services, "fake")
    assert report.fixed == ()
    assert not report.healthy
    provider, *lacking, source = report.checks
    assert (provider.id, provider.status) == ("fake", CheckStatus.OK)
    assert (source.id, source.status) == ("artifact-source", CheckStatus.WARN)
    assert source.title == "a source of artifacts"
    upstream, _, build = source.evidence.partition("; ")
    assert upstream.startswith("upstream: ")
    assert build.startswith("build: ")
    assert "not on PATH" in build
    assert {check.status for check in lacking} == {CheckStatus.FAIL}
    (found,) = [check for check in lacking if check.id == "mmdebstrap"]
    assert found.title == "mmdebstrap for the image layer of Debian tools"
    assert found.evidence == "not on PATH"
    assert found.fix == "ohmykube doctor --fix"
    assert "mmdebstrap" in found.packages


def test_fix_installs_all_that_is_missing_and_looks_again(host: Host) -> None:
    wanted = {name for check in doctor(host.services, "fake").checks for name in check.packages}
    host.apt(f'/bin/cp "$0" {host.programs}/mmdebstrap')
    report = doctor(host.services, "fake", fix=True)
    assert report.fixed == tuple(sorted(wanted))
    packages = " ".join(report.fixed)
    assert host.log.read_text().splitlines() == [
        "noninteractive -o DPkg::Lock::Timeout=300 -qq update",
        "noninteractive -o DPkg::Lock::Timeout=300 -qq install -y --no-install-recommends "
        + packages,
    ]
    assert "mmdebstrap" not in {check.id for check in report.checks}, "it is there now"
    assert isinstance(host.services.reporter, RecordingReporter)
    (message,) = host.services.reporter.of(Message)
    assert message.text == f"Installing {packages}"


def test_fix_without_the_rights_touches_nothing(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    host.apt("exit 1")
    with pytest.raises(PermissionDenied) as caught:
        doctor(host.services, "fake", fix=True)
    assert (caught.value.id, caught.value.message) == (
        "OMK-H-022", "installing packages needs root",
    )  # fmt: skip
    assert caught.value.hint == "sudo ohmykube doctor --fix --provider fake"
    assert "mmdebstrap" in (caught.value.why or "")
    assert not host.log.exists()


def test_fix_where_there_is_no_apt(host: Host) -> None:
    with pytest.raises(PrerequisiteError) as caught:
        doctor(host.services, "fake", fix=True)
    assert caught.value.id == "OMK-H-021"
    assert (caught.value.why or "").startswith("wanted: ")


def test_packages_that_cannot_be_installed(host: Host) -> None:
    host.apt("echo E: no such package >&2; exit 100")
    with pytest.raises(PrerequisiteError) as caught:
        doctor(host.services, "fake", fix=True)
    assert caught.value.id == "OMK-H-023"
    assert caught.value.why == "E: no such package"
    assert (caught.value.hint or "").startswith("apt-get install ")


def test_auto_is_explained_by_the_last_that_would_be_tried(host: Host) -> None:
    """Lima refuses to work for root; on Linux nspawn is what is left for it."""
    ids = {check.id for check in doctor(host.services, "nspawn").checks}
    assert {check.id for check in doctor(host.services, "auto").checks} == ids
    assert any("nspawn" in one for one in ids)
