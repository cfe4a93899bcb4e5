"""What the role node leaves on a node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

AUTHORITY = (Path(__file__).parents[1] / "data" / "trust" / "one.pem").read_text()


def test_forwarding_is_on_and_stays_on(host: Any) -> None:
    assert host.sysctl("net.ipv4.ip_forward") == 1
    written = host.run("grep -rhs ip_forward /etc/sysctl.d/")
    assert "net.ipv4.ip_forward" in written.stdout


def test_nodes_know_themselves_and_control_planes_by_name(host: Any) -> None:
    for name in {"cp1", host.check_output("hostname")}:
        assert host.addr(name).ipv4_addresses[0].startswith("10.88.0.")
    assert host.addr("localhost").ipv4_addresses == ["127.0.0.1"]


def test_cni_directories_exist_before_containerd(host: Any) -> None:
    for path in ("/etc/cni/net.d", "/opt/cni/bin"):
        assert host.file(path).is_directory


def test_programs_trust_the_authority_that_was_given(host: Any) -> None:
    assert AUTHORITY in host.file("/etc/ssl/certs/ca-certificates.crt").content_string


def test_apt_goes_through_the_proxy_that_was_given(host: Any) -> None:
    told = host.check_output("apt-config dump Acquire::http::Proxy")
    assert 'Acquire::http::Proxy "http://proxy.example:3128/";' in told
    assert 'Acquire::http::Proxy::mirror.example "DIRECT";' in told
    login = host.file("/etc/apt/auth.conf.d/ohmykube-proxy.conf")
    assert (login.mode, login.user) == (0o600, "root")
    assert "login molecule password apt-4711" in login.content_string
