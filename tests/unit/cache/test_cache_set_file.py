"""Sets of artifacts as files: what they say, what they may name, and the keys that follow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from ohmykube.addons import selection
from ohmykube.cache import catalog, releases, set_file
from ohmykube.cache.catalog import EVERYWHERE, Form
from ohmykube.model.artifact import Kind
from ohmykube.model.cluster import Cluster, Network, WantedAddon

KEYS = Path(__file__).parents[2] / "data" / "cache" / "keys.json"
SUM = "h1:uU0nuZNNPgilLlLX2n2r+sSE7+N6U4DukIj3rOLvzek="
TEXT = """
name: tool
version: 2.1.0
condition: "addon: tool"
end_of_life: 2027-01-31
requires: {oldest_kubernetes: "1.31", kernel: [vxlan], memory_mib: 512, disks: 1}
recipes:
  shared:
    module: example.com/tool
    sum: "%(sum)s"
    packages: {tool: "{module}/cmd/tool"}
    seconds: 9
components:
  tool:
    package: tool
    installs: {/usr/local/bin: [tool, toolctl], /opt/bin: [helper]}
    download:
      url: https://example.com/v{version}/{name}-{arch}.tgz
      members: bin/{binary}
      signed: {form: pgp, keyring: tool, files: {signature: "{url}.asc"}}
      sha256: {amd64: aa, arm64: bb}
    recipe:
      module: example.com/tool
      sum: "%(sum)s"
      packages: "{module}/cmd/{binary}"
      libraries: [z]
images:
  server: {ref: "example.com/{name}:v{version}", binary: tool, entrypoint: /tool, recipe: shared}
files:
  chart.tgz:
    kind: chart
    download: {url: "https://example.com/{version}.tgz", sha256: {noarch: cc}}
  crds.yaml:
    module:
      module: example.com/tool
      version: v{version}
      sum: "%(sum)s"
      path: crds.yaml
      digest: sha256:dd
variables: {tool_mode: "mode-{version}"}
image_variables: {tool_image: server}
""" % {"sum": SUM}  # noqa: UP031 - the text has braces of its own
DOCUMENT: dict[str, Any] = yaml.safe_load(TEXT)
IMAGE = {"ref": "x:1", "binary": "a", "entrypoint": "/a"}
RECIPE = {"module": "example.com/a", "sum": SUM, "packages": {"a": "{module}"}}
CLUSTER = Cluster(name="dev", kubernetes_version="1.36.3", provider="fake", nodes=())


def test_a_file_says_what_nodes_get() -> None:
    found = set_file.parse(DOCUMENT)
    (tool,) = found.components
    assert (tool.name, tool.version, tool.role) == ("tool", "2.1.0", "tool")
    assert tool.installs == {
        "tool": "/usr/local/bin/tool",
        "toolctl": "/usr/local/bin/toolctl",
        "helper": "/opt/bin/helper",
    }
    arm = tool.downloads["arm64"]
    assert (arm.url, arm.digest) == ("https://example.com/v2.1.0/tool-arm64.tgz", "sha256:bb")
    assert arm.members == {"bin/tool": "tool", "bin/toolctl": "toolctl", "bin/helper": "helper"}
    assert arm.signed is not None
    assert (arm.signed.form, arm.signed.files) == (Form.PGP, {"signature": f"{arm.url}.asc"})
    assert tool.recipe is not None
    assert (tool.recipe.version, tool.recipe.libraries) == ("v2.1.0", ("z",))
    assert tool.recipe.packages["helper"] == "example.com/tool/cmd/helper"
    (image,) = found.images
    assert (image.ref, image.node_roles) == ("example.com/server:v2.1.0", EVERYWHERE)
    assert image.recipe is not None
    assert image.recipe.seconds == 9


def test_an_image_may_hold_more_than_one_program() -> None:
    other = {
        "module": "example.com/b",
        "version": "v0.1.0",
        "sum": SUM,
        "packages": {"b": "{module}"},
    }
    more = {
        "more_recipes": [other],
        "programs": {"b": "/usr/bin/b"},
        "arguments": ["--of={version}"],
        "environment": {"A": "{name}"},
        "links": {"/c": "b"},
        "files": {"module": "example.com/a", "version": "v{version}", "sum": SUM,
                  "places": {"/d": "data"}, "programs": ["/d"], "without": ["x"]},
    }  # fmt: skip
    entry = {**IMAGE, "version": "3", "recipe": RECIPE, **more}
    (image,) = set_file.parse({**DOCUMENT, "images": {"one": entry}}).images
    assert [(r.name, r.binaries) for r in image.recipes] == [
        ("example.com/a@v3", ("a",)),
        ("example.com/b@v0.1.0", ("b",)),
    ]
    assert (image.arguments, image.environment) == (("--of=3",), {"A": "one"})
    assert (image.programs, image.links) == ({"b": "/usr/bin/b"}, {"/c": "b"})
    assert image.files is not None
    assert image.files.name == "example.com/a@v3"
    assert (image.files.programs, image.files.without) == (("/d",), ("x",))
    unknown = {**entry, "more_recipes": [{**other, "sum": ""}]}
    (image,) = set_file.parse({**DOCUMENT, "images": {"one": unknown}}).images
    assert image.recipes == ()


def test_a_file_says_when_it_is_wanted_and_what_it_needs() -> None:
    found = set_file.parse(DOCUMENT)
    assert found.requires.kernel == ("vxlan",)
    assert (found.requires.memory_mib, found.requires.disks) == (512, 1)
    assert found.end_of_life == "2027-01-31"
    assert found.variables == {"tool_mode": "mode-2.1.0"}
    chart, crds = found.files
    assert (chart.kind, chart.architectures) == (Kind.CHART, (catalog.ANY,))
    assert chart.downloads[catalog.ANY].digest == "sha256:cc"
    assert (crds.kind, crds.architectures) == (Kind.FILE, (catalog.ANY,))
    assert crds.module is not None
    assert crds.module.version == "v2.1.0"


@pytest.mark.parametrize(
    ("condition", "wanted"),
    [("", True), ("cni: flannel", True), ("cni: other", False), ("addon: tool", True),
     ("addon: other", False)],
)  # fmt: skip
def test_who_wants_a_set(condition: str, wanted: bool) -> None:
    cluster = Cluster(
        name="dev",
        kubernetes_version="1.36.3",
        provider="fake",
        nodes=(),
        network=Network(cni="flannel"),
        addons=(WantedAddon(name="tool", version="1"),),
    )
    one = catalog.ArtifactSet(name="tool", version="1", condition=condition)
    assert one.applies_to(cluster) is wanted


def test_a_condition_of_another_form_is_a_mistake_of_its_maker() -> None:
    one = catalog.ArtifactSet(name="tool", version="1", condition="moon: full")
    with pytest.raises(ValueError, match="moon: full"):
        one.applies_to(CLUSTER)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"wishes": {}}, TypeError),
        ({"images": {"a": {**IMAGE, "ref": "x:{nowhere}"}}}, KeyError),
        ({"images": {"a": {**IMAGE, "base": "b"}}}, KeyError),
        ({"images": {"a": {**IMAGE, "recipe": {**RECIPE, "packages": {"b": "x"}}}}}, ValueError),
        ({"images": {"a": {**IMAGE, "recipe": RECIPE, "programs": {"b": "/b"}}}}, ValueError),
        ({"files": {"a": {"kind": "poem", "download": {"url": "u", "sha256": {}}}}}, ValueError),
    ],
)
def test_what_is_not_written_so_is_refused(change: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        set_file.parse({**DOCUMENT, **change})


def test_a_module_without_a_sum_cannot_be_built() -> None:
    recipe = {"module": "example.com/tool", "sum": "", "packages": {}}
    image = {**IMAGE, "recipe": recipe}
    assert set_file.parse({**DOCUMENT, "images": {"a": image}}).images[0].recipe is None


def keys() -> dict[str, str]:
    """Return the keys by which packages and images of each release are found in caches."""
    found = {}
    for version in releases.buildable():
        release = releases.release(version).with_sets(selection.known_sets())
        for built in (True, False):
            how = "built" if built else "fetched"
            for name in dict.fromkeys(c.role for c in release.components):
                parts = release.of_package(name)
                found[f"{version} {name} {how}"] = catalog.key(*parts, built=built)
            for image in release.images:
                found[f"{version} {image.ref} {how}"] = catalog.key(image, built=built)
    return found


def test_what_users_have_in_their_caches_is_still_taken() -> None:
    """Another key costs each of them a build or a download: it changes with a version, not so.

    Written anew by: python -m tests.unit.cache.test_cache_set_file
    """
    assert keys() == json.loads(KEYS.read_text())


if __name__ == "__main__":
    KEYS.write_text(json.dumps(keys(), indent=1, sort_keys=True) + "\n")
