"""The proxy of a cluster as variables of roles and of the playbook ``cluster_up``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from ohmykube.kit.secret import Secret
from ohmykube.model.networks import host_of
from ohmykube.model.outside import HOST_NAME, own_networks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ohmykube.model.cluster import Network
    from ohmykube.model.proxy import Proxy

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*")


def proxy_vars(
    proxy: Proxy | None, network: Network, planes: Mapping[str, str], *, had: bool = False
) -> dict[str, object]:
    """Return what containerd, apt and pods are told; nothing where there is no proxy.

    Args:
        proxy: as nodes reach it.
        network: of the cluster, none of which is behind a proxy.
        planes: addresses of the control planes by name. Of workers nobody need be told: one more
            would be a change for all of them.
        had: the cluster had one before, which pods are told no more.
    """
    if proxy is None:
        return {"cluster_proxy_environment": {}} if had else {}
    if proxy.nodes is None:
        return {}  # nobody has looked where it is: nothing is configured in such a run
    urls = {"HTTP_PROXY": proxy.nodes.http, "HTTPS_PROXY": proxy.nodes.https}
    exceptions = list(dict.fromkeys([*proxy.nodes.no_proxy, *_own(network, planes)]))
    environment: dict[str, object] = {
        name: url if urlsplit(url.reveal()).username else url.reveal()
        for name, url in urls.items()
        if url is not None
    }
    environment["NO_PROXY"] = ",".join(exceptions)
    direct = [one for one in proxy.nodes.no_proxy if _NAME.fullmatch(one)]
    apt = [
        _of_apt(scheme, url, direct)
        for scheme, url in (("http", proxy.nodes.http), ("https", proxy.nodes.https))
        if url is not None
    ]
    # Programs that read one spelling alone are told as well.
    both = {**environment, **{name.lower(): value for name, value in environment.items()}}
    return {
        "containerd_environment": environment,
        "node_apt_proxies": apt,
        "cluster_proxy_environment": both,
    }


def _of_apt(scheme: str, url: Secret, direct: list[str]) -> dict[str, object]:
    parts = urlsplit(url.reveal())
    place = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    result: dict[str, object] = {"scheme": scheme, "url": place, "direct": direct}
    if parts.username:
        result["username"] = unquote(parts.username)
        result["password"] = Secret(unquote(parts.password or ""))
    return result


def _own(network: Network, planes: Mapping[str, str]) -> list[str]:
    endpoint = host_of(network.api_server_endpoint or "")
    return [
        *("localhost", "127.0.0.0/8", "::1", HOST_NAME),
        *own_networks(network),
        *(".svc", f".{network.dns_domain}"),
        *([endpoint] if endpoint else []),
        *(word for name, address in sorted(planes.items()) for word in (name, address)),
    ]
