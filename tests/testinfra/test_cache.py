"""What the role cache leaves on a node."""

from __future__ import annotations

import tomllib
from typing import Any


def test_mirror_is_configured_and_its_token_is_private(host: Any) -> None:
    file = host.file("/etc/containerd/certs.d/_default/hosts.toml")
    assert file.mode == 0o600
    hosts = tomllib.loads(file.content_string)["host"]
    mirror = hosts["http://127.0.0.1:5055"]
    assert "pull" in mirror["capabilities"]


def test_images_of_the_role_are_complete_and_pinned(host: Any) -> None:
    listed = host.check_output("ctr -n k8s.io images ls")
    wanted = ["registry.k8s.io/pause:3.10.2", "registry.k8s.io/kube-proxy:v1.36.3"]
    if host.check_output("hostname") == "cp1":
        wanted.append("registry.k8s.io/kube-apiserver:v1.36.3")
    for ref in wanted:
        line = next(x for x in listed.splitlines() if x.startswith(f"{ref} "))
        assert "io.cri-containerd.pinned=pinned" in line
    checked = host.check_output("ctr -n k8s.io images check")
    states = [x.split() for x in checked.splitlines()[1:] if not x.startswith("sha256:")]
    assert states
    assert all("complete" in words for words in states)


def test_a_worker_has_no_control_plane_images(host: Any) -> None:
    listed = host.check_output("ctr -n k8s.io images ls -q")
    assert ("kube-apiserver" in listed) == (host.check_output("hostname") == "cp1")


def test_a_plain_mirror_with_a_password(host: Any) -> None:
    file = host.file("/etc/containerd/certs.d/other.example_5000_/hosts.toml")
    assert file.mode == 0o600
    hosts = tomllib.loads(file.content_string)["host"]
    assert list(hosts) == ["http://127.0.0.1:5998", "http://127.0.0.1:5999"]
    assert "header" not in hosts["http://127.0.0.1:5998"]
    assert hosts["http://127.0.0.1:5999"]["header"]["Authorization"][0].startswith("Basic ")
    listed = host.check_output("ctr -n k8s.io images ls -q").split()
    assert "plain.example/library/tiny:1" in listed
    assert "other.example:5000/library/tiny:1" in listed  # the first of its mirrors is down
