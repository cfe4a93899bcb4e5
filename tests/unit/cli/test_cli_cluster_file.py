"""A cluster named instead of a file is taken as it was described last."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ohmykube.config import document, load
from ohmykube.errors import ExitCode
from ohmykube.kit import certificates
from ohmykube.state import file_contents
from ohmykube.state.record import Record
from ohmykube.state.store import StateStore

if TYPE_CHECKING:
    from ohmykube.model.cluster import Cluster

DATA = Path(__file__).parents[2] / "data"
FILE = b"""\
apiVersion: ohmykube.dev/v1
kind: Cluster
metadata: {name: dev}
spec:
  provider: {name: nspawn}
  nodes: {workers: {files: [{path: /opt/own/x, content: text}]}}
"""


def store_of(home: Path, cluster: Cluster) -> StateStore:
    """Return a store with the record of a cluster."""
    store = StateStore(home / "state")
    store.create(
        Record(
            id="",
            name="dev",
            document=document.to_document(cluster),
            provider="nspawn",
            kubernetes_version=cluster.kubernetes_version,
        )
    )
    return store


def test_files_of_nodes_are_known_or_named(cli, fakes, home) -> None:
    """Nothing that a file once said is asked for again; what is lost is named with the way out."""
    cluster = load.load_text(FILE, "c.yaml").cluster
    store = store_of(home, cluster)
    outcome = cli("up", "dev")
    assert outcome.code == ExitCode.CONFIG
    assert "/opt/own/x" in outcome.err
    assert "OMK-C-490" in outcome.err
    file_contents.keep(store.directory("dev"), cluster, None)
    assert cli("up", "dev").code == 0
    ((_, found, _options),) = [call for call in fakes.calls if call[0] == "up"]
    assert [file.content for node in found.nodes for file in node.files] == ["text", "text"]


def test_a_record_tells_what_has_changed_with_time(cli, home, monkeypatch) -> None:
    """An authority that has run out since is named, and stops nothing."""
    pem = (DATA / "trust" / "one.pem").read_text()
    cluster = dataclasses.replace(load.load_text(FILE, "c.yaml").cluster, trust=(pem,))
    store = store_of(home, cluster)
    file_contents.keep(store.directory("dev"), cluster, None)
    assert "expired" not in cli("up", "dev").err
    monkeypatch.setattr(time, "time", lambda: certificates.authority(pem).ends + 1)
    outcome = cli("up", "dev")
    assert outcome.code == 0
    assert "warning: spec.trust has expired on 2126" in outcome.err
