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
    """A package's role, an image's full reference such as ``registry.k8s.io/pause:3.10.2``, or
    for another file its set and its name there, such as ``metallb/native.yaml``."""
    version: str
    arch: str
    """``amd64``, ``arm64``, or ``noarch`` for what is the same for all."""
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
class LockedSet:
    """The resolved artifacts of one set, for all architectures of a cluster."""

    name: str
    version: str
    artifacts: tuple[LockedArtifact, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    """Variables of roles that follow from the set, such as ``flannel_image``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactLock:
    """All artifacts of one cluster."""

    kubernetes_version: str
    architectures: tuple[str, ...]
    """Of its nodes, sorted."""
    sets: tuple[LockedSet, ...]

    @property
    def artifacts(self) -> tuple[LockedArtifact, ...]:
        """All artifacts, set by set."""
        return tuple(artifact for one in self.sets for artifact in one.artifacts)

    @property
    def variables(self) -> dict[str, str]:
        """The variables of roles that follow from all sets."""
        return {name: value for one in self.sets for name, value in one.variables.items()}

    def packages(self, arch: str) -> tuple[LockedArtifact, ...]:
        """Return the packages of nodes of one architecture."""
        return tuple(a for a in self.artifacts if a.kind is Kind.PACKAGE and a.arch == arch)

    def package(self, name: str, arch: str) -> LockedArtifact:
        """Return a package by the name of its role; raises KeyError."""
        for artifact in self.packages(arch):
            if artifact.name == name:
                return artifact
        raise KeyError(name)

    def images(self, node_role: str, arch: str) -> tuple[LockedArtifact, ...]:
        """Return the images that nodes of a role and an architecture need, biggest first."""
        wanted = [
            a
            for a in self.artifacts
            if a.kind is Kind.IMAGE and a.arch == arch and node_role in a.node_roles
        ]
        return tuple(sorted(wanted, key=lambda a: (-a.size, a.name)))

    def arch_of(self, told: str) -> str:
        """Return the architecture of a node: what its machine told, else that of all nodes.

        Raises:
            ValueError: nothing was told, and the nodes differ.
        """
        if told:
            return told
        (only,) = self.architectures
        return only
