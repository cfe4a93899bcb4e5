"""Texts of the user's files: kept with the cluster, as long as it has the files."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ohmykube.config import document, load, node_files
from ohmykube.errors import IntegrityError
from ohmykube.model.cluster import Cluster, KubeadmPatches, NodeFile
from ohmykube.state import file_contents, layout

if TYPE_CHECKING:
    from pathlib import Path

TEXTS = ["", "text", "two\nlines\n", "{{ template }}", "caf\u00e9 \U0001f980", '"quoted" \\']


def file(text: str, path: str = "/opt/own/x") -> NodeFile:
    digest = hashlib.sha256(text.encode()).hexdigest()
    return NodeFile(path=path, sha256=digest, content=text)


def cluster_with(*files: NodeFile, patches: tuple[NodeFile, ...] = ()) -> Cluster:
    made = load.from_overrides(load.Overrides(name="dev", provider="nspawn", workers=1))
    nodes = tuple(replace(node, files=files) for node in made.nodes)
    return replace(made, nodes=nodes, kubeadm=KubeadmPatches(patches=patches))


@pytest.mark.parametrize("text", TEXTS)
def test_what_was_described_once_is_known_without_its_file(tmp_path: Path, text: str) -> None:
    """A record and the texts beside it are the whole description."""
    patch = file(f"a: {len(text)}", "etcd.yaml")
    cluster = cluster_with(file(text), patches=(patch,))
    file_contents.keep(tmp_path, cluster, None)
    assert (tmp_path / layout.FILE_CONTENTS).stat().st_mode & 0o777 == 0o600
    recorded = document.to_document(cluster)
    whole, missing = node_files.with_contents(recorded, file_contents.read(tmp_path))
    again = load.from_document(whole, desired=True)
    assert missing == []
    assert again == cluster
    assert [one.content for node in again.nodes for one in node.files] == [text, text]
    assert again.kubeadm.patches[0].content == patch.content


def test_texts_go_with_the_last_description_that_has_them(tmp_path: Path) -> None:
    """While a change is brought about, the texts of both are kept; then those that count."""
    old, new = cluster_with(file("old")), cluster_with(file("new"))
    forgetful = replace(old, nodes=tuple(_without_text(old)))
    file_contents.keep(tmp_path, old, None)
    file_contents.keep(tmp_path, new, forgetful)
    assert sorted(file_contents.read(tmp_path).values()) == ["new", "old"]
    file_contents.keep(tmp_path, new, new)
    assert sorted(file_contents.read(tmp_path).values()) == ["new"]
    file_contents.keep(tmp_path, cluster_with(), None)
    assert not (tmp_path / layout.FILE_CONTENTS).exists()
    assert file_contents.read(tmp_path) == {}


def _without_text(cluster: Cluster) -> list:
    return [
        replace(node, files=tuple(replace(one, content=None) for one in node.files))
        for node in cluster.nodes
    ]


def test_what_is_not_known_is_named(tmp_path: Path) -> None:
    recorded = document.to_document(cluster_with(file("x"), patches=(file("y: 1", "etcd.yaml"),)))
    _, missing = node_files.with_contents(recorded, file_contents.read(tmp_path))
    assert missing == ["/opt/own/x", "etcd.yaml"]


@pytest.mark.parametrize("text", ["{", "[]", "7"])
def test_damage_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / layout.FILE_CONTENTS).write_text(text)
    with pytest.raises(IntegrityError, match="is damaged"):
        file_contents.read(tmp_path)
