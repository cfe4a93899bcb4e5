"""Have everything at hand before a run that may ask nobody: bundles, and the base of machines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.addons import selection
from ohmykube.cache import resolve
from ohmykube.cache.bundle import import_bundle, machine_base
from ohmykube.cache.bundle.missing import offline_missing, own_parts_missing
from ohmykube.cache.bundle.preview import StoreWithBundles
from ohmykube.cache.store import Store
from ohmykube.kit import amounts
from ohmykube.model.artifact import Kind
from ohmykube.progress import Message, item
from ohmykube.providers.base import Portable
from ohmykube.steps.resolve import architectures
from ohmykube.steps.step import Step

if TYPE_CHECKING:
    from ohmykube.cache.store import Ref
    from ohmykube.providers.base import OwnPart
    from ohmykube.steps.context import Context


OFFLINE = Step("offline", "Look for everything on this host")


def check_offline(ctx: Context) -> None:
    """Tell whether ``prepare_offline`` would do; changes nothing, and hashes no blob of a bundle.

    Raises:
        As ``prepare_offline``.
    """
    with OFFLINE.running(ctx.services) as result:
        options = ctx.options
        _needed(
            ctx,
            StoreWithBundles(ctx.services.paths.cache, options.bundles, options.allowed_signers),
        )
        result.detail = f"{_counted(ctx)} would be used" if options.bundles else "all is here"


def prepare_offline(ctx: Context) -> None:
    """Have everything that the run needs on this host; opens no connection.

    Nothing was made yet: a run that lacks something ends with all of it named.

    Raises:
        NotFoundError: names all that lacks.
        IntegrityError: a bundle is not to be trusted.
    """
    with OFFLINE.running(ctx.services) as result:
        store = Store(ctx.services.paths.cache)
        for path in ctx.options.bundles:
            import_bundle.attach(store, path, ctx.services.reporter, ctx.options.allowed_signers)
        base = _needed(ctx, store)
        if base is not None and not isinstance(base, str):
            _bring(ctx, store, base)
        result.detail = f"{_counted(ctx)} in place"


def _needed(ctx: Context, store: Store) -> Ref | str | None:
    """Return what ``_base`` does; raise NotFoundError when an offline run lacks something."""
    base = _base(ctx, store)
    lacking = _artifacts(ctx, store) if ctx.options.offline else []
    if isinstance(base, str):
        lacking.append(base)
    own = _own(ctx)
    if lacking and ctx.options.offline:
        raise offline_missing([*lacking, *(part.name for part in own)])
    if own:
        raise own_parts_missing([(part.name, part.needed) for part in own])
    return base


def _artifacts(ctx: Context, store: Store) -> list[str]:
    release, nodes = selection.release_of(ctx.cluster), architectures(ctx)
    return list(resolve.missing(ctx.cluster, release, store, architectures=nodes))


def _own(ctx: Context) -> list[OwnPart]:
    """Return what only the user can bring, and did not, for a run that may ask nobody."""
    if not ctx.options.offline or not isinstance(ctx.provider, Portable):
        return []
    return [part for part in ctx.provider.own_parts() if not part.here]


def _base(ctx: Context, store: Store) -> Ref | str | None:
    """Return the base to be unpacked, what lacks, or None when there is nothing to do."""
    provider = ctx.provider
    if not isinstance(provider, Portable):
        if provider.capabilities.creates and ctx.options.offline:
            text = f"provider {provider.name} does not tell whether it needs the network"
            ctx.services.reporter.emit(Message(text=text, level="warning"))
        return None
    version, arch = provider.base_version(), resolve.host_arch()
    if not version or provider.has_base():
        return None
    found = store.ref(Kind.MACHINE_IMAGE, provider.name, version, arch)
    return found or f"machine image {provider.name} {version}"


def _bring(ctx: Context, store: Store, base: Ref) -> None:
    provider = ctx.provider
    if isinstance(provider, Portable):
        with item(ctx.services.reporter, f"machine image {provider.name}", "unpack"):
            machine_base.unpacked(store, base, provider.import_base)


def _counted(ctx: Context) -> str:
    number = len(ctx.options.bundles)
    return amounts.count(number, "bundle")
