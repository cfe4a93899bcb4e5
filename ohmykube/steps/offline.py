"""Have everything at hand before a run that may ask nobody: bundles, and the base of machines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.cache import resolve
from ohmykube.cache.bundle import import_bundle, machine_base
from ohmykube.cache.bundle.missing import offline_lacks, own_lacks
from ohmykube.cache.bundle.preview import Foreseen
from ohmykube.cache.store import Store
from ohmykube.model.artifact import Kind
from ohmykube.progress import Message, item
from ohmykube.providers.base import Portable

if TYPE_CHECKING:
    from ohmykube.cache.store import Ref
    from ohmykube.providers.base import OwnPart
    from ohmykube.steps.base import Run


class Offline:
    """After this step nothing that the run needs is anywhere else; it opens no connection.

    Nothing was made yet: a run that lacks something ends with all of it named.
    """

    name = "offline"
    title = "Look for everything on this host"

    def __init__(self, *, only_look: bool = False) -> None:
        """``only_look``: change nothing, and hash no blob of a bundle."""
        self._only_look = only_look

    def run(self, run: Run) -> str:
        """Raise NotFoundError naming all that lacks; IntegrityError for a bundle not to trust."""
        root, allowed = run.services.paths.cache, run.allowed_signers
        if self._only_look:
            self._needed(run, Foreseen(root, run.bundles, allowed))
            return f"{_counted(run)} would be used" if run.bundles else "all is here"
        store = Store(root)
        for path in run.bundles:
            import_bundle.use(store, path, run.services.reporter, allowed)
        base = self._needed(run, store)
        if base is not None and not isinstance(base, str):
            self._bring(run, store, base)
        return f"{_counted(run)} in place"

    def _needed(self, run: Run, store: Store) -> Ref | str | None:
        """Return what ``_base`` does; raise NotFoundError when an offline run lacks something."""
        base = self._base(run, store)
        lacking = list(resolve.missing(run.cluster, store)) if run.offline else []
        if isinstance(base, str):
            lacking.append(base)
        own = self._own(run)
        if lacking and run.offline:
            raise offline_lacks([*lacking, *(part.name for part in own)])
        if own:
            raise own_lacks([(part.name, part.needed) for part in own])
        return base

    @staticmethod
    def _own(run: Run) -> list[OwnPart]:
        """Return what only the user can bring, and did not, for a run that may ask nobody."""
        if not run.offline or not isinstance(run.provider, Portable):
            return []
        return [part for part in run.provider.own_parts() if not part.here]

    @staticmethod
    def _base(run: Run, store: Store) -> Ref | str | None:
        """Return the base to be unpacked, what lacks, or None when there is nothing to do."""
        provider = run.provider
        if not isinstance(provider, Portable):
            if provider.capabilities.creates and run.offline:
                text = f"provider {provider.name} does not tell whether it needs the network"
                run.services.reporter.emit(Message(text=text, level="warning"))
            return None
        version, arch = provider.base_version(), resolve.host_arch()
        if not version or provider.has_base():
            return None
        found = store.ref(Kind.MACHINE_IMAGE, provider.name, version, arch)
        return found or f"machine image {provider.name} {version}"

    @staticmethod
    def _bring(run: Run, store: Store, base: Ref) -> None:
        provider = run.provider
        if isinstance(provider, Portable):
            with item(run.services.reporter, f"machine image {provider.name}", "unpack"):
                machine_base.unpacked(store, base, provider.import_base)


def _counted(run: Run) -> str:
    return "1 bundle" if len(run.bundles) == 1 else f"{len(run.bundles)} bundles"
