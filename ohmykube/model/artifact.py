"""Artifacts: what a node needs, by digest."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field


class Kind(enum.StrEnum):
    """What sort of thing an artifact is."""

    BINARY = "binary"
    """One executable file."""
    PACKAGE = "package"
    """A deterministic tar packed with zstd, unpacked over a node's ``/``."""
    IMAGE = "image"
    """A container image: the digest is that of its manifest (or index)."""
    MACHINE_IMAGE = "machine-image"
    """The root file system or disk that machines are made from."""
    FILE = "file"
    """Any other file that a bundle carries, such as a wheel or a cluster manifest."""
    CHART = "chart"
    """A Helm chart archive."""
    REPACKED = "repacked"
    """A second manifest of an image, whose layers are packed anew (``cache.repack``)."""


class PackageRole(enum.StrEnum):
    """For which Ansible role a package is; one package per role, version and architecture."""

    CONTAINERD = "containerd"
    KUBEADM = "kubeadm"


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedArtifact:
    """One resolved artifact of a cluster."""

    kind: Kind
    name: str
    """A package's role, or an image's full reference such as ``registry.k8s.io/pause:3.10.2``."""
    version: str
    arch: str
    """``amd64`` or ``arm64``."""
    digest: str
    """``sha256:<hex>`` of the blob; of the manifest for an image."""
    size: int
    """Bytes of the blob; for an image the sum of its blobs."""
    source: str
    """Which source made it: ``upstream``, ``mirror`` or ``build``."""
    node_roles: tuple[str, ...] = ("control-plane", "worker")
    """On which nodes it is needed."""
    content_digest: str = ""
    """For a package the digest of its tar before packing, for nodes that have no zstd."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactLock:
    """All artifacts of one cluster."""

    kubernetes_version: str
    arch: str
    artifacts: tuple[LockedArtifact, ...]
    settings: Mapping[str, str] = field(default_factory=dict)
    """Version facts that roles need: ``pause_image``, ``etcd_tag``, ``coredns_tag``,
    ``flannel_image``, ``flannel_cni_image``."""

    def package(self, role: PackageRole) -> LockedArtifact:
        """Return the package of a role; raises KeyError."""
        for artifact in self.artifacts:
            if artifact.kind is Kind.PACKAGE and artifact.name == role.value:
                return artifact
        raise KeyError(role.value)

    def images(self, node_role: str) -> tuple[LockedArtifact, ...]:
        """Return the images that nodes of ``node_role`` need, biggest first."""
        wanted = [a for a in self.artifacts if a.kind is Kind.IMAGE and node_role in a.node_roles]
        return tuple(sorted(wanted, key=lambda a: (-a.size, a.name)))
