"""``ohmykube cache serve``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ohmykube.cli import _options
from ohmykube.cli._lazy import Command
from ohmykube.cli.cache import serve_results
from ohmykube.errors import PermissionDenied, UsageError
from ohmykube.kit import files, shell
from ohmykube.kit.secret import Secret

if TYPE_CHECKING:
    from ohmykube.cli._app import App
    from ohmykube.progress import Message

DEFAULT_LISTEN = "127.0.0.1:5055"
LONGEST_TOKEN = 8192
"""Bytes; a header line that is longer is refused by the servers and clients of HTTP."""


@click.command(
    cls=Command,
    examples=(
        "ohmykube cache serve --cluster dev           # pods of dev pull through the cache",
        "ohmykube cache serve --mirror harbor.example",
        "ohmykube cache serve --offline               # only what is in the cache",
        "ohmykube cache serve --listen 0.0.0.0:5055 --token-file token",
    ),
)
@click.option(
    "--listen",
    default=DEFAULT_LISTEN,
    show_default=True,
    metavar="ADDRESS:PORT",
    help="Where to listen.",
)
@click.option(
    "--mirror",
    "registries",
    multiple=True,
    metavar="REGISTRY[=URL]",
    help="Also answer for this registry, optionally from URL.",
)
@click.option(
    "--cluster",
    "clusters",
    multiple=True,
    metavar="NAME",
    shell_complete=_options.complete_clusters,
    help="Keep tunnels to the nodes of this cluster, so that they pull from here.",
)
@click.option("--offline", is_flag=True, help="Do not contact any registry.")
@click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    help="Require clients to send the token in this file.",
)
@click.option("--open-to-all", is_flag=True, help="Accept clients on other hosts without a token.")
@_options.output
@_options.talk
@_options.pass_app
def serve(
    app: App,
    *,
    listen: str,
    registries: tuple[str, ...],
    clusters: tuple[str, ...],
    offline: bool,
    token_file: Path | None,
    open_to_all: bool,
) -> None:
    """Serve images and files from the cache until Ctrl-C, and fetch what is missing.

    It is a pull-through cache of docker.io, registry.k8s.io, quay.io and ghcr.io. What a client
    asks for comes from the cache, or is fetched once and kept there, with the credentials of
    `docker login`. With --cluster, the pods of a cluster pull through it without further
    configuration.
    """
    from ohmykube.workflows import serve as workflow

    host, port = _address(listen)
    form = app.settings.output

    def follow(message: Message) -> None:
        content = serve_results.event(message)
        app.write(serve_results.line(content, form, unicode=app.results.unicode))

    options = workflow.ServeOptions(
        host=host,
        port=port,
        registries=registries,
        clusters=clusters,
        offline=offline,
        token=_token(token_file),
        open_to_all=open_to_all,
        status_line=app.terminal.animate and app.settings.progress in ("auto", "live"),
    )
    app.acting()
    result = app.call(workflow.serve, options, None if form == "table" else follow)
    content = serve_results.served(result)
    if form == "table":
        app.show(content, serve_results.served_text(result))
    else:
        app.close_screen()
        app.write(serve_results.line(content, form, unicode=app.results.unicode))


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise UsageError(
            f'"{text}" is no address to listen at',
            why="it is ADDRESS:PORT",
            hint=f"ohmykube cache serve --listen {DEFAULT_LISTEN}",
            id="OMK-I-610",
        )
    return ("127.0.0.1" if host == "localhost" else host), int(port)


def _token(path: Path | None) -> Secret | None:
    if path is None:
        return None
    try:
        text = files.read_at_most(path, LONGEST_TOKEN).decode().strip()
    except (OSError, ValueError) as error:
        raise PermissionDenied(
            f"the token in {path} cannot be read",
            why=str(error),
            hint=f"ls -l {shell.word(path)}",
            id="OMK-I-609",
        ) from error
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise UsageError(
            f"{path} holds no token",
            why="a token is one line of printable characters without blanks",
            hint=f"openssl rand -hex 24 > {shell.word(path)}",
            id="OMK-I-608",
        )
    return Secret(text)
