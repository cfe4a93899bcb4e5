"""A kubeconfig that works from this host and can stand beside others.

kubeadm calls every cluster ``kubernetes`` and every user ``kubernetes-admin``, so two of its files
cannot be merged; ours are named after the cluster.
"""

from __future__ import annotations

from typing import Any

import yaml

from ohmykube.errors import ClusterError
from ohmykube.kit import yaml_errors
from ohmykube.model.networks import host_port


def context_name(cluster: str) -> str:
    """Return the name of the context (and of cluster and user entry)."""
    return f"ohmykube-{cluster}"


def rename(text: str, cluster: str, host: str, port: int) -> str:
    """Return kubeadm's ``admin.conf`` with our names and the server as seen from this host.

    Raises:
        ClusterError: ``text`` is not a kubeconfig with one cluster and one user.
    """
    try:
        source = yaml.safe_load(text)
        endpoint: dict[str, Any] = dict(source["clusters"][0]["cluster"])
        user: dict[str, Any] = dict(source["users"][0]["user"])
    except (yaml.YAMLError, KeyError, IndexError, TypeError, ValueError) as error:
        broken = isinstance(error, yaml.YAMLError)
        raise ClusterError(
            "the control plane's admin.conf is not a kubeconfig",
            why=yaml_errors.one_line(error, text) if broken else f"{type(error).__name__}: {error}",
            hint="ohmykube up",
            id="OMK-K-101",
        ) from error
    name = context_name(cluster)
    endpoint["server"] = f"https://{host_port(host, port)}"
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": name, "cluster": endpoint}],
            "users": [{"name": name, "user": user}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
            "current-context": name,
        },
        sort_keys=False,
    )
