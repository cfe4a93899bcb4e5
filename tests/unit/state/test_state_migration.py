"""Records of older schemas are read as the present one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ohmykube.model.addon import AppliedAddon
from ohmykube.state import record
from ohmykube.state.record import DamagedRecord

DATA = Path(__file__).parents[2] / "data" / "state" / "record-1.json"


def changed(**body: object) -> bytes:
    """Return the record of schema 1 with other content and a sum that is right."""
    content = json.loads(DATA.read_bytes())
    content["cluster"] |= body
    content["sha256"] = record._sum(content["schema"], content["cluster"])
    return json.dumps(content).encode()


def test_a_record_of_schema_1_has_its_artifacts_in_a_set() -> None:
    found = record.decode(DATA.read_bytes())
    assert (found.schema, found.name, found.done) == (2, "dev", ("started", "configured"))
    assert found.lock is not None
    assert found.lock["architectures"] == ["amd64"]
    (one,) = found.lock["sets"]
    assert [artifact["digest"][7] for artifact in one["artifacts"]] == ["a", "b", "c", "d"]
    assert one["variables"] == {
        "containerd_sandbox_image": "registry.k8s.io/pause:3.10.2",
        "kubeadm_etcd_image_tag": "",
        "kubeadm_dns_image_tag": "",
        "flannel_image": "ghcr.io/flannel-io/flannel:v0.26.7",
        "flannel_cni_plugin_image": "ghcr.io/flannel-io/flannel-cni-plugin:v0.9.1",
    }


def test_its_pod_network_was_an_add_on() -> None:
    (told,) = record.decode(DATA.read_bytes()).addons
    addon = AppliedAddon(**told)
    assert (addon.name, addon.role) == ("flannel", "ohmykube.cluster.flannel")
    assert addon.variables == {
        "flannel_network": "10.244.0.0/16",
        "flannel_backend": "vxlan",
        "flannel_nftables": False,
    }
    document = json.loads(DATA.read_bytes())["cluster"]["document"]
    document["spec"]["network"]["cni"] = "none"
    assert record.decode(changed(document=document)).addons == ()


def test_it_is_written_as_the_present_schema() -> None:
    found = record.decode(DATA.read_bytes())
    again = record.encode(found)
    assert json.loads(again)["schema"] == 2
    assert record.encode(record.decode(again)) == again


def test_a_record_without_artifacts_stays_without() -> None:
    assert record.decode(changed(lock=None)).lock is None


@pytest.mark.parametrize("body", [{"lock": {"arch": "amd64"}}, {"document": {"spec": []}}])
def test_what_that_release_never_wrote_is_damaged(body: dict[str, object]) -> None:
    with pytest.raises(DamagedRecord, match="addons"):
        record.decode(changed(**body))
