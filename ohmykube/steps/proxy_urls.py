"""Find out by which proxy this host and the nodes of a cluster go: ``spec.proxy`` made whole."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, quote, unquote, urlsplit

from ohmykube.errors import ConfigError
from ohmykube.kit.loopback import is_loopback
from ohmykube.kit.secret import Secret
from ohmykube.model.networks import host_port
from ohmykube.model.outside import HOST_NAME
from ohmykube.model.proxy import ProxyUrls, url_of
from ohmykube.steps.registry_logins import Missing, of_variables

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ohmykube.model.cluster import Cluster
    from ohmykube.model.proxy import Proxy

_PORTS = {"http": 80, "https": 443}


def with_proxy(cluster: Cluster, environ: Mapping[str, str] | None = None) -> Cluster:
    """Return a cluster whose proxy has the addresses that this host and the nodes are to use.

    They are looked for each time, so another password is noticed without a change of the
    description.

    Args:
        cluster: as it is wanted.
        environ: the variables; by default those of this process.

    Raises:
        ConfigError: there is none, or not the login, or nodes do not reach it.
    """
    if cluster.proxy is None:
        return cluster
    environ = os.environ if environ is None else environ
    described = cluster.proxy
    here = _of_host(environ, cluster.name) if described.of_host else _of_file(described, environ)
    ports = cluster.network.host_access
    nodes = replace(here, http=_from_nodes(here.http, ports), https=_from_nodes(here.https, ports))
    return replace(cluster, proxy=replace(described, here=here, nodes=nodes))


def _of_host(environ: Mapping[str, str], cluster: str) -> ProxyUrls:
    def value(name: str) -> str:
        return environ.get(name) or environ.get(name.upper()) or ""

    found = {
        scheme: _checked(name, text)
        for scheme in _PORTS
        if (text := value(name := f"{scheme}_proxy") or value(name := "all_proxy"))
    }
    if not found:
        raise ConfigError(
            "spec.proxy is that of this host, which has none",
            why="neither HTTPS_PROXY nor HTTP_PROXY is set; sudo drops them without -E",
            hint=f"HTTPS_PROXY=http://proxy.example.com:3128 ohmykube plan {cluster}",
            id="OMK-C-641",
        )
    exceptions = tuple(one.strip() for one in value("no_proxy").split(",") if one.strip())
    return ProxyUrls(http=found.get("http"), https=found.get("https"), no_proxy=exceptions)


def _checked(name: str, text: str) -> Secret:
    """Return the URL that a variable holds; what it is does not get into an error."""
    parts = url_of(text if "://" in text else f"http://{text}")
    if parts is None:
        raise ConfigError(
            f"the variable {name} of this host has no URL of a proxy",
            why="it must be http(s)://[NAME:PASSWORD@]HOST:PORT, with special characters of NAME "
            "and PASSWORD percent-encoded: %40 for @, %23 for #, %2F for /",
            hint="python3 -c 'import getpass, urllib.parse as u; "
            'print(u.quote(getpass.getpass(), safe=""))\'',
            id="OMK-C-643",
        )
    # A password may have been given as it is: what has no meaning in a URL is taken for itself.
    return Secret(_url(parts, unquote(parts.username or ""), unquote(parts.password or "")))


def _of_file(described: Proxy, environ: Mapping[str, str]) -> ProxyUrls:
    username = password = ""
    if described.auth is not None:
        try:
            login = of_variables(described.auth, environ)
        except Missing as missing:
            raise ConfigError(
                "the login of spec.proxy is not to be found",
                why=str(missing),
                hint="set the variable, then: ohmykube plan",
                id="OMK-C-644",
            ) from missing
        username, password = login.username, login.password.reveal()
    urls = [
        Secret(_url(urlsplit(text), username, password)) if text else None
        for text in (described.http, described.https)
    ]
    return ProxyUrls(http=urls[0], https=urls[1], no_proxy=described.no_proxy)


def _url(parts: SplitResult, username: str, password: str) -> str:
    host = parts.netloc.rpartition("@")[2]
    login = f"{quote(username, safe='')}:{quote(password, safe='')}@" if username else ""
    return f"{parts.scheme}://{login}{host}"


def _from_nodes(url: Secret | None, ports: tuple[int, ...]) -> Secret | None:
    """Return a proxy as nodes reach it: this host's own loopback has a name there."""
    if url is None:
        return None
    parts = urlsplit(url.reveal())
    if not is_loopback(parts):
        return url
    port = parts.port or _PORTS[parts.scheme]
    if port not in ports:
        place = host_port(parts.hostname or "", port)
        raise ConfigError(
            f"nodes do not reach the proxy at {place}, which is each node itself there",
            why=f"they reach this host as {HOST_NAME}, and there the ports that are open to them",
            hint=f"spec.network.hostAccess: [{port}]  (nspawn), or name another address of it",
            id="OMK-C-642",
        )
    login = parts.netloc.rpartition("@")[0]
    return Secret(f"{parts.scheme}://{login}{'@' if login else ''}{HOST_NAME}:{port}")
