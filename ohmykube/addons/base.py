"""The contract of an add-on; entry-point group ``ohmykube.addons``.

Enforced for every add-on by ``ohmykube.testing.addon_conformance``.
"""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ohmykube.cache.catalog import ArtifactSet
    from ohmykube.model.addon import AddonFacts
    from ohmykube.model.cluster import Cluster, WantedAddon


class Addon(abc.ABC):
    """Something that is installed into a cluster by a role, with artifacts from the cache.

    Subclasses say what they are in ``facts``. The constructor takes nothing and MUST NOT touch
    anything; no method may open a connection or write a file.
    """

    facts: AddonFacts

    @abc.abstractmethod
    def set(self, version: str) -> ArtifactSet:
        """Return the artifacts of one of ``facts.versions``.

        Its condition MUST be ``addon: NAME``, or ``cni: NAME`` for a pod network. What every node
        pulls MUST be among its images, so that it works offline.
        """

    def variables(self, cluster: Cluster, wanted: WantedAddon) -> Mapping[str, object]:
        """Return the variables of the role beside those that the set gives; JSON types only.

        Names MUST begin as the role's own do. ``wanted.values`` have been checked.
        """
        return {}
