"""The names of Docker Hub, which references, its API and stored logins each call differently."""

from __future__ import annotations

REGISTRY = "docker.io"
"""In full image references."""
LEGACY = "index.docker.io"
"""In old references; docker and containerd read it as ``REGISTRY``."""
HOST = "registry-1.docker.io"
"""Where the registry's API is."""
LOGIN = f"https://{LEGACY}/v1/"
"""Under this name docker stores the login."""
_REGISTRY_OF = {LEGACY: REGISTRY, HOST: REGISTRY}


def registry_of(name: str) -> str:
    """Return the registry's name in references, by any of its names; others stay as they are."""
    return _REGISTRY_OF.get(name, name)


def host_of(registry: str) -> str:
    """Return the host with the API of a registry of image references."""
    return HOST if registry == REGISTRY else registry
