"""A template in any string of a cluster is data: Ansible itself shows that nothing runs."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ohmykube.ansible import inventory, launch, variables
from ohmykube.ansible.launch import PlaybookRun, PlaybookStatus
from ohmykube.kit.secret import Secret
from ohmykube.model.artifact import ArtifactLock, Kind, LockedArtifact
from ohmykube.model.cluster import Cluster, KubeadmPatches, Network, Node, NodeFile, Role, Taint
from ohmykube.model.machine import Machine, MachineState
from ohmykube.progress import NullReporter
from tests import artifact_locks

if TYPE_CHECKING:
    from collections.abc import Mapping

DATA = Path(__file__).parents[1] / "data" / "ansible"


def _payloads(trap: Path) -> dict[str, str]:
    return {
        "lookup": f"{{{{ lookup('ansible.builtin.pipe', 'touch {trap}') }}}}",
        "statement": f"{{% set x = lookup('pipe', 'touch {trap}') %}}{{{{ x }}}}",
        "broken out": f"\"}}\n- x: !!python/object/apply:os.system ['touch {trap}'] # \"' | - ",
    }


def _cluster(evil: str) -> Cluster:
    file = NodeFile(path=evil, sha256=evil, mode=evil, content=evil)
    document = {evil: evil, "list": [evil, {evil: [evil]}], "deep": {"deeper": {evil: evil}}}
    return Cluster(
        name=evil,
        kubernetes_version=evil,
        provider=evil,
        nodes=(
            Node(
                name="dev-cp-1",
                role=Role.CONTROL_PLANE,
                labels={evil: evil, "plain": "1.10"},
                taints=(Taint(key=evil, value=evil, effect=evil),),
                files=(file,),
            ),
        ),
        network=Network(
            **{field.name: evil for field in dataclasses.fields(Network) if field.name != "cni"}
        ),
        kubeadm=KubeadmPatches(
            **{
                field.name: (file,) if field.name == "patches" else document
                for field in dataclasses.fields(KubeadmPatches)
            }
        ),
        provider_options=document,
    )


def _lock(evil: str) -> ArtifactLock:
    def artifact(kind: Kind, name: str) -> LockedArtifact:
        return LockedArtifact(
            kind=kind,
            name=name,
            version=evil,
            arch=evil,
            digest=evil,
            size=1,
            source=evil,
            content_digest=evil,
        )

    settings = (
        "containerd_sandbox_image",
        "kubeadm_etcd_image_tag",
        "kubeadm_dns_image_tag",
        "flannel_image",
        "flannel_cni_plugin_image",
    )
    return artifact_locks.of(
        version=evil,
        arch=evil,
        artifacts=(
            artifact(Kind.PACKAGE, "containerd"),
            artifact(Kind.PACKAGE, "kubeadm"),
            artifact(Kind.IMAGE, evil),
        ),
        variables=dict.fromkeys(settings, evil),
    )


def _inventory(root: Path, evil: str) -> tuple[Path, Mapping[str, object]]:
    cluster, lock = _cluster(evil), _lock(evil)
    machine = Machine(cluster=evil, node="dev-cp-1", state=MachineState.RUNNING, address=evil)
    access = variables.CacheAccess(endpoint=evil, token=Secret(evil))
    node = cluster.nodes[0]
    shared = variables.group_vars(
        cluster,
        lock,
        access,
        node_traits=variables.NodeTraits(system_containers=True),
        cert_sans=(evil,),
    )
    own = variables.host_vars(node, machine, None, lock)
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    host = inventory.HostEntry(
        name=node.name, group=variables.group_of(node.role), variables=own | local
    )
    path = inventory.write(root / "inventory", [host], shared)
    secrets = {"cache_token": evil, variables.CONTENTS: {evil: evil}}
    expected = shared | own | local | secrets
    return path, json.loads(json.dumps(expected))


def _plain(value: object) -> object:
    """Return what Ansible prints, without its marks of unsafe text."""
    if isinstance(value, dict):
        if set(value) == {"__ansible_unsafe"}:
            return value["__ansible_unsafe"]
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value


@pytest.mark.parametrize("kind", ["lookup", "statement", "broken out"])
def test_nothing_runs(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    trap = tmp_path / "trap"
    evil = _payloads(trap)[kind]
    path, _ = _inventory(tmp_path, evil)
    outcome = launch.run(
        PlaybookRun(
            playbook=str(DATA / "show_all.yml"),
            inventory=path,
            run_dir=tmp_path / "run",
            fact_cache=tmp_path / "facts",
            log_file=tmp_path / "log",
            lock_file=tmp_path / "lock",
            verbosity=1,
        ),
        NullReporter(),
    )
    assert outcome.status is PlaybookStatus.OK, outcome
    assert not trap.exists()
    # By five ways: three arguments, and two forms in what the module reads.
    assert (tmp_path / "written-dev-cp-1").read_text().count("touch") >= 5


@pytest.mark.parametrize("kind", ["lookup", "statement", "broken out"])
def test_every_value_arrives_as_it_was(tmp_path: Path, kind: str) -> None:
    trap = tmp_path / "trap"
    path, expected = _inventory(tmp_path, _payloads(trap)[kind])
    argv = [sys.executable, "-m", "ansible.cli.inventory", "-i", str(path), "--list"]
    done = subprocess.run(argv, capture_output=True, check=True, text=True, timeout=60)
    listed = json.loads(done.stdout)
    found = listed["_meta"]["hostvars"]["dev-cp-1"]
    found.pop("ansible_local", None)  # an empty cache of facts
    assert _plain(found) == expected
    assert listed["kube_control_plane"] == {"hosts": ["dev-cp-1"]}
    assert not trap.exists()


def test_the_trap_works(tmp_path: Path) -> None:
    """Without the tag the same playbook does run the command: the tests above can fail."""
    trap = tmp_path / "trap"
    path, _ = _inventory(tmp_path, _payloads(trap)["lookup"])
    path.write_text(path.read_text().replace("!unsafe ", ""))
    launch.run(
        PlaybookRun(
            playbook=str(DATA / "show_all.yml"),
            inventory=path,
            run_dir=tmp_path / "run",
            fact_cache=tmp_path / "facts",
            log_file=tmp_path / "log",
            lock_file=tmp_path / "lock",
        ),
        NullReporter(),
    )
    assert trap.exists()
