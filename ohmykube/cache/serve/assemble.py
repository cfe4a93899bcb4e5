"""Assembles the parts of a pull-through cache."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from ohmykube.cache import releases
from ohmykube.cache.download import Downloader
from ohmykube.cache.registry_client import RegistryClient
from ohmykube.cache.serve.pull_through import TAG_SECONDS, PullThrough
from ohmykube.cache.serve.release_files import ReleaseFiles
from ohmykube.cache.transport import Timing, Transport
from ohmykube.progress import NullReporter

if TYPE_CHECKING:
    from collections.abc import Mapping

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
    offline: bool = False,
    tag_seconds: float = TAG_SECONDS,
) -> PullThrough:
    """Return a pull-through cache of ``upstreams`` over the store, with the user's docker login."""
    # The cache itself reports one line for each thing fetched.
    downloader = Downloader(store, NullReporter(), Transport(TIMING))
    files = ReleaseFiles(store, None if offline else downloader, published)
    return PullThrough(
        store,
        upstreams,
        reporter,
        client=None if offline else RegistryClient(downloader),
        clock=clock,
        files=files,
        tag_seconds=tag_seconds,
    )


@functools.cache
def published() -> Mapping[str, str]:
    """Return URL to digest of all release files that we know the digest of."""
    found: dict[str, str] = {}
    for version in releases.buildable():
        for component in releases.release(version).components:
            found |= {d.url: d.digest for d in component.downloads.values() if d.digest}
    return found
