"""Hosts and artifacts that are not as they must be, found out beside real nodes."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from ohmykube.kit import files, process
from ohmykube.providers.nspawn import port_forward
from tests.e2e.bare import Bare
from tests.e2e.conftest import NOTHING, Cli, wait_gone
from tests.e2e.refusals import content, refusal, remember

pytestmark = pytest.mark.nodes
NAME = "damaged"
DESCRIPTION = f"""\
apiVersion: ohmykube.dev/v1
kind: Cluster
metadata: {{name: {NAME}}}
spec:
  provider: {{name: nspawn}}
  nodes:
    workers: {{count: 0}}
  artifacts: {{sources: [build]}}
"""


def test_without_a_program(tmp_path: Path) -> None:
    """It is one of those that ask for all programs of nodes: only this one is missing."""
    own = Cli(tmp_path / "omk", tmp_path / "cache")
    programs = tmp_path / "bin"
    programs.mkdir()
    for directory in ("/usr/bin", "/usr/sbin", "/bin", "/sbin"):
        for program in Path(directory).iterdir():
            target = programs / program.name
            if program.name != "systemd-nspawn" and not target.is_symlink():
                target.symlink_to(program)
    done = own.run("up", "--provider", "nspawn", check=False, timeout=120, PATH=str(programs))
    refusal(done, 7, "systemd-nspawn is not installed", "ohmykube doctor --fix")
    assert done.stdout == ""
    assert content(own.home, own.cache) == {}


def test_an_occupied_port_of_the_api(tmp_path: Path, shared_cache: Path) -> None:
    """A new cluster takes another port; one that had it says who is in the way, and keeps it."""
    nodes = Bare("bad-port", tmp_path / "omk", shared_cache)
    cli = Cli(nodes.home, shared_cache)
    remember(cli, nodes.name, "nspawn")
    first = port_forward.choose(nodes.name, (), lambda _: True)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", first))
        taken.listen()
        try:
            nodes.make("cp1")
            address = nodes.address("cp1")
            endpoint = nodes.provider.api_endpoint(nodes.name, address, 6443)
            assert endpoint[0] == "127.0.0.1"
            assert endpoint[1] != first
            nodes.provider.stop(nodes.name, "cp1")
            with socket.socket() as other:
                other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                other.bind(endpoint)
                other.listen()
                done = cli.run("start", nodes.name, check=False, timeout=120)
                refusal(done, 5, f"port {endpoint[1]}", "is taken", "ss -tanp")
            nodes.provider.start(nodes.name, "cp1")
            assert nodes.provider.api_endpoint(nodes.name, address, 6443) == endpoint
        finally:
            nodes.remove()
    assert wait_gone(nodes.name) == NOTHING


def copied(cache: Path, target: Path) -> Path:
    """Return a copy of a cache, of hard links where they are possible; the base image is shared."""
    target.mkdir()
    argv = ["cp", "-a", str(cache / "oci"), str(cache / "refs.json"), str(target)]
    try:
        process.run([*argv, "--link"], timeout=120)
    except process.CommandFailed:
        # The temporary directory lies on another file system, or on another mount of the same.
        files.remove_tree(target)
        target.mkdir()
        process.run(argv, timeout=300)
    (target / "nspawn").symlink_to(cache / "nspawn")
    return target


def package(cache: Path, role: str) -> Path:
    """Return the blob of a node package."""
    refs = json.loads((cache / "refs.json").read_text())
    entries = refs["refs"] if isinstance(refs, dict) else refs
    found = next(r for r in entries if (r["kind"], r["name"]) == ("package", role))
    blob: Path = cache / "oci" / "blobs" / found["digest"].replace(":", "/")
    return blob


def damage(blob: Path, kind: str) -> None:
    """Replace a blob by a damaged copy; the original behind the hard link stays."""
    data = bytearray(blob.read_bytes())
    if kind == "truncated":
        del data[len(data) // 2 :]
    else:
        data[len(data) // 2] ^= 0xFF
    blob.unlink()
    blob.write_bytes(data)


def test_a_damaged_package_never_reaches_a_node(
    tmp_path: Path, shared_cache: Path, cli: Cli
) -> None:
    """It is found before it is sent, put aside, and nothing of it is installed.

    A machine of its own, as nothing may have been installed on it before.
    """
    if not (shared_cache / "refs.json").exists():
        cli.run("up", "--name", "bad-fill", "--workers", "0", "--provider", "nspawn")
        cli.run("down", "bad-fill", "--yes")
    file = tmp_path / "cluster.yaml"
    file.write_text(DESCRIPTION)
    try:
        for kind in ("truncated", "flipped"):
            cache = copied(shared_cache, tmp_path / kind)
            blob = package(cache, "containerd")
            size = blob.stat().st_size
            damage(blob, kind)
            broken = Cli(tmp_path / "omk", cache)
            done = broken.run("up", "-f", str(file), check=False, timeout=600)
            refusal(done, 12, "the cached package containerd", "is damaged", "ohmykube up")
            programs = broken.run("shell", "--name", NAME, "cp1", "--", "ls", "/usr/local/bin")
            assert programs.stdout == "", kind
            assert not blob.exists(), kind
            assert (shared_cache / blob.relative_to(cache)).stat().st_size == size, kind
    finally:
        Cli(tmp_path / "omk", shared_cache).run("down", NAME, "--yes", check=False)
    assert wait_gone(NAME) == NOTHING
