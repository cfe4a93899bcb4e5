"""What the difference of add-ons means, for a cluster that exists."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.config import document
from ohmykube.model.change import InstallAddon, Refuse, RemoveAddon, UpgradeAddon
from ohmykube.planning import differences

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ohmykube.model.change import Change
    from ohmykube.model.cluster import Cluster, WantedAddon

_FIELD = ("spec", "addons")


def compare(
    desired: Cluster, recorded: Cluster | None, owned: Mapping[str, Sequence[str]]
) -> Iterator[Change | Refuse]:
    """Return what becomes of every add-on that is described, or was.

    The pod network is part of making the cluster; listed, it is only given a version and values.

    Args:
        desired: the description.
        recorded: what the cluster was brought to before.
        owned: what is lost with an add-on, by its name.
    """
    before = {addon.name: addon for addon in (recorded.addons if recorded else ())}
    after = {addon.name: addon for addon in desired.addons}
    network = desired.network.cni
    for name, addon in after.items():
        if name in before:
            yield from _changed(before[name], addon)
        elif name != network:
            yield InstallAddon(addon=name, version=addon.version)
    for name, addon in before.items():
        if name not in after and name != network:
            lost = tuple(owned.get(name, ()))
            yield RemoveAddon(addon=name, version=addon.version, owns=lost)


def _changed(before: WantedAddon, after: WantedAddon) -> Iterator[Change | Refuse]:
    old, new = document.addon_document(before), document.addon_document(after)
    for found in differences.of_mappings(_FIELD, old, new):
        if found.inside[0] == "namespace":
            yield Refuse(
                field=found.field,
                old=found.old,
                new=found.new,
                why=f"the objects of {after.name} stay in their namespace",
                way_out="take it out of the file, run `up`, and put it back",
            )
        else:
            yield UpgradeAddon(addon=after.name, field=found.field, old=found.old, new=found.new)
