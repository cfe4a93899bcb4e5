"""Assembles the parts of a pull-through cache."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from ohmykube.cache import releases
from ohmykube.cache.download import Downloader
from ohmykube.cache.registry_client import RegistryClient
from ohmykube.cache.serve.pull_through import TAG_SECONDS, PullThrough
from ohmykube.cache.serve.release_files import Published, ReleaseFiles
from ohmykube.cache.transport import Timing, Transport
from ohmykube.progress import NullReporter

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ohmykube.cache.catalog import ArtifactSet
    from ohmykube.cache.serve.registry_names import Upstream
    from ohmykube.cache.store import Store
    from ohmykube.kit.retry import Clock
    from ohmykube.progress import Reporter

TIMING = Timing(connect=5, read=30, attempts=3, pause=0.3, longest=2)
"""A client waits for every answer, and asks elsewhere or again by itself."""


def pull_through_cache(
    store: Store,
    upstreams: Mapping[str, Upstream],
    reporter: Reporter,
    clock: Clock,
    *,
    sets: Sequence[ArtifactSet] = (),
    offline: bool = False,
    tag_seconds: float = TAG_SECONDS,
) -> PullThrough:
    """Return a pull-through cache of ``upstreams`` over the store, with the user's docker login.

    ``sets`` are those that belong to no release of Kubernetes, as of add-ons.
    """
    # The cache itself reports one line for each thing fetched.
    downloader = Downloader(store, NullReporter(), Transport(TIMING))
    known = functools.cache(lambda: published(sets))
    files = ReleaseFiles(store, None if offline else downloader, known)
    return PullThrough(
        store,
        upstreams,
        reporter,
        client=None if offline else RegistryClient(downloader),
        clock=clock,
        files=files,
        tag_seconds=tag_seconds,
    )


def published(more: Iterable[ArtifactSet] = ()) -> dict[str, Published]:
    """Return URL to what we know of it: all files whose digest is known, those of modules too.

    Args:
        more: sets beside those of the releases of Kubernetes.
    """
    found: dict[str, Published] = {}
    for one in (*(s for v in releases.buildable() for s in releases.release(v).sets), *more):
        places = [part.downloads for part in one.components] + [f.downloads for f in one.files]
        downloads = [download for each in places for download in each.values()]
        found |= {d.url: Published(d.digest) for d in downloads if d.digest}
        modules = [file.module for file in one.files if file.module is not None]
        found |= {module.url: Published(module.digest, module) for module in modules}
    return found
