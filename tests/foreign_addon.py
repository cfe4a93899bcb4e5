"""An add-on of somebody else's package, installed as pip would: role, set of artifacts, values."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

NAME = "echo"
MODULE = """
import dataclasses
from pathlib import Path

import pydantic

from ohmykube.sdk import Addon, AddonFacts, read_set

HERE = Path(__file__).parent


class Values(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", strict=True)
    text: str = "hello"


class Echo(Addon):
    facts = AddonFacts(
        name="echo",
        summary="says what it is told to",
        role=str(HERE / "roles" / "echo"),
        versions=("1.1.0", "1.0.0"),
        namespace="echo",
        readiness=("echo/deployment/echo",),
        removal={"echo_state": "absent"},
        owns=("what was echoed",),
        values=Values,
    )

    def set(self, version):
        return read_set(HERE / "set.yaml", {"version": version})

    def variables(self, cluster, wanted):
        text = wanted.values.get("text", "hello")
        return {"echo_text": text, "echo_namespace": wanted.namespace or "echo"}


class Ping(Echo):
    facts = dataclasses.replace(
        Echo.facts,
        name="ping",
        role=str(HERE / "roles" / "ping"),
        removal={"ping_state": "absent"},
    )

    def set(self, version):
        return dataclasses.replace(super().set(version), name="ping", condition="addon: ping")

    def variables(self, cluster, wanted):
        return {"ping_text": "pong"}


class NoAddon:
    pass
"""
SET = """
name: echo
condition: "addon: echo"
requires: {oldest_kubernetes: "1.36", memory_mib: 2048}
images:
  echo:
    version: v{version}
    ref: registry.example.com/tools/echo:{version}
    nodes: [worker]
    binary: echo
    entrypoint: /echo
files:
  echo.tgz:
    version: "{version}"
    kind: chart
    download:
      url: https://charts.example.com/echo-{version}.tgz
      sha256: {noarch: 2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824}
  crds.yaml:
    version: v{version}
    module:
      module: example.com/tools/echo
      version: v{version}
      sum: "h1:uU0nuZNNPgilLlLX2n2r+sSE7+N6U4DukIj3rOLvzek="
      path: config/crds.yaml
      digest: sha256:486ea46224d1bb4fb680f34f7c9ad96a8f24ec88be73ea8e5a6c65260e9cb8a7
image_variables: {echo_image: echo}
"""
SPECS = """
argument_specs:
  main:
    short_description: Say what it is told to
    options:
      echo_state: {type: str, choices: [present, absent], default: present}
      echo_text: {type: str, default: hello}
      echo_namespace: {type: str, default: echo}
      echo_image: {type: str, required: true}
"""
TASKS = """
- name: Say it
  ansible.builtin.copy:
    dest: /run/echo
    content: "{{ echo_state | default('present') }} {{ echo_text }} {{ echo_image | default('') }}"
    mode: "0644"
"""
POINTS = "[ohmykube.addons]\necho = echo_addon:Echo\nping = echo_addon:Ping\n"


def install(site: Path, monkeypatch: pytest.MonkeyPatch, *, points: str = POINTS) -> Path:
    """Install the package below ``site`` and let Python find it; return ``site``."""
    info = site / "echo_addon-1.0.dist-info"
    role = site / "roles" / "echo"
    for directory in (info, role / "meta", role / "tasks"):
        directory.mkdir(parents=True)
    (site / "echo_addon.py").write_text(MODULE)
    (site / "set.yaml").write_text(SET)
    (role / "meta" / "argument_specs.yml").write_text(SPECS)
    (role / "tasks" / "main.yml").write_text(TASKS)
    other = site / "roles" / "ping" / "tasks"
    other.mkdir(parents=True)
    (other / "main.yml").write_text("[]\n")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: echo-addon\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.delitem(sys.modules, "echo_addon", raising=False)
    return site
