"""Look before anything is made whether the proxy of a cluster answers, and takes its login."""

from __future__ import annotations

import http.client
import ssl
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ohmykube.cache import proxies
from ohmykube.errors import NetworkError
from ohmykube.kit import shell
from ohmykube.model.cluster import Egress
from ohmykube.progress import Message

if TYPE_CHECKING:
    from ohmykube.kit.secret import Secret
    from ohmykube.steps.context import Context

SECONDS = 10.0
TARGET = "registry.k8s.io:443"
"""What the proxy is asked to lead to; nothing is sent there."""
_WANTS_LOGIN = 407


def check_proxy(ctx: Context) -> None:
    """Return if it does; of a cluster that exists, that it does not is told and no more.

    Only for machines that are made here: other hosts may have another way to it.

    Raises:
        NetworkError: names the proxy, never with its password.
    """
    proxy = ctx.cluster.proxy
    if proxy is None or proxy.here is None or not ctx.provider.capabilities.creates:
        return
    if ctx.options.offline or ctx.cluster.network.egress is Egress.NONE:
        return
    for url in dict.fromkeys(one for one in (proxy.here.http, proxy.here.https) if one):
        try:
            _ask(url, ctx.cluster.trust)
        except NetworkError as error:
            if ctx.record is None:
                raise
            text = f"{error.message}: {error.why}"
            ctx.services.reporter.emit(Message(text=text, level="warning"))


def _ask(url: Secret, trust: tuple[str, ...]) -> None:
    parts = urlsplit(url.reveal())
    shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    basic = proxies.basic_of(parts)
    headers = {"Proxy-Authorization": basic} if basic else {}
    try:
        connection = _connection(parts.scheme, parts.hostname or "", parts.port, trust)
        try:
            connection.request("CONNECT", TARGET, headers=headers)
            status = connection.getresponse().status
        finally:
            connection.close()
    except (OSError, http.client.HTTPException) as error:
        raise NetworkError(
            f"the proxy {shown} does not answer",
            why=getattr(error, "strerror", None) or str(error) or type(error).__name__,
            hint=f"curl -sSvo /dev/null --proxy {shell.word(shown)} https://{TARGET}",
            id="OMK-I-645",
        ) from error
    if status == _WANTS_LOGIN:
        which = "another name or password" if basic else "a name and a password"
        raise NetworkError(
            f"the proxy {shown} wants {which}",
            why="it answers 407 (Proxy Authentication Required)",
            hint="spec.proxy.auth: {username: NAME, passwordEnv: VARIABLE}",
            id="OMK-I-646",
        )


def _connection(
    scheme: str, host: str, port: int | None, trust: tuple[str, ...]
) -> http.client.HTTPConnection:
    if scheme == "http":
        return http.client.HTTPConnection(host, port, timeout=SECONDS)
    context = ssl.create_default_context()
    if trust:
        context.load_verify_locations(cadata="\n".join(trust))
    return http.client.HTTPSConnection(host, port, timeout=SECONDS, context=context)
