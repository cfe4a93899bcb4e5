"""Upstream's own tests of the network pass, run as a user runs them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ohmykube.config import load
from ohmykube.config.overrides import Overrides
from tests.e2e import conformance_images
from tests.e2e.conftest import NOTHING, Cli, wait_gone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = [pytest.mark.nightly, pytest.mark.nodes, pytest.mark.build]
FOCUS = r"\[sig-network\].*\[Conformance\]"
SPECS = 40
"""Fewer than any supported version has of them."""
NETWORKS = {
    "iptables": "{proxyMode: iptables}",
    "nftables": "{proxyMode: nftables}",
    "host-gw": "{flannel: {backend: host-gw}}",
}
CLUSTER = """\
apiVersion: ohmykube.dev/v1
kind: Cluster
metadata: {{name: conf}}
spec:
  provider: {{name: nspawn}}
  network: {network}
  nodes: {{workers: {{count: 2}}}}
"""


@pytest.fixture(scope="module")
def images(shared_cache: Path) -> dict[str, Path]:
    """Return archives of the images that the tests need, kept for the version."""
    version = load.from_overrides(Overrides(name="any")).kubernetes_version
    return conformance_images.archives(version, shared_cache)


@pytest.fixture(params=NETWORKS)
def cluster(request: pytest.FixtureRequest, cli: Cli, tmp_path: Path) -> Iterator[str]:
    """Make a cluster with each kind of network."""
    description = tmp_path / "cluster.yaml"
    description.write_text(CLUSTER.format(network=NETWORKS[request.param]))
    cli.run("up", "-f", str(description))
    yield "conf"
    cli.run("down", "conf", "--yes")
    assert wait_gone("conf") == NOTHING


def test_every_network_passes_upstreams_tests(
    cli: Cli,
    cluster: str,
    images: dict[str, Path],
    tmp_path: Path,
    eventually: Callable[[Callable[[], bool]], bool],
) -> None:
    """And nothing of them is left in the cluster."""

    def namespaces() -> set[str]:
        return set(cli.kubectl(cluster, "get", "namespaces", "-oname").split())

    before = namespaces()
    for archive in images.values():
        cli.run("image", "load", str(archive), "--name", cluster)
    results = tmp_path / "results"
    words = ("conformance", cluster, "--focus", FOCUS, "--results", str(results))
    document = cli.json(*words)
    assert document["failed"] == []
    assert document["passed"] > SPECS
    assert "<testsuite" in (results / "junit_01.xml").read_text()
    assert "namespace/ohmykube-conformance" not in namespaces()
    assert eventually(lambda: namespaces() == before)  # specs do not wait for theirs
    for node in ("cp1", "w1", "w2"):
        assert "ohmykube-conformance" not in cli.on(cluster, node, "ls", "/var/lib").split()
