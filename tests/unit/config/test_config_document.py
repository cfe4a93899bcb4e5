"""Documents, template, schema and reference page agree with the loader."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ohmykube.config import json_schema, load, reference, starter_file
from ohmykube.config.document import to_document
from ohmykube.errors import ConfigError
from ohmykube.model import names
from ohmykube.model.cluster import (
    Cluster,
    Host,
    KubeadmPatches,
    Network,
    Node,
    NodeFile,
    Role,
    Sources,
    Taint,
)
from ohmykube.providers.lima import options as lima_options

DATA = Path(__file__).parents[2] / "data" / "config"
ROOT = Path(__file__).parents[3]
VALIDATOR = jsonschema.Draft202012Validator(json_schema.schema())

_words = st.text("abcdefghij0123456789", min_size=1, max_size=6)
_free = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
_documents = st.dictionaries(st.text("xyz", min_size=1, max_size=5), _free, max_size=3)
_taints = st.builds(
    Taint, key=_words, value=_words | st.just(""),
    effect=st.sampled_from(["NoSchedule", "PreferNoSchedule", "NoExecute"]),
)  # fmt: skip


def _unique_taints(taints: list[Taint]) -> tuple[Taint, ...]:
    return tuple({(t.key, t.effect): t for t in taints}.values())


_sums = st.text("0123456789abcdef", min_size=64, max_size=64)


def _files(paths: list[str]) -> st.SearchStrategy[tuple[NodeFile, ...]]:
    chosen = st.lists(st.sampled_from(paths), max_size=2, unique=True)
    return st.tuples(chosen, _sums).map(
        lambda found: tuple(NodeFile(path=path, sha256=found[1]) for path in found[0])
    )


_kinds = st.fixed_dictionaries(
    {
        "cpus": st.none() | st.floats(0.1, 1024),
        "memory_mib": st.none() | st.integers(256, 1 << 24),
        "disk_gib": st.none() | st.integers(1, 64 << 10),
        "labels": st.dictionaries(_words, _words | st.just(""), max_size=2),
        "taints": st.none() | st.lists(_taints, max_size=2).map(_unique_taints),
        "files": _files(["/etc/a", "/opt/b/c.yaml"]),
    }
)


@st.composite
def clusters(draw: st.DrawFn) -> Cluster:
    """Any cluster that the loader may make."""
    ssh = draw(st.booleans())
    few = draw(st.lists(_kinds, min_size=1, max_size=2))
    labels = st.sampled_from(few)
    named = _words if not ssh else _words | _words.map(lambda word: f"{word}.lab-1.example")
    node_names = draw(st.lists(named, min_size=1, max_size=6, unique=True) | st.just(["cp1"]))
    planes = draw(st.integers(1, len(node_names)))
    nodes = []
    for number, name in enumerate(node_names):
        kind: dict[str, Any] = dict(draw(labels))
        host = None
        if ssh:
            kind.update(cpus=None, memory_mib=None, disk_gib=None)
            host = Host(
                address=f"192.0.2.{number}",
                port=draw(st.none() | st.integers(1, 65535)),
                user=draw(st.none() | _words),
                identity_file=draw(st.none() | st.just(Path("/keys/id"))),
                jump=draw(st.none() | st.just("me@bastion:22")),
                become=draw(st.booleans()),
                containerd_takeover=draw(st.booleans()),
                node_ip=draw(st.none() | st.just(f"198.51.100.{number}")),
            )
        role = Role.CONTROL_PLANE if number < planes else Role.WORKER
        nodes.append(Node(name=name, role=role, host=host, **kind))
    return Cluster(
        name=draw(_words),
        kubernetes_version=draw(st.sampled_from(["1.35.4", "1.36.3", "1.36.0", "1.37.2"])),
        provider="ssh" if ssh else "nspawn",
        nodes=tuple(nodes),
        network=Network(
            cni=draw(st.sampled_from(["flannel", "none"])),
            flannel_backend=draw(st.sampled_from(["vxlan", "host-gw"])),
            proxy_mode=draw(st.sampled_from(["iptables", "nftables"])),
            pod_cidr=draw(st.sampled_from(["10.244.0.0/16", "172.20.0.0/18"])),
            api_server_endpoint=draw(st.none() | st.just("lb.example.com:6443")),
            cert_sans=draw(st.sampled_from([(), ("a.example.com", "192.0.2.9")])),
        ),
        kubeadm=KubeadmPatches(
            init_configuration=draw(_documents),
            kubelet_configuration=draw(_documents),
            patches=draw(_files(["etcd.yaml", "kube-apiserver0+json.json"])),
        ),
        sources=Sources(
            order=draw(st.sampled_from([("mirror", "upstream"), ("build", "mirror")])),
            mirror=draw(st.sampled_from([None, "/srv/mirror", "https://m.example.com"])),
            registries=draw(
                st.sampled_from(
                    [{}, {"docker.io": ("https://m.example.com", "http://192.0.2.9:5000/hub")}]
                )
            ),
        ),
        provider_options=draw(_documents),
    )


@given(clusters())
@settings(deadline=None, max_examples=60)
def test_documents_round_trip(cluster: Cluster) -> None:
    document = to_document(cluster)
    assert load.from_document(json.loads(json.dumps(document))) == cluster
    VALIDATOR.validate(document)


@pytest.mark.parametrize("path", sorted(DATA.glob("valid-*.yaml")), ids=lambda p: p.stem)
def test_valid_files_round_trip(path: Path) -> None:
    cluster = load.load_file(path)
    document = json.loads(json.dumps(to_document(cluster)))
    assert load.from_document(document) == cluster


def test_default_names_are_written_as_a_count() -> None:
    nodes = to_document(load.from_overrides(load.Overrides()))["spec"]["nodes"]
    assert list(nodes["workers"]) == ["count", "cpus", "memory", "disk"]
    assert nodes["workers"]["count"] == 2


def test_document_shares_nothing_with_the_cluster() -> None:
    cluster = load.load_file(DATA / "valid-full.yaml")
    to_document(cluster)["spec"]["kubeadm"]["kubeletConfiguration"]["maxPods"] = 1
    assert cluster.kubeadm.kubelet_configuration == {"maxPods": 200}


def test_template_equals_the_defaults() -> None:
    loaded = load.load_text(starter_file.text(), "template")
    assert loaded.cluster == load.from_overrides(load.Overrides())
    assert loaded.warnings == ()
    assert all(len(line) <= 100 for line in starter_file.text().splitlines())


def test_template_shows_every_field() -> None:
    text = starter_file.text()
    schema = json_schema.schema()
    shown = {"name", "names", "address", "hostKey"}  # one of several, or for one host only
    for model in (schema, *schema["$defs"].values()):
        missing = [n for n in model["properties"] if f"{n}:" not in text and n not in shown]
        assert [n for n in missing if n not in ("options", "nodeIP")] == []


def test_template_with_comments_removed_from_options_is_valid() -> None:
    """What is commented out is right as well: the ssh part, uncommented, loads."""
    lines = []
    for line in starter_file.text().splitlines():
        bare = line.lstrip()
        if bare.startswith("# ") and line.startswith("    "):
            lines.append(line.replace("# ", "", 1))
        else:
            lines.append(line)
    text = "\n".join(lines).replace("name: auto", "name: ssh").replace("count: 2", "")
    text = text.replace("      inventory: hosts.ini", "")
    with pytest.raises(ConfigError) as caught:
        load.load_text(text, "template")
    (problem,) = caught.value.problems
    assert problem.startswith("spec.nodes.controlPlane.hosts, line 25: must be given")


def test_template_has_options_that_lima_takes() -> None:
    before, mark, rest = starter_file.text().partition("    # options:")
    options, ssh, after = rest.partition("    # ssh:")
    bare = [line.replace("# ", "", 1) for line in (mark + options).split("\n")]
    text = before.replace("name: auto", "name: lima") + "\n".join(bare) + ssh + after
    cluster = load.load_text(text, "template").cluster
    assert lima_options.of(cluster) == lima_options.Options(
        image="ubuntu-24.04", disks={lima_options.EVERY_NODE: (20,)}
    )


# -- schema ----------------------------------------------------------------------------------------


def test_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema.schema())


@pytest.mark.parametrize(
    "path",
    [p for p in sorted(DATA.glob("valid-*.yaml")) if "v1alpha1" not in p.name],
    ids=lambda p: p.stem,
)
def test_valid_files_fit_the_schema(path: Path) -> None:
    document = yaml.load(path.read_text(), yaml.BaseLoader) if "words" in path.name else None
    VALIDATOR.validate(document or yaml.safe_load(path.read_text()))


@pytest.mark.parametrize(
    "name", ["unknown-keys", "types", "choices", "negative-counts", "names", "header-number"]
)
def test_invalid_files_do_not_fit_the_schema(name: str) -> None:
    document = yaml.safe_load((DATA / f"invalid-{name}.yaml").read_text())
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate(document)


def test_every_field_is_described() -> None:
    schema = json_schema.schema()
    for title, model in schema["$defs"].items():
        assert model["description"], title
        assert model["additionalProperties"] is False
        if title != "Spec":
            for name, field in model["properties"].items():
                assert field.get("description"), f"{title}.{name}"


def test_names_in_the_schema_follow_the_rule_of_the_model() -> None:
    schema = json_schema.schema()
    assert schema["$defs"]["Metadata"]["properties"]["name"]["pattern"] == names.PATTERN


def test_reference_page_is_up_to_date() -> None:
    assert (ROOT / "docs" / "configuration.md").read_text() == reference.page()


def test_reference_page_has_every_field() -> None:
    page = reference.page()
    schema = json_schema.schema()
    for model in (schema, *schema["$defs"].values()):
        for name in model["properties"]:
            assert f"| `{name}` |" in page
