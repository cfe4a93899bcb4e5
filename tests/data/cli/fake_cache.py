"""The commands on the cache, on a real one that holds one thing."""

from __future__ import annotations

from ohmykube.workflows import cache


class StockedCache:
    """Looks at the cache of the command; before ``rm`` there is something to remove."""

    def __getattr__(self, name: str):
        return getattr(cache, name)

    def selected(self, services, words, *, every):
        from ohmykube.cache.store import Ref, Store
        from ohmykube.model.artifact import Kind

        store = Store(services.paths.cache)
        for word in words:
            digest = store.put_bytes(word.encode())
            store.set_ref(Ref(Kind.FILE, word, "1", "noarch", digest, len(word), "test"))
        return cache.selected(services, words, every=every)
