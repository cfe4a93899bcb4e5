"""The registries of a cluster as variables of the role ``cache``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.model.registry import behind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ohmykube.model.registry import Registry


def registry_vars(registries: Sequence[Registry], endpoint: str) -> dict[str, object]:
    """Return by whom nodes ask for images; nothing where no registry is described.

    Args:
        registries: those described, with their logins.
        endpoint: URL of this host's artifact server as nodes reach it, which they ask before
            anybody else; empty for none.
    """
    first = [endpoint] if endpoint else []
    mirrors: dict[str, list[str]] = {"_default": first} if first else {}
    servers: dict[str, str] = {}
    for one in registries:
        asked = list(one.mirrors)
        if not one.fallback:
            servers[one.name] = asked.pop()
        elif one.plain_http or one.ca or one.auth:
            servers[one.name] = one.url
        if asked or one.name in servers:
            mirrors[one.name] = [*first, *asked]
    if mirrors.keys() <= {"_default"}:
        return {}
    known = {one.name: one for one in registries}
    urls = [url for one in registries for url in one.mirrors] + [*servers.values()]
    options = [_needs(url, found) for url in dict.fromkeys(urls) if (found := behind(url, known))]
    return {
        "cache_mirrors": mirrors,
        "cache_servers": servers,
        "cache_mirror_options": [one for one in options if len(one) > 1],
    }


def _needs(url: str, registry: Registry) -> dict[str, object]:
    """Return what the server at a URL needs beside it."""
    result: dict[str, object] = {"url": url}
    if registry.ca and url.startswith("https:"):
        result["ca"] = "".join(registry.ca)
    if registry.login is not None:
        result["username"] = registry.login.username
        result["password"] = registry.login.password
    return result
