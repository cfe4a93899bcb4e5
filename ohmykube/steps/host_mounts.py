"""Look whether nodes can see what of this host they are to see, before anything is made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.errors import ConfigError

if TYPE_CHECKING:
    from ohmykube.steps.context import Context


def check_host_mounts(ctx: Context) -> None:
    """Compare ``spec.mounts`` with the provider and with where this program keeps its own.

    Raises:
        ConfigError: they do not go together.
    """
    mounts = [mount for node in ctx.cluster.nodes for mount in node.mounts]
    if not mounts:
        return
    provider = ctx.provider
    if not provider.capabilities.mounts:
        raise ConfigError(
            f"spec.mounts cannot be brought about with provider {provider.name}",
            why=f"machines of {provider.name} see no directories of this host",
            hint="leave the field out, and copy files to the nodes with `ohmykube cp`",
            id="OMK-C-550",
        )
    data = ctx.services.paths.data
    for mount in mounts:
        if data.resolve().is_relative_to(mount.host.resolve()):
            raise ConfigError(
                f"{mount.host} cannot be mounted on nodes",
                why=f"it has {data} in it, where the files of the nodes themselves are",
                hint="mount a directory inside of it in spec.mounts",
                id="OMK-C-551",
            )
