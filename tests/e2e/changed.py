"""One change of each kind on a cluster that runs: after it, file, record and cluster agree."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ohmykube.errors import ExitCode

if TYPE_CHECKING:
    from tests.e2e.conftest import Cli

AUTHORITY = Path(__file__).parents[1] / "data" / "trust" / "one.pem"
LABEL, TAINT = "example.com/rack", "example.com/slow"


class File:
    """The description of a cluster with one control plane and two workers."""

    def __init__(self, cli: Cli, cluster: str, path: Path) -> None:
        self._cli = cli
        self._cluster = cluster
        self._path = path

    def write(self, workers: dict[str, Any] | None = None, **spec: Any) -> None:
        """Describe it anew."""
        nodes = {"nodes": {"workers": {"count": 2, **(workers or {})}}}
        document = {"apiVersion": "ohmykube.dev/v1", "kind": "Cluster", "spec": {**nodes, **spec}}
        self._path.write_text(json.dumps({**document, "metadata": {"name": self._cluster}}))

    def plan(self) -> list[tuple[str, str | None]]:
        """Return kinds and nodes of what `up` would do; there is an exit code for it."""
        done = self._cli.run(
            "plan", "-f", str(self._path), "--exit-code", "-o", "json", check=False
        )
        changes = json.loads(done.stdout)["changes"]
        assert done.returncode == (ExitCode.CHANGES if changes else 0)
        return [(one["kind"], one["node"]) for one in changes]

    def up(self) -> set[str]:
        """Bring it about; return the nodes that were configured. Nothing is left to be done."""
        runs = self._cli.home / "state" / "clusters" / self._cluster / "runs"
        before = set(runs.glob("*/ansible.log"))
        self._cli.run("up", "-f", str(self._path))
        assert self.plan() == []
        logs = [log.read_text() for log in set(runs.glob("*/ansible.log")) - before]
        return {node for log in logs for node in re.findall(r"  (\w+)  recap  ", log)}


def check(cli: Cli, cluster: str, path: Path) -> None:
    """Change the file, and the cluster by other means."""
    file = File(cli, cluster, path)
    file.write()
    assert file.plan() == []
    live(cli, cluster, file)
    refused(cli, cluster, path, file)
    harmed(cli, cluster, file)
    file.write()
    assert file.up() == {"cp1", "w1", "w2"}
    repaired(cli, cluster)
    for name in ("w1", "w2"):
        assert node(cli, cluster, name)["metadata"]["labels"].get(LABEL) is None
        assert node(cli, cluster, name)["spec"].get("taints") is None
    assert "vxlan" in backend(cli, cluster)
    assert trusting(cli, cluster) == set()


def live(cli: Cli, cluster: str, file: File) -> None:
    """Labels, taints, a machine's size, flannel's backend, trust, all at once; then a setting."""
    file.write(
        {"labels": {LABEL: "1"}, "taints": [f"{TAINT}:PreferNoSchedule"], "memory": "3GiB"},
        network={"flannel": {"backend": "host-gw"}},
        trust=[str(AUTHORITY)],
    )
    kinds = {kind for kind, _ in file.plan()}
    assert kinds == {"ReconfigureNode", "ReconfigureCluster"}
    assert file.up() == {"cp1", "w1", "w2"}
    for name in ("w1", "w2"):
        found = node(cli, cluster, name)
        assert found["metadata"]["labels"][LABEL] == "1"
        assert [taint["key"] for taint in found["spec"]["taints"]] == [TAINT]
        limit = cli.on(cluster, name, "cat", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
        assert int(limit) == 3 << 30
        # The kubelet has been restarted, and tells it.
        size = "--for=jsonpath={.status.capacity.memory}=3Gi"
        cli.kubectl(cluster, "wait", "node", name, size, "--timeout=60s")
    assert "host-gw" in backend(cli, cluster)
    assert trusting(cli, cluster) == {"cp1", "w1", "w2"}
    file.write(
        {"labels": {LABEL: "1"}, "taints": [f"{TAINT}:PreferNoSchedule"], "memory": "3GiB"},
        network={"flannel": {"backend": "host-gw"}},
        trust=[str(AUTHORITY)],
        template="never",
    )
    assert file.plan() == [("UpdateSetting", None)]
    assert file.up() == set(), "nothing of the nodes"


def refused(cli: Cli, cluster: str, path: Path, file: File) -> None:
    """What is fixed when the cluster is made; all of it is named and nothing touched."""
    record = cli.home / "state" / "clusters" / cluster / "record.json"
    before, text = record.read_bytes(), path.read_text()
    file.write(
        network={"proxyMode": "nftables", "certSANs": ["a.example"]},
        kubeadm={"kubeletConfiguration": {"maxPods": 42}},
    )
    done = cli.run("up", "-f", str(path), check=False)
    assert done.returncode == ExitCode.CONFIG
    for field in ("proxyMode", "certSANs", "maxPods"):
        assert field in done.stderr
    assert record.read_bytes() == before
    path.write_text(text)
    assert file.plan() == []


def harmed(cli: Cli, cluster: str, file: File) -> None:
    """What somebody changes on a node, or in the API, is seen there and nowhere else.

    It is brought back together with the file's next change, by one playbook.
    """
    change = "systemctl stop kubelet; echo '# x' >>/etc/containerd/config.toml"
    cli.on(cluster, "w1", "sh", "-c", change)
    cli.kubectl(cluster, "label", "node", "w2", "--overwrite", f"{LABEL}=2")
    assert file.plan() == [("ConfigureNode", "w1"), ("ConfigureNode", "w2")]


def repaired(cli: Cli, cluster: str) -> None:
    """Nothing of it is left."""
    assert cli.on(cluster, "w1", "systemctl", "is-active", "kubelet").strip() == "active"
    assert "# x" not in cli.on(cluster, "w1", "cat", "/etc/containerd/config.toml")


def node(cli: Cli, cluster: str, name: str) -> Any:
    """Return a Node object."""
    return json.loads(cli.kubectl(cluster, "get", "node", name, "-ojson"))


def backend(cli: Cli, cluster: str) -> str:
    """Return flannel's settings."""
    return cli.kubectl(cluster, "-nkube-flannel", "get", "configmap", "kube-flannel-cfg", "-oyaml")


def trusting(cli: Cli, cluster: str) -> set[str]:
    """Return the nodes whose programs trust the authority of the tests."""
    names, text = ("cp1", "w1", "w2"), AUTHORITY.read_text().strip()
    store = "/etc/ssl/certs/ca-certificates.crt"
    return {name for name in names if text in cli.on(cluster, name, "cat", store)}
