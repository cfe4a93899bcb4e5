"""A cluster of hosts of two architectures, from what the hosts tell to what each node fetches.

The hosts are stand-ins; the cache, its server and the inventory are the product's own.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import http
import http.client
import io
import json
import tarfile
from typing import TYPE_CHECKING, Any

import pytest
import zstandard

from ohmykube.addons import selection
from ohmykube.ansible import inventory, variables
from ohmykube.cache import resolve
from ohmykube.cache.serve import Server
from ohmykube.cache.store import Store
from ohmykube.errors import PrerequisiteError
from ohmykube.kit import paths
from ohmykube.kit.secret import Secret
from ohmykube.model.cluster import Cluster, Host, Node, Role, Sources
from ohmykube.model.machine import MachineSpec
from ohmykube.providers.base import ProviderContext
from ohmykube.providers.ssh.provider import SshProvider
from ohmykube.steps import node_digests
from ohmykube.steps.context import Context, Services
from ohmykube.steps.resolve import architectures
from ohmykube.testing.reporter import RecordingReporter
from tests.plenty import Plenty, plenty

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from ohmykube.cache.sources.base import Source, SourceContext
    from ohmykube.model.artifact import ArtifactLock
    from ohmykube.model.machine import SshTarget

MACHINES = {"192.0.2.1": "x86_64", "192.0.2.2": "aarch64"}
TOKEN = "token-of-the-test"
FACTS = {
    "uid": "0", "python": "3.11", "systemd": "yes", "cpus": "4", "memory_kib": str(4 << 20),
    "disk_kib": str(50 << 20), "swaps": "0", "module_overlay": "yes",
    "module_br_netfilter": "yes", "system": "debian 12",
}  # fmt: skip
CLUSTER = Cluster(
    name="dev",
    kubernetes_version="1.36.3",
    provider="ssh",
    nodes=(
        Node(name="cp1", role=Role.CONTROL_PLANE, host=Host(address="192.0.2.1")),
        Node(name="w1", role=Role.WORKER, host=Host(address="192.0.2.2")),
    ),
)


class Hosts:
    """Hosts that answer from memory."""

    def __init__(self) -> None:
        self.marked: dict[str, str] = {}

    def run(
        self, node: str, target: SshTarget, script: str, *, trusted: str, timeout: float
    ) -> str:
        if "say uid" not in script:
            (line,) = [one for one in script.splitlines() if one.startswith("CONTENT=")]
            content = line.removeprefix("CONTENT='").removesuffix("'")
            return self.marked.setdefault(node, content)
        facts = FACTS | {"machine": MACHINES[target.address], "route": target.address}
        if node in self.marked:
            facts["marker"] = self.marked[node]
        return "\n".join(f"{key}={value}" for key, value in facts.items())


@pytest.fixture
def ctx(tmp_path: Path) -> Context:
    services = Services(
        paths=paths.from_environment({"OHMYKUBE_HOME": str(tmp_path)}), reporter=RecordingReporter()
    )
    provider = SshProvider(
        ProviderContext(paths=services.paths, reporter=services.reporter, cluster=CLUSTER),
        Hosts(),
        configuration=(),
    )
    return Context(
        services=services,
        cluster=CLUSTER,
        provider=provider,
        directory=tmp_path,
        run_directory=tmp_path,
    )


def found(ctx: Context, load: Callable[[str, SourceContext], Source], *order: str) -> ArtifactLock:
    """Resolve what the nodes need, as ``up`` does before it touches a host."""
    sources = Sources(order=order or ("upstream", "build"))
    return resolve.resolve(
        dataclasses.replace(CLUSTER, sources=sources),
        selection.release_of(CLUSTER),
        Store(ctx.services.paths.cache),
        ctx.services.reporter,
        architectures=architectures(ctx),
        load=load,
    )


def get(port: int, path: str) -> bytes:
    """Return what the cache's server sends a node."""
    with contextlib.closing(
        http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    ) as connection:
        connection.request("GET", path, headers={"Authorization": f"Bearer {TOKEN}"})
        answer = connection.getresponse()
        body = answer.read()
    assert answer.status == http.HTTPStatus.OK, (path, body)
    return body


def kubelet(port: int, node: Mapping[str, Any]) -> bytes:
    """Return the kubelet in the package that a node is told to unpack."""
    (artifact,) = node["kubeadm_artifacts"]
    packed = get(port, artifact["url"].removeprefix(f"http://127.0.0.1:{port}"))
    assert artifact["checksum"] == "sha256:" + hashlib.sha256(packed).hexdigest()
    plain = zstandard.ZstdDecompressor().decompressobj().decompress(packed)
    with tarfile.open(fileobj=io.BytesIO(plain)) as archive:
        member = archive.extractfile("usr/local/bin/kubelet")
        assert member is not None
        return member.read()


def platform(port: int, image: Mapping[str, str], reference: str) -> str:
    """Return the architecture in the configuration of an image."""
    registry, _, name = image["ref"].rpartition(":")[0].partition("/")
    base = f"/v2/{name}"
    manifest = json.loads(get(port, f"{base}/manifests/{reference}?ns={registry}"))
    config = get(port, f"{base}/blobs/{manifest['config']['digest']}?ns={registry}")
    return str(json.loads(config)["architecture"])


def test_each_node_is_told_of_what_is_its_own_and_gets_it(ctx: Context) -> None:
    lock = found(ctx, plenty)
    assert lock.architectures == ("amd64", "arm64")
    machines = {
        node.name: ctx.provider.create(MachineSpec(cluster="dev", node=node.name))
        for node in CLUSTER.nodes
    }
    with Server(Store(ctx.services.paths.cache), lock, TOKEN) as server:
        endpoint = f"http://127.0.0.1:{server.port}"
        access = variables.CacheAccess(endpoint=endpoint, token=Secret(TOKEN))
        hosts, _ = inventory.compose(
            cluster=CLUSTER,
            lock=lock,
            machines=machines,
            access=access,
            ssh_config=None,
            node_traits=ctx.node_traits,
        )
        told: dict[str, Any] = {host.name: host.variables for host in hosts}
        for name, arch in (("cp1", "amd64"), ("w1", "arm64")):
            assert told[name]["containerd_arch"] == arch
            assert kubelet(server.port, told[name]) == f"kubelet {arch}".encode()
            for image in told[name]["cache_images"]:
                assert platform(server.port, image, image["digest"]) == arch


def test_by_its_tag_an_image_is_had_for_each_platform(ctx: Context) -> None:
    lock = found(ctx, plenty)
    with Server(Store(ctx.services.paths.cache), lock, TOKEN) as server:
        index = json.loads(get(server.port, "/v2/pause/manifests/3.10.2?ns=registry.k8s.io"))
        image = {"ref": "registry.k8s.io/pause:3.10.2"}
        for entry in index["manifests"]:
            arch = entry["platform"]["architecture"]
            assert platform(server.port, image, entry["digest"]) == arch
        assert len(index["manifests"]) == 2


def test_what_a_node_is_configured_from_follows_its_own_architecture(ctx: Context) -> None:
    """A host that is silent, and so tells none, takes nothing from the others."""
    lock = found(ctx, plenty)
    machines = {
        node.name: ctx.provider.create(MachineSpec(cluster="dev", node=node.name))
        for node in CLUSTER.nodes
    }
    both = node_digests.wanted(ctx, lock, machines)
    silent = dataclasses.replace(machines["w1"], arch="")
    one = node_digests.wanted(ctx, lock, {**machines, "w1": silent})
    assert one["cp1"] == both["cp1"]
    assert one["w1"].artifacts != both["w1"].artifacts
    only = dataclasses.replace(lock, architectures=("arm64",))
    assert node_digests.wanted(ctx, only, {**machines, "w1": silent})["w1"] == both["w1"]


class OneSided(Plenty):
    """Brings artifacts for one architecture, as a source does that compiles."""

    def architectures(self) -> tuple[str, ...]:
        return ("amd64",)


def test_what_this_host_cannot_build_is_told_before_a_host_is_touched(ctx: Context) -> None:
    with pytest.raises(PrerequisiteError, match="what nodes of arm64 need") as caught:
        found(ctx, lambda name, context: OneSided(context, name), "build")
    assert "build: what it brings is for amd64 alone" in (caught.value.why or "")
    assert "upstream" in (caught.value.hint or "")
    assert Store(ctx.services.paths.cache).refs() == ()
    assert ctx.provider.list("dev") == []
