"""A real containerd pulls by the digest that an image's registry has for all platforms."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from ohmykube.cache.download import Downloader
from ohmykube.cache.manifest import OCI_INDEX, OCI_MANIFEST
from ohmykube.cache.registry_client import Reference, RegistryClient, Repository
from ohmykube.cache.serve import Server
from ohmykube.cache.store import Ref, Store
from ohmykube.kit import architecture
from ohmykube.kit import digest as digests
from ohmykube.model.artifact import Kind
from ohmykube.progress import NullReporter
from tests import image_maker
from tests.contract.own_containerd import REF, TOKEN
from tests.fault_server import Answer, FaultServer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.contract.own_containerd import Containerd

pytestmark = pytest.mark.nodes


def test_an_index_pulled_from_a_registry_is_pulled_by_its_digest(
    containerd: Containerd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of its two platforms only ours is in the cache, and that is enough."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    arch = architecture.host()
    other = "arm64" if arch == "amd64" else "amd64"
    made = {arch: image_maker.image(90_000, arch=arch), other: image_maker.image(9, arch=other)}
    entries = [
        {
            **image_maker.describe(one.manifest, OCI_MANIFEST),
            "platform": {"os": "linux", "architecture": name},
        }
        for name, one in sorted(made.items())
    ]
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
    index = json.dumps(document).encode()
    ours = made[arch]
    store = Store(tmp_path / "cache")
    client = RegistryClient(Downloader(store, NullReporter()), tmp_path / "no-config.json")
    with FaultServer() as registry:
        registry.on("/v2/whatever/manifests/1", Answer(index))
        registry.on(f"/v2/whatever/manifests/{ours.digest}", Answer(ours.manifest))
        for digest, data in ours.blobs.items():
            registry.on(f"/v2/whatever/blobs/{digest}", Answer(data))
        reference = Reference.parse(REF)
        pulled = client.pull(reference, arch, at=Repository(registry.url, "whatever"))
    assert pulled == ours.digest
    name = digests.of_bytes(index)
    assert client.index_of(pulled) == name
    store.set_ref(Ref(Kind.IMAGE, REF, "1", arch, pulled, 1, "upstream", index=name))
    lock = image_maker.lock(image_maker.locked(Kind.IMAGE, REF, pulled))
    with Server(store, lock, TOKEN) as server:
        by_digest = f"{REF.rpartition(':')[0]}@{name}"
        # As CRI pulls; ctr alone wants the manifests of all platforms too.
        code, output = containerd.pull(server.port, TOKEN, by_digest, "--skip-metadata")
        assert code == 0, output
        assert containerd.complete()
        assert containerd.content() >= {name, pulled, *ours.blobs}
        code, output = containerd.pull(server.port)
        assert code == 0, output
