"""From the model to the roles' variables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ohmykube.ansible import variables
from ohmykube.ansible.variables import CacheAccess, NodeTraits, group_vars, host_vars
from ohmykube.errors import ProviderError
from ohmykube.kit.secret import Secret
from ohmykube.model.addon import AppliedAddon
from ohmykube.model.artifact import Kind, LockedArtifact
from ohmykube.model.cluster import Cluster, Host, KubeadmPatches, Network, Node, Role, Taint
from ohmykube.model.machine import Machine, MachineState, SshTarget
from tests import artifact_locks

CONTAINERS = NodeTraits(system_containers=True)
WHOLE = NodeTraits(system_containers=False)
CP = Node(name="dev-cp-1", role=Role.CONTROL_PLANE)
WORKER = Node(
    name="dev-w-1",
    role=Role.WORKER,
    labels={"tier": "web"},
    taints=(Taint(key="dedicated", value="db", effect="NoSchedule"),),
)


def machine(node: str, address: str, *, become: bool = False) -> Machine:
    target = SshTarget(address="192.0.2.1", user="ops", become=become)
    return Machine(
        cluster="dev", node=node, state=MachineState.RUNNING, address=address, ssh=target
    )


MACHINES = [machine("dev-cp-1", "10.88.0.11"), machine("dev-w-1", "10.88.0.12")]


def cluster(**changes: object) -> Cluster:
    fields: dict[str, object] = {
        "name": "dev",
        "kubernetes_version": "1.36.3",
        "provider": "nspawn",
        "nodes": (CP, WORKER),
    }
    return Cluster(**(fields | changes))  # type: ignore[arg-type]


def artifact(kind: Kind, name: str, digit: str, size: int, *roles: str) -> LockedArtifact:
    return LockedArtifact(
        kind=kind,
        name=name,
        version="1",
        arch="amd64",
        digest=f"sha256:{digit * 64}",
        size=size,
        source="build",
        node_roles=roles or ("control-plane", "worker"),
        content_digest=f"sha256:{digit.upper() * 64}" if kind is Kind.PACKAGE else "",
    )


LOCK = artifact_locks.of(
    version="1.36.3",
    arch="amd64",
    artifacts=(
        artifact(Kind.PACKAGE, "containerd", "a", 10),
        artifact(Kind.PACKAGE, "kubeadm", "b", 10),
        artifact(Kind.IMAGE, "registry.k8s.io/pause:3.10.2", "c", 1),
        artifact(Kind.IMAGE, "registry.k8s.io/kube-proxy:v1.36.3", "d", 30),
        artifact(Kind.IMAGE, "registry.k8s.io/etcd:3.6.5-0", "e", 60, "control-plane"),
    ),
    variables={
        "containerd_sandbox_image": "registry.k8s.io/pause:3.10.2",
        "kubeadm_etcd_image_tag": "3.6.5-0",
        "kubeadm_dns_image_tag": "v1.13.1",
        "flannel_image": "ghcr.io/flannel-io/flannel:v0.27.4",
        "flannel_cni_plugin_image": "ghcr.io/flannel-io/flannel-cni-plugin:v1.8.0",
    },
)
CACHE = CacheAccess(endpoint="http://127.0.0.1:5055", token=Secret("token-value"))


def test_addresses_and_ranges_of_the_cluster_are_passed_on() -> None:
    network = Network(pod_cidr="10.1.0.0/16", service_cidr="10.2.0.0/16", dns_domain="k.test")
    result = group_vars(cluster(network=network), None, None, node_traits=WHOLE, cert_sans=("h.x",))
    assert result["kubeadm_pod_cidr"] == "10.1.0.0/16"
    assert result["kubeadm_service_cidr"] == "10.2.0.0/16"
    assert result["kubeadm_dns_domain"] == "k.test"
    assert result["kubeadm_cert_sans"] == ["127.0.0.1", "localhost", "h.x"]


def test_a_node_knows_itself_and_the_control_planes_by_name() -> None:
    """Whatever workers come and go beside it, nothing changes on a node."""
    planes, worker = MACHINES[:1], MACHINES[1]
    plane = host_vars(CP, planes[0], None, None, control_planes=planes)
    assert plane["node_hosts"] == {"dev-cp-1": "10.88.0.11"}
    found = host_vars(WORKER, worker, None, None, control_planes=planes)
    assert found["node_hosts"] == {"dev-cp-1": "10.88.0.11", "dev-w-1": "10.88.0.12"}
    with pytest.raises(ProviderError):
        host_vars(WORKER, worker, None, None, control_planes=[machine("dev-cp-1", "")])


def test_no_name_comes_twice_among_the_certificate_names() -> None:
    sans = ("localhost", "", "a", "a")
    result = group_vars(cluster(), None, None, node_traits=WHOLE, cert_sans=sans)
    assert result["kubeadm_cert_sans"] == ["127.0.0.1", "localhost", "a"]


def test_system_containers_leave_the_kernel_alone() -> None:
    result = group_vars(cluster(), None, None, node_traits=CONTAINERS)
    assert result["node_manage_kernel"] is False
    assert result["node_swap"] == "keep"
    assert "SystemVerification" in result["kubeadm_ignore_preflight_errors"]  # type: ignore[operator]
    kubelet = result["kubeadm_kubelet_configuration"]
    assert isinstance(kubelet, dict)
    assert (kubelet["failSwapOn"], kubelet["failCgroupV1"]) == (False, False)
    # The disk is the host's: a percentage of it says nothing about the node.
    assert not any(
        "%" in kubelet["evictionHard"][f"{fs}.available"] for fs in ("nodefs", "imagefs")
    )
    assert kubelet["imageGCHighThresholdPercent"] == 100


def test_machines_of_their_own_are_managed_wholly() -> None:
    result = group_vars(cluster(), None, None, node_traits=WHOLE)
    assert result["node_manage_kernel"] is True
    assert result["node_swap"] == "off"
    assert result["kubeadm_ignore_preflight_errors"] == []
    assert result["kubeadm_kubelet_configuration"] == {}
    assert result["kubeadm_kube_proxy_configuration"] == {}


def test_slow_machines_are_waited_for() -> None:
    def of(slowdown: int) -> dict[str, object]:
        return group_vars(
            cluster(),
            None,
            None,
            node_traits=NodeTraits(system_containers=False, slowdown=slowdown),
        )

    slow = {"kubeadm_slowdown": 6, "cache_pull_timeout": 10_800, "containerd_stats_period": 60}
    assert of(6) == {**of(1), **slow}


@pytest.mark.parametrize(
    ("node_traits", "wanted"),
    [
        (NodeTraits(system_containers=False, made=True), 30),
        (NodeTraits(system_containers=False, made=True, slowdown=6), 30),
        (NodeTraits(system_containers=False), None),  # hosts of the user's keep what they have
        (NodeTraits(system_containers=True, made=True), None),  # the image says it already
    ],
)
def test_only_machines_that_are_made_stop_sooner(
    node_traits: NodeTraits, wanted: int | None
) -> None:
    result = group_vars(cluster(), None, None, node_traits=node_traits)
    assert result.get("containerd_shutdown_timeout") == wanted


def test_the_users_patches_win_over_ours() -> None:
    patches = KubeadmPatches(
        init_configuration={"nodeRegistration": {"criSocket": "x"}},
        join_configuration={"timeouts": {"discovery": "1m"}},
        cluster_configuration={"apiServer": {"extraArgs": []}},
        kubelet_configuration={
            "failSwapOn": True,
            "maxPods": 50,
            "evictionHard": {"nodefs.available": "5%"},
        },
        kube_proxy_configuration={"conntrack": {"min": 7}, "mode": "nftables"},
    )
    result = group_vars(cluster(kubeadm=patches), None, None, node_traits=CONTAINERS)
    kubelet = result["kubeadm_kubelet_configuration"]
    assert isinstance(kubelet, dict)
    assert (kubelet["failSwapOn"], kubelet["failCgroupV1"]) == (True, False)
    assert kubelet["maxPods"] == 50
    assert kubelet["evictionHard"]["nodefs.available"] == "5%"
    assert kubelet["evictionHard"]["imagefs.available"] == "1Gi"
    assert result["kubeadm_kube_proxy_configuration"] == {
        "conntrack": {"maxPerCore": 0, "min": 7},
        "mode": "nftables",
    }
    assert result["kubeadm_init_configuration"] == {"nodeRegistration": {"criSocket": "x"}}
    assert result["kubeadm_join_configuration"] == {"timeouts": {"discovery": "1m"}}
    assert result["kubeadm_cluster_configuration"] == {"apiServer": {"extraArgs": []}}


def test_artifacts_come_from_the_cache() -> None:
    shared = group_vars(cluster(), LOCK, CACHE, node_traits=CONTAINERS)
    result = host_vars(WORKER, MACHINES[1], None, LOCK, CACHE)
    assert result["containerd_artifacts"] == [
        {
            "name": "containerd-package",
            "url": f"http://127.0.0.1:5055/pkg/sha256/{'a' * 64}",
            "checksum": f"sha256:{'a' * 64}",
            "dest": "/",
            "unpack": True,
            "content_checksum": f"sha256:{'A' * 64}",
        }
    ]
    assert result["kubeadm_artifacts"][0]["name"] == "kubeadm-package"  # type: ignore[index]
    assert shared["cache_endpoint"] == "http://127.0.0.1:5055"
    assert shared["cache_token"] == Secret("token-value")


def test_each_node_has_the_artifacts_of_its_architecture() -> None:
    one, other = (artifact(Kind.PACKAGE, "kubeadm", digit, 10) for digit in ("a", "b"))
    images = (
        artifact(Kind.IMAGE, "registry.k8s.io/pause:3.10.2", "c", 1),
        replace(artifact(Kind.IMAGE, "registry.k8s.io/pause:3.10.2", "d", 1), arch="arm64"),
    )
    lock = replace(
        artifact_locks.of((one, replace(other, arch="arm64"), *images)),
        architectures=("amd64", "arm64"),
    )
    for machine, arch, package, image in (
        (replace(MACHINES[0], arch="amd64"), "amd64", "a", "c"),
        (replace(MACHINES[1], arch="arm64"), "arm64", "b", "d"),
    ):
        found = host_vars(WORKER, machine, None, lock, CACHE)
        assert found["containerd_arch"] == arch
        assert found["kubeadm_artifacts"][0]["checksum"] == f"sha256:{package * 64}"  # type: ignore[index]
        assert [i["digest"] for i in found["cache_images"]] == [f"sha256:{image * 64}"]  # type: ignore[attr-defined]
    shared = group_vars(cluster(), lock, CACHE, node_traits=WHOLE)
    assert not {"containerd_arch", "kubeadm_artifacts", "cache_images"} & shared.keys()
    with pytest.raises(ValueError, match="too many values"):
        host_vars(WORKER, MACHINES[1], None, lock, CACHE)


def test_versions_of_the_lock_reach_the_roles() -> None:
    result = group_vars(cluster(), LOCK, None, node_traits=CONTAINERS)
    assert result["containerd_sandbox_image"] == "registry.k8s.io/pause:3.10.2"
    assert result["kubeadm_etcd_image_tag"] == "3.6.5-0"
    assert result["kubeadm_dns_image_tag"] == "v1.13.1"
    assert result["flannel_image"] == "ghcr.io/flannel-io/flannel:v0.27.4"
    assert result["flannel_cni_plugin_image"] == "ghcr.io/flannel-io/flannel-cni-plugin:v1.8.0"
    assert "containerd_artifacts" not in result
    host = host_vars(WORKER, MACHINES[1], None, LOCK)
    assert host["containerd_arch"] == "amd64"
    assert "containerd_artifacts" not in host
    assert "cache_endpoint" not in result


def addon(name: str, *provides: str) -> AppliedAddon:
    return AppliedAddon(
        name=name,
        version="1",
        role=f"company.things.{name}",
        provides=provides,
        variables={f"{name}_mode": "fast"},
        removal={f"{name}_state": "absent"},
    )


def test_the_pod_network_has_a_role_of_its_own_and_others_follow_the_nodes() -> None:
    assert variables.addon_vars([]) == {"cluster_network_role": ""}
    found = variables.addon_vars([addon("net", "cni"), addon("lb")], [addon("old")])
    assert found == {
        "cluster_network_role": "company.things.net",
        "cluster_addon_roles": ["company.things.old", "company.things.lb"],
        "net_mode": "fast",
        "lb_mode": "fast",
        "old_state": "absent",
    }


def test_images_of_a_node_are_those_of_its_role_biggest_first() -> None:
    first = host_vars(CP, MACHINES[0], None, LOCK)["cache_images"]
    second = host_vars(WORKER, MACHINES[1], None, LOCK)["cache_images"]
    assert [image["ref"].split("/")[1] for image in first] == [  # type: ignore[attr-defined]
        "etcd:3.6.5-0",
        "kube-proxy:v1.36.3",
        "pause:3.10.2",
    ]
    assert second == [
        {"ref": "registry.k8s.io/kube-proxy:v1.36.3", "digest": f"sha256:{'d' * 64}"},
        {"ref": "registry.k8s.io/pause:3.10.2", "digest": f"sha256:{'c' * 64}"},
    ]


def test_a_node_is_told_of_the_repacked_form_of_an_image() -> None:
    pause, other = f"sha256:{'c' * 64}", f"sha256:{'9' * 64}"
    access = CacheAccess(endpoint="http://h", token=Secret("t"), repacked={pause: other})
    found = host_vars(WORKER, MACHINES[1], None, LOCK, access)["cache_images"]
    assert found == [
        {"ref": "registry.k8s.io/kube-proxy:v1.36.3", "digest": f"sha256:{'d' * 64}"},
        {"ref": "registry.k8s.io/pause:3.10.2", "digest": pause, "repacked": other},
    ]


@pytest.mark.parametrize(
    ("primary", "secondary", "told"),
    [
        ("10.88.0.12", "", "10.88.0.12"),
        ("10.88.0.12", "fd00:10:88::c", "10.88.0.12,fd00:10:88::c"),
        ("fd00:10:88::c", "10.88.0.12", "fd00:10:88::c,10.88.0.12"),
        ("fd00:10:88::c", "", "fd00:10:88::c"),
    ],
)
def test_a_node_has_all_of_its_addresses_as_kubelet_takes_them(
    primary: str, secondary: str, told: str
) -> None:
    own = replace(MACHINES[1], address=primary, secondary_address=secondary)
    assert host_vars(WORKER, own, None, None)["kubeadm_node_ip"] == told
    assert host_vars(WORKER, own, None, None)["node_hosts"] == {own.node: primary}


def test_a_node_has_its_connection_labels_and_taints() -> None:
    result = host_vars(WORKER, MACHINES[1], Path("/run/a b/ssh_config"), None)
    assert result["ansible_host"] == "dev-w-1"
    assert result["ansible_ssh_common_args"] == "-F '/run/a b/ssh_config'"
    assert result["ansible_user"] == "ops"
    assert result["kubeadm_node_ip"] == "10.88.0.12"
    assert result["kubeadm_node_labels"] == {"tier": "web"}
    assert result["kubeadm_node_taints"] == ["dedicated=db:NoSchedule"]
    assert "ansible_become" not in result


def test_no_taints_and_kubeadms_taints_are_two_things() -> None:
    none = Node(name="dev-w-1", role=Role.WORKER, taints=())
    assert host_vars(none, MACHINES[1], None, None)["kubeadm_node_taints"] == []
    assert "kubeadm_node_taints" not in host_vars(CP, MACHINES[0], None, None)


def test_what_a_node_had_more_of_is_taken_away() -> None:
    more = Node(
        name="dev-w-1",
        role=Role.WORKER,
        labels={"tier": "db", "old": ""},
        taints=(
            Taint(key="dedicated", value="web", effect="NoSchedule"),
            Taint(key="dedicated", value="db", effect="NoExecute"),
        ),
    )
    found = host_vars(WORKER, MACHINES[1], None, None, before=more)
    assert found["kubeadm_node_absent_labels"] == ["old"]
    assert found["kubeadm_node_absent_taints"] == ["dedicated:NoExecute"]
    assert found["kubeadm_node_taints"] == ["dedicated=db:NoSchedule"]
    same = host_vars(WORKER, MACHINES[1], None, None, before=WORKER)
    assert same == host_vars(WORKER, MACHINES[1], None, None)


def test_kubeadms_own_taint_comes_back_and_goes() -> None:
    own = "node-role.kubernetes.io/control-plane:NoSchedule"
    bare = replace(CP, taints=())
    back = host_vars(CP, MACHINES[0], None, None, before=bare)
    assert back["kubeadm_node_taints"] == [own]
    assert "kubeadm_node_absent_taints" not in back
    gone = host_vars(bare, MACHINES[0], None, None, before=CP)
    assert gone["kubeadm_node_taints"] == []
    assert gone["kubeadm_node_absent_taints"] == [own]


def test_a_machine_that_needs_sudo_gets_it() -> None:
    target = machine("dev-w-1", "10.88.0.12", become=True)
    assert host_vars(WORKER, target, None, None)["ansible_become"] is True


def test_a_machine_without_address_is_an_error() -> None:
    with pytest.raises(ProviderError, match='node "dev-w-1" has no address'):
        host_vars(WORKER, machine("dev-w-1", ""), None, None)


def test_groups_have_the_names_that_other_inventories_use() -> None:
    assert variables.group_of(Role.CONTROL_PLANE) == "kube_control_plane"
    assert variables.group_of(Role.WORKER) == "kube_node"


@pytest.mark.parametrize("takeover", [False, True])
def test_a_containerd_that_is_there_is_taken_over_where_the_host_says_so(takeover: bool) -> None:
    host = Host(address="192.0.2.1", containerd_takeover=takeover)
    found = host_vars(replace(WORKER, host=host), MACHINES[1], None, None)
    assert found.get("containerd_takeover", False) is takeover
