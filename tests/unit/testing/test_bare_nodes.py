"""The nodes for role development are bare, whatever this machine has templates of."""

from __future__ import annotations

import argparse

from ohmykube.model.cluster import TemplateUse
from ohmykube.testing import nodes


def test_nodes_are_never_cloned_from_templates() -> None:
    asked = {"control_planes": 1, "workers": 2, "kubernetes": None, "suite": "trixie"}
    cluster = nodes.bare(argparse.Namespace(name="roles", **asked))
    assert cluster.template is TemplateUse.NEVER
    assert (cluster.name, cluster.provider, len(cluster.nodes)) == ("roles", "nspawn", 3)
    assert cluster.provider_options == {"suite": "trixie"}
