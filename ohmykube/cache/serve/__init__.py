"""Read-only HTTP servers over the store.

    GET|HEAD /v2/                             registry API version check
    GET|HEAD /v2/<name>/manifests/<tag|digest>    ?ns=<registry> as containerd sends to a mirror
    GET|HEAD /v2/<name>/blobs/<digest>        single ranges
    GET|HEAD /pkg/sha256/<hex>                single ranges; ?enc=identity gives the plain tar
    GET|HEAD /<host>/<path>                   release files by the URL they are published at

``Server`` has one cluster's artifacts, reached by its nodes through ssh: it listens on the
loopback, wants the bearer token on every request and knows no digest beyond those of the artifact
lock. ``pull_through_cache`` serves whole registries, fetches what is missing, outlives clusters.
A blob is checked before it is served (``Store.trusted``).
"""

from ohmykube.cache.serve.assemble import pull_through_cache
from ohmykube.cache.serve.cluster_artifacts import ClusterArtifacts, Server
from ohmykube.cache.serve.listener import IDLE_SECONDS, NODE_HEADER, Listener
from ohmykube.cache.serve.pull_through import PullThrough
from ohmykube.cache.serve.registry_names import REGISTRIES, Upstream, upstreams
from ohmykube.cache.serve.stats import ServeStats

__all__ = [
    "IDLE_SECONDS",
    "NODE_HEADER",
    "REGISTRIES",
    "ClusterArtifacts",
    "Listener",
    "PullThrough",
    "ServeStats",
    "Server",
    "Upstream",
    "pull_through_cache",
    "upstreams",
]
