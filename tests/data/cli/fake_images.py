"""The commands on images without a cluster: two nodes, one of which fails when asked to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.errors import NodeError, UnreachableError

if TYPE_CHECKING:
    from ohmykube.workflows.images import DeliveryResult, ImageList

DIGEST = "sha256:" + "ab" * 32
APP = "docker.io/library/app:dev"


class FakeImages:
    """Answers like ``workflows.images``."""

    def __init__(self, calls: list[tuple]) -> None:
        self._calls = calls

    def load(self, services, name, options) -> DeliveryResult:
        asked = (options.sources, options.origin, options.reference, options.nodes)
        self._calls.append(("image load", name, *asked))
        return self._delivered(name, failing="broken.tar" in options.sources)

    def pull(self, services, name, references, nodes) -> DeliveryResult:
        self._calls.append(("image pull", name, tuple(references), tuple(nodes)))
        return self._delivered(name, failing=False)

    def _delivered(self, name: str, *, failing: bool) -> DeliveryResult:
        from ohmykube.cache.store import Ref
        from ohmykube.model.artifact import Kind
        from ohmykube.steps.deliver_to_node import Delivery
        from ohmykube.workflows.images import DeliveryResult

        error = NodeError("node w2 did not take it", why="no space left on device")
        return DeliveryResult(
            cluster=name,
            images=(Ref(Kind.IMAGE, APP, "dev", "amd64", DIGEST, 135_000_000, "load"),),
            nodes=(
                Delivery("cp1", "pull", "", 14_000_000, 121_000_000, 0.44, [APP]),
                Delivery("w1", "none", "", 0, 135_000_000, 0.1),
                Delivery(
                    "w2",
                    "stream",
                    "sshd refuses the tunnel",
                    1_350_000_000,
                    999,
                    61.4,
                    [APP],
                    error if failing else None,
                ),
            ),
        )

    def list_images(self, services, name, nodes) -> ImageList:
        from ohmykube.workflows.images import ImageList, ListedImage

        self._calls.append(("image list", name, tuple(nodes)))
        rows = (
            ListedImage(
                reference=APP,
                digest=DIGEST,
                size="12.9 MiB",
                size_bytes=13_526_630,
                pinned=True,
                nodes=("cp1", "w1"),
                lacking=(),
                broken=(),
            ),
            ListedImage(
                reference="registry.k8s.io/etcd:3.6.8-0",
                digest=DIGEST,
                size="8.9 MiB",
                size_bytes=None,
                pinned=False,
                nodes=("cp1",),
                lacking=("w1",),
                broken=("cp1",),
            ),
        )
        lost = {"w2": UnreachableError("node w2 cannot be reached by ssh")}
        return ImageList(cluster=name, nodes=("cp1", "w1"), lost=lost, images=rows)
