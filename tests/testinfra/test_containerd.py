"""What the role containerd leaves on a node."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest


def test_service_runs_and_is_enabled(host: Any) -> None:
    service = host.service("containerd")
    assert service.is_running
    assert service.is_enabled


@pytest.mark.parametrize("name", ["containerd", "containerd-shim-runc-v2", "ctr", "runc"])
def test_binaries_are_root_s(host: Any, name: str) -> None:
    binary = host.file(f"/usr/local/bin/{name}")
    assert (binary.user, binary.group, binary.mode) == ("root", "root", 0o755)


@pytest.mark.parametrize("name", ["bridge", "host-local", "loopback", "portmap"])
def test_cni_plugins_are_there(host: Any, name: str) -> None:
    assert host.file(f"/opt/cni/bin/{name}").mode == 0o755


def test_versions_are_those_of_the_role(host: Any) -> None:
    assert "v2.3.4" in host.check_output("containerd --version")
    assert "1.4.3" in host.check_output("runc --version")


def test_socket_answers(host: Any) -> None:
    assert host.file("/run/containerd/containerd.sock").is_socket
    assert "v2.3.4" in host.check_output("ctr version")


def test_configuration_is_toml_with_a_pinned_sandbox(host: Any) -> None:
    config = tomllib.loads(host.file("/etc/containerd/config.toml").content_string)
    assert config["version"] == 3
    images = config["plugins"]["io.containerd.cri.v1.images"]
    assert images["pinned_images"]["sandbox"].startswith("registry.k8s.io/pause:")
    assert images["registry"]["config_path"] == "/etc/containerd/certs.d"


def test_cri_is_ready(host: Any) -> None:
    plugins = host.check_output("ctr plugins ls")
    line = next(x for x in plugins.splitlines() if "io.containerd.grpc.v1" in x and " cri " in x)
    assert line.split()[-1] == "ok"


def test_what_was_installed_is_on_record(host: Any) -> None:
    record = json.loads(host.file("/var/lib/ohmykube/artifacts.json").content_string)
    assert record


def test_systemd_waits_as_long_as_the_scenario_says(host: Any) -> None:
    # Of process 1 itself: it has read the file already.
    shown = host.check_output("systemctl show --property DefaultTimeoutStopUSec")
    assert shown == "DefaultTimeoutStopUSec=20s"
