"""The published schema of results: every document fits, and the file here is current."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from ohmykube.cli.config import output_schema

PUBLISHED = Path(__file__).parents[2] / "data" / "cli" / "output.schema.json"
RESULTS = {
    ("up",): "UpResult",
    ("plan",): "Plan",
    ("up", "--plan"): "Plan",
    ("down", "--yes"): "DownResult",
    ("status",): "ClusterStatus",
    ("list",): "ClusterList",
    ("start",): "PowerResult",
    ("stop",): "PowerResult",
    ("doctor",): "DoctorReport",
    ("version",): "Version",
    ("kubeconfig", "--path"): "Kubeconfig",
    ("bundle", "create", "-f", "FILE"): "BundleWritten",
    ("bundle", "verify", "dev.omk.tar"): "BundleReport",
    ("cache", "import", "dev.omk.tar"): "CacheImport",
    ("image", "load", "app:dev"): "ImageDelivery",
    ("image", "list"): "ImageList",
    ("cache", "serve"): "CacheServed",
    ("cache", "ls"): "CachedArtifacts",
    ("cache", "stats"): "CacheStatistics",
    ("cache", "verify"): "CacheVerified",
    ("cache", "verify", "--signatures"): "CacheSignatures",
    ("cache", "fsck"): "CacheChecked",
    ("cache", "fsck", "--rebuild"): "CacheChecked",
    ("cache", "prune", "--yes"): "CachePruned",
    ("cache", "rm", "thing", "--yes"): "CacheRemoved",
    ("expose", "list"): "ExposedServices",
    ("expose", "web"): "ExposedServices",
    ("conformance",): "ConformanceRun",
    ("addon", "list"): "AddonList",
    ("addon", "info", "flannel"): "AddonInfo",
    ("template", "list"): "TemplateList",
    ("template", "build"): "TemplatesBuilt",
    ("template", "prune", "--dry-run"): "TemplatesRemoved",
    ("status", "nope"): "Error",
    ("config", "validate", "-f", "FILE"): "ConfigCheck",
}


STREAMED = {"CacheEvent"}
"""Lines that come before a result; their commands have tests of their own."""
OF_RECORDS = {"AddonsChanged", "AddonValues"}
"""Results of commands that want the record of a cluster; their own tests compare them."""


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    """The schema, itself checked."""
    schema = output_schema.schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("words", RESULTS, ids=" ".join)
@pytest.mark.parametrize("form", ["json", "yaml"])
def test_results_fit(cli, validator, tmp_path, words, form) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text("apiVersion: ohmykube.dev/v1\nkind: Cluster\nmetadata: {name: x}\n")
    outcome = cli(*(str(path) if w == "FILE" else w for w in words), "-o", form)
    found = yaml.safe_load(outcome.out) if form == "yaml" else json.loads(outcome.out)
    assert found["kind"] == RESULTS[words]
    validator.validate(found)


def test_every_kind_is_produced_by_some_command() -> None:
    assert set(RESULTS.values()) | STREAMED | OF_RECORDS == set(output_schema.KINDS)


def test_wrong_documents_do_not_fit(cli, validator) -> None:
    good = cli("status", "-o", "json").document
    for change in ({"health": "fine"}, {"nodes": [{}]}, {"kind": "ClusterList"}, {"name": 1}):
        with pytest.raises(jsonschema.ValidationError):
            validator.validate(good | change)


def test_json_mode_carries_the_same_document(cli, validator) -> None:
    events = cli("list", "--progress", "json", "-o", "json").events
    validator.validate(events[-1]["result"])


def test_the_published_schema_only_grows() -> None:
    """A field that was published stays; regenerate the file only to add to it."""
    published = json.loads(PUBLISHED.read_text())
    assert published == output_schema.schema(), "run: ohmykube config schema output"
