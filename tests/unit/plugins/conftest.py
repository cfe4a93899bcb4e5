"""Run modules as Ansible does, against a root of our own and fake programs on PATH."""

from __future__ import annotations

import importlib
import json
import os
import stat
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.ohmykube.cluster.plugins.module_utils import (
    artifacts,
    kubeadm,
    leftovers,
    node_settings,
    storage,
)

if TYPE_CHECKING:
    from pathlib import Path

COLLECTION = "ansible_collections.ohmykube.cluster.plugins"


class RunModule(Protocol):
    """Run a module; a failed one raises ModuleFailed unless ``fails``."""

    def __call__(
        self, name: str, *, check: bool = False, fails: bool = False, **params: Any
    ) -> dict[str, Any]: ...


class ModuleFailed(AssertionError):
    """The module reported a failure."""


@pytest.fixture(autouse=True)
def waited(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let waiting take no time: the clock goes on instead; return for how long was waited."""
    pauses: list[float] = []
    real_now, real_sleep = time.monotonic, time.sleep

    def sleep(seconds: float) -> None:
        # Python waits for a program with a limit by looking at it again and again.
        if sys._getframe(1).f_globals["__name__"] == "subprocess":
            real_sleep(seconds)
        else:
            pauses.append(seconds)

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(time, "monotonic", lambda: real_now() + sum(pauses))
    return pauses


@pytest.fixture
def run_module(capsys: pytest.CaptureFixture[str]) -> RunModule:
    def run(
        name: str, *, check: bool = False, fails: bool = False, **params: Any
    ) -> dict[str, Any]:
        module = importlib.import_module(f"{COLLECTION}.modules.{name}")
        capsys.readouterr()
        with patch_module_args({**params, "_ansible_check_mode": check}), pytest.raises(SystemExit):
            module.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        if bool(result.get("failed")) != fails:
            raise ModuleFailed(result)
        return result

    return run


@dataclass
class FakeNode:
    """A directory that stands for a node, and fake programs that note how they are called."""

    root: Path
    programs: Path
    notes: Path
    env: dict[str, str] = field(default_factory=dict)

    def path(self, name: str) -> Path:
        return self.root / name.lstrip("/")

    def write(self, name: str, text: str = "") -> Path:
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def program(self, name: str, body: str) -> None:
        """Install a fake program; it notes its arguments, then runs ``body`` (sh, with $ROOT)."""
        path = self.programs / name
        path.write_text(
            f"#!/bin/sh\nROOT={self.root}\nNOTES={self.notes}\n"
            f'printf "%s\\n" "{name} $*" >>"$NOTES/calls"\n{body}\n'
        )
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def calls(self, name: str = "") -> list[str]:
        """Return the calls so far, those of one program when named."""
        file = self.notes / "calls"
        lines = file.read_text().splitlines() if file.exists() else []
        return [line for line in lines if line.startswith(name)]

    def forget(self) -> None:
        (self.notes / "calls").unlink(missing_ok=True)


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNode:
    fake = FakeNode(tmp_path / "root", tmp_path / "bin", tmp_path / "notes")
    for directory in (fake.root, fake.programs, fake.notes):
        directory.mkdir()
    monkeypatch.setenv("PATH", f"{fake.programs}:{os.environ['PATH']}")
    etc, state = str(fake.path("etc/kubernetes")), str(fake.path("var/lib/ohmykube"))
    monkeypatch.setattr(storage, "STATE_DIRECTORY", state)
    monkeypatch.setattr(artifacts, "RECORD", state + "/artifacts.json")
    places = {
        "LOCK": str(fake.path("run/kubeadm.lock")),
        "RECORD": state + "/kubeadm.json",
        "LOG_DIRECTORY": str(fake.path("var/log/ohmykube")),
        "DIRECTORY": etc,
        "ADMIN_CONFIG": etc + "/admin.conf",
        "KUBELET_CONFIG": etc + "/kubelet.conf",
        "CA_CERTIFICATE": etc + "/pki/ca.crt",
        "CLIENT_CERTIFICATE": str(fake.path("var/lib/kubelet/pki/kubelet-client-current.pem")),
        "ETCD_MANIFEST": etc + "/manifests/etcd.yaml",
        "TRACES": tuple(
            f"{etc}/{name}" for name in ("admin.conf", "kubelet.conf", "manifests", "pki")
        ),
    }
    for name, value in places.items():
        monkeypatch.setattr(kubeadm, name, value)
    for name in ("API_SERVER", "CONTROLLER_MANAGER", "KUBELET_CONFIGURATION", "KUBELET_FLAGS"):
        monkeypatch.setattr(node_settings, name, str(fake.path(getattr(node_settings, name))))
    monkeypatch.setattr(leftovers, "PATHS", tuple(str(fake.path(one)) for one in leftovers.PATHS))
    monkeypatch.setattr(leftovers, "ETCD_DATA", str(fake.path(leftovers.ETCD_DATA)))
    for family in leftovers.FAMILIES:
        fake.program(family + "-save", f"cat $NOTES/{family} 2>/dev/null || true")
        fake.program(family + "-restore", f"cat >$NOTES/{family}")
    fake.program("nft", """echo '{"nftables": []}'""")
    return fake
