"""``ohmykube expose SERVICE``."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

import click

from ohmykube.cli import _names, _options
from ohmykube.cli._lazy import Command
from ohmykube.cli.expose import results, texts
from ohmykube.errors import UsageError
from ohmykube.ui.console import shorten

if TYPE_CHECKING:
    from ohmykube.cli._app import App


@click.command(
    cls=Command,
    examples=(
        "ohmykube expose web",
        "ohmykube expose db -n shop --port 15432:5432",
        "ohmykube expose web --port http --address 0.0.0.0",
        "ohmykube expose web --remove",
    ),
)
@click.argument("service")
@click.option(
    "-n", "--namespace", metavar="NAMESPACE", default="default", help="Where the service is."
)
@click.option(
    "--port",
    metavar="[HOST:]PORT",
    default="",
    help="The service's port, by number or name, and one of this host for it.",
)
@click.option(
    "--address",
    metavar="ADDRESS",
    default="127.0.0.1",
    help="One of this host's; 0.0.0.0 opens the port to everybody (default: 127.0.0.1).",
)
@click.option("--remove", is_flag=True, help="Expose it no more.")
@_options.cluster_by_name
@_options.output
@_options.talk
@_options.pass_app
def service(
    app: App,
    *,
    service: str,
    namespace: str,
    port: str,
    address: str,
    remove: bool,
    name_option: str | None,
) -> None:
    """Lead a port of this host to a service of a cluster, whatever its type.

    The port is the service's own where that is free on this host, and stays the same until it is
    removed.
    """
    from ohmykube.workflows import expose

    host_port, own = _split(port)
    options = expose.ExposeOptions(
        service=service,
        namespace=namespace,
        port=own,
        host_port=host_port,
        address=_address(address),
        remove=remove,
    )
    name = _names.choose(app, None, name_option)
    app.acting()
    result = app.call(expose.expose, name, options)
    app.show(results.exposed(result), texts.asked(result, options))


def _split(text: str) -> tuple[int, str]:
    """Return the port of this host (0 for none that is named) and that of the service."""
    host, colon, own = text.rpartition(":")
    if not colon:
        return 0, text
    if not (host.isdecimal() and host.isascii() and 1 <= int(host) <= 65535 and own):
        raise UsageError(
            f"--port {shorten(ascii(text), 40)} is not PORT or HOST:PORT",
            why="HOST is a port of this host, from 1 to 65535",
            hint="ohmykube expose SERVICE --port 8080:80",
            id="OMK-U-521",
        )
    return int(host), own


def _address(text: str) -> str:
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError as error:
        raise UsageError(
            f"--address {shorten(ascii(text), 40)} is no IPv4 address",
            hint="ip address  (those of this host)",
            id="OMK-U-522",
        ) from error
