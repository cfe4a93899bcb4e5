"""Say which networks of this host a new cluster would not reach."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.planning import addresses
from ohmykube.progress import Message
from ohmykube.providers.base import Forgets

if TYPE_CHECKING:
    from ohmykube.steps.context import Context


def compare_with_routes(ctx: Context) -> None:
    """Compare the networks of a cluster that is yet to be made with the routes of this host.

    Hosts that exist on their own have routes of their own, which the ones of this host say nothing
    about.
    """
    if ctx.record is not None or isinstance(ctx.provider, Forgets):
        return
    routes = [(route.network, route.interface) for route in ctx.services.routes()]
    for text in addresses.hidden(ctx.cluster, ctx.provider.name, routes):
        ctx.services.reporter.emit(Message(text=text, level="warning"))
