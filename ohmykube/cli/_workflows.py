"""What commands need from the layers below, as one object that tests replace.

The real one imports each workflow only when it is called: a command pays for what it uses.
"""

# Every import below is inside a method for the reason above.
# ruff: noqa: PLC0415

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ohmykube.cli._bundle_workflows import BundleWorkflows
    from ohmykube.cli._cache_workflows import CacheWorkflows
    from ohmykube.cli._image_workflows import ImageWorkflows
    from ohmykube.cli._mirror_workflows import MirrorWorkflows
    from ohmykube.cli._template_workflows import TemplateWorkflows
    from ohmykube.kit.paths import Paths
    from ohmykube.model.cluster import Cluster
    from ohmykube.steps.base import Services
    from ohmykube.workflows.doctor import DoctorReport
    from ohmykube.workflows.down import DownResult
    from ohmykube.workflows.power import PowerResult
    from ohmykube.workflows.status import ClusterStatus, ClusterSummary
    from ohmykube.workflows.up_values import UpOptions, UpResult


class Workflows(Protocol):
    """The use-cases, with the signatures of ``ohmykube.workflows``."""

    @property
    def bundle(self) -> BundleWorkflows:
        """Those on bundles."""
        ...

    @property
    def image(self) -> ImageWorkflows:
        """Those on images."""
        ...

    @property
    def mirror(self) -> MirrorWorkflows:
        """Serving the cache."""
        ...

    @property
    def cache(self) -> CacheWorkflows:
        """Those on the cache."""
        ...

    @property
    def template(self) -> TemplateWorkflows:
        """Those on templates."""
        ...

    def up(self, services: Services, cluster: Cluster, options: UpOptions) -> UpResult:
        """Make or finish a cluster."""
        ...

    def down(self, services: Services, name: str) -> DownResult:
        """Remove a cluster."""
        ...

    def status(self, services: Services, name: str) -> ClusterStatus:
        """Look at one cluster."""
        ...

    def list_clusters(self, services: Services) -> tuple[ClusterSummary, ...]:
        """Look at all clusters."""
        ...

    def start(self, services: Services, name: str) -> PowerResult:
        """Start a cluster's machines."""
        ...

    def stop(self, services: Services, name: str) -> PowerResult:
        """Stop a cluster's machines."""
        ...

    def kubeconfig(self, services: Services, name: str) -> Path:
        """Return the path of a cluster's kubeconfig."""
        ...

    def shell_argv(
        self, services: Services, name: str, node: str, command: Sequence[str]
    ) -> tuple[str, ...]:
        """Return the command line that opens a shell on a node, or runs ``command`` there."""
        ...

    def doctor(self, services: Services, provider: str, *, fix: bool) -> DoctorReport:
        """Check this host."""
        ...

    def names(self, paths: Paths) -> tuple[str, ...]:
        """Return the names of all clusters; quick, asks no machine."""
        ...

    def node_names(self, paths: Paths, cluster: str) -> tuple[str, ...]:
        """Return the names of a cluster's nodes; quick, asks no machine."""
        ...


class RealWorkflows:
    """The product's own."""

    @property
    def bundle(self) -> BundleWorkflows:
        """See ``cli._bundle_workflows``."""
        from ohmykube.cli._bundle_workflows import RealBundleWorkflows

        return RealBundleWorkflows()

    @property
    def image(self) -> ImageWorkflows:
        """See ``cli._image_workflows``."""
        from ohmykube.cli._image_workflows import RealImageWorkflows

        return RealImageWorkflows()

    @property
    def mirror(self) -> MirrorWorkflows:
        """See ``cli._mirror_workflows``."""
        from ohmykube.cli._mirror_workflows import RealMirrorWorkflows

        return RealMirrorWorkflows()

    @property
    def cache(self) -> CacheWorkflows:
        """See ``cli._cache_workflows``."""
        from ohmykube.cli._cache_workflows import RealCacheWorkflows

        return RealCacheWorkflows()

    @property
    def template(self) -> TemplateWorkflows:
        """See ``cli._template_workflows``."""
        from ohmykube.cli._template_workflows import RealTemplateWorkflows

        return RealTemplateWorkflows()

    def up(self, services: Services, cluster: Cluster, options: UpOptions) -> UpResult:
        """See ``workflows.up``."""
        from ohmykube.workflows import up

        return up.up(services, cluster, options)

    def down(self, services: Services, name: str) -> DownResult:
        """See ``workflows.down``."""
        from ohmykube.workflows import down

        return down.down(services, name)

    def status(self, services: Services, name: str) -> ClusterStatus:
        """See ``workflows.status``."""
        from ohmykube.workflows import status

        return status.status(services, name)

    def list_clusters(self, services: Services) -> tuple[ClusterSummary, ...]:
        """See ``workflows.status``."""
        from ohmykube.workflows import status

        return status.list_clusters(services)

    def start(self, services: Services, name: str) -> PowerResult:
        """See ``workflows.power``."""
        from ohmykube.workflows import power

        return power.start(services, name)

    def stop(self, services: Services, name: str) -> PowerResult:
        """See ``workflows.power``."""
        from ohmykube.workflows import power

        return power.stop(services, name)

    def kubeconfig(self, services: Services, name: str) -> Path:
        """See ``workflows.access``."""
        from ohmykube.workflows import access

        return access.kubeconfig(services, name)

    def shell_argv(
        self, services: Services, name: str, node: str, command: Sequence[str]
    ) -> tuple[str, ...]:
        """See ``workflows.access``."""
        from ohmykube.workflows import access

        return access.shell_argv(services, name, node, command)

    def doctor(self, services: Services, provider: str, *, fix: bool) -> DoctorReport:
        """See ``workflows.doctor``."""
        from ohmykube.workflows import doctor

        return doctor.doctor(services, provider, fix=fix)

    def names(self, paths: Paths) -> tuple[str, ...]:
        """See ``state.store``."""
        from ohmykube.state.store import StateStore

        return StateStore(paths.state).names()

    def node_names(self, paths: Paths, cluster: str) -> tuple[str, ...]:
        """Read the record; empty when there is none."""
        from ohmykube.config.load import from_document
        from ohmykube.state.store import StateStore

        record = StateStore(paths.state).read(cluster)
        if record is None:
            return ()
        return tuple(node.name for node in from_document(record.document).nodes)
