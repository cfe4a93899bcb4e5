"""Every field says what a change of it means for a cluster that exists."""

from __future__ import annotations

import pytest

from ohmykube.config import json_schema, reference, schema_paths
from ohmykube.config.mutability import KEYWORD, Mutability

FIELDS = schema_paths.fields()


@pytest.mark.parametrize("path", FIELDS, ids=".".join)
def test_every_field_says_how_it_changes(path: tuple[str, ...]) -> None:
    assert isinstance(FIELDS[path], Mutability), f"annotate {'.'.join(path)} in config/v1.py"


def test_the_walk_goes_through_sections_and_lists() -> None:
    known = {".".join(path) for path in FIELDS}
    assert {
        "apiVersion",
        "metadata.name",
        "spec.kubeadm.kubeletConfiguration",
        "spec.network.flannel.backend",
        "spec.nodes.controlPlane.taints",
        "spec.nodes.workers.hosts.nodeIP",
    } <= known
    assert not {"spec", "spec.network", "spec.nodes.workers", "spec.nodes.workers.hosts"} & known


def test_the_walk_has_every_field_of_the_published_schema() -> None:
    """So that no form of annotation hides a field from it."""
    schema = json_schema.schema()
    published = {
        name: field
        for model in (schema, *schema["$defs"].values())
        for name, field in model["properties"].items()
    }
    walked = {name for path in FIELDS for name in path}
    assert set(published) == walked
    values = {path[-1] for path in FIELDS}
    assert {name for name, field in published.items() if KEYWORD in field} == values


def test_the_reference_explains_every_kind() -> None:
    page = reference.page()
    for one in Mutability:
        assert f"* **{one.value}**: " in page
        assert f" | {one.value} | " in page
