"""The filters: rendered text is parsed back."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest
import yaml
from ansible_collections.ohmykube.cluster.plugins.filter import containerd, kubeadm, problems
from ansible_collections.ohmykube.cluster.plugins.module_utils.kubeadm import render
from hypothesis import given
from hypothesis import strategies as st

from ohmykube.config import node_files

NODE: dict[str, Any] = {
    "cgroup_version": 2,
    "systemd": True,
    "in_container": False,
    "cap_sys_resource": True,
}
CONTAINER: dict[str, Any] = {
    **NODE,
    "cgroup_version": 1,
    "in_container": True,
    "cap_sys_resource": False,
}
SETTINGS: dict[str, Any] = {
    "kubernetes_version": "1.36.3",
    "node_name": "cp1",
    "node_ip": "10.0.0.11",
    "control_plane_endpoint": "10.0.0.11:6443",
    "pod_cidr": "10.1.0.0/16",
    "service_cidr": "10.2.0.0/16",
    "dns_domain": "cluster.local",
    "proxy_mode": "nftables",
    "image_pull_policy": "IfNotPresent",
}
RUNTIME = "io.containerd.cri.v1.runtime"


def init(node: dict[str, Any] = NODE, **more: Any) -> dict[str, dict[str, Any]]:
    documents = kubeadm.kubeadm_init_documents({**SETTINGS, **more}, node)
    parsed = [d for d in yaml.safe_load_all(render(documents)) if d is not None]
    assert parsed == documents
    return {document["kind"]: document for document in parsed}


def test_init_documents() -> None:
    found = init()
    cluster = found["ClusterConfiguration"]
    assert cluster["kubernetesVersion"] == "v1.36.3"
    assert cluster["networking"]["podSubnet"] == "10.1.0.0/16"
    assert cluster["networking"]["serviceSubnet"] == "10.2.0.0/16"
    assert cluster["controlPlaneEndpoint"] == "10.0.0.11:6443"
    assert "imageTag" not in cluster["etcd"]["local"]
    assert found["KubeProxyConfiguration"]["mode"] == "nftables"
    assert found["KubeletConfiguration"]["cgroupDriver"] == "systemd"
    assert "failCgroupV1" not in found["KubeletConfiguration"]
    assert "taints" not in found["InitConfiguration"]["nodeRegistration"]
    assert "ignorePreflightErrors" not in found["InitConfiguration"]["nodeRegistration"]


@pytest.mark.parametrize(
    ("node_ip", "primary"),
    [
        ("10.0.0.11", "10.0.0.11"),
        ("fd00::11", "fd00::11"),
        ("10.0.0.11,fd00::11", "10.0.0.11"),
        ("fd00::11,10.0.0.11", "fd00::11"),
    ],
)
def test_a_node_in_two_families_is_advertised_by_its_primary_one(
    node_ip: str, primary: str
) -> None:
    """The kubelet is told both; networks are handed on as they are."""
    networks = {"pod_cidr": "10.1.0.0/16,fd00:1::/56", "service_cidr": "10.2.0.0/16,fd00:2::/112"}
    settings = {**SETTINGS, **networks, "node_ip": node_ip}
    init = kubeadm.kubeadm_init_documents(settings, NODE)[0]
    join = kubeadm.kubeadm_join_document(settings, NODE, control_plane=True)
    assert init["localAPIEndpoint"] == {"advertiseAddress": primary}
    assert join["controlPlane"]["localAPIEndpoint"] == {"advertiseAddress": primary}
    for document in (init, join):
        told = document["nodeRegistration"]["kubeletExtraArgs"]
        assert {"name": "node-ip", "value": node_ip} in told
    cluster = kubeadm.kubeadm_init_documents(settings, NODE)[1]
    assert cluster["networking"]["podSubnet"] == networks["pod_cidr"]
    assert cluster["networking"]["serviceSubnet"] == networks["service_cidr"]


def test_system_container_with_cgroup_v1() -> None:
    found = init(CONTAINER)
    assert found["KubeletConfiguration"]["failCgroupV1"] is False
    assert found["KubeletConfiguration"]["failSwapOn"] is False
    assert found["KubeletConfiguration"]["cgroupDriver"] == "cgroupfs"
    assert found["KubeProxyConfiguration"]["conntrack"] == {"maxPerCore": 0, "min": 0}
    assert (
        "SystemVerification"
        in found["InitConfiguration"]["nodeRegistration"]["ignorePreflightErrors"]
    )


def test_patches_are_merged_last() -> None:
    found = init(
        CONTAINER,
        init_configuration={"nodeRegistration": {"criSocket": "unix:///x"}},
        cluster_configuration={"apiServer": {"certSANs": ["only.this"]}, "clusterName": "c"},
        kubelet_configuration={"failSwapOn": True, "evictionHard": {"memory.available": "5%"}},
        kube_proxy_configuration={"mode": "iptables", "conntrack": {"min": 7}},
        cert_sans=["a.example"],
    )
    assert found["InitConfiguration"]["nodeRegistration"]["criSocket"] == "unix:///x"
    assert found["InitConfiguration"]["nodeRegistration"]["name"] == "cp1"
    assert found["ClusterConfiguration"]["apiServer"]["certSANs"] == ["a.example", "only.this"]
    assert found["KubeletConfiguration"]["failSwapOn"] is True
    assert found["KubeProxyConfiguration"]["conntrack"] == {"maxPerCore": 0, "min": 7}


def test_machines_of_common_speed_keep_the_limits_of_kubeadm() -> None:
    found = init(slowdown=1)
    assert found == init()
    assert "timeouts" not in found["InitConfiguration"]
    assert "scheduler" not in found["ClusterConfiguration"]
    assert "encryptionAlgorithm" not in found["ClusterConfiguration"]
    assert "nodeLeaseDurationSeconds" not in found["KubeletConfiguration"]
    assert "timeouts" not in kubeadm.kubeadm_join_document(SETTINGS, NODE)


def test_slow_machines_get_more_time() -> None:
    found = init(slowdown=6, init_configuration={"timeouts": {"discovery": "7s"}})
    assert found["InitConfiguration"]["timeouts"] == {
        "controlPlaneComponentHealthCheck": "1440s",
        "kubeletHealthCheck": "1440s",
        "kubernetesAPICall": "1440s",
        "etcdAPICall": "720s",
        "tlsBootstrap": "1800s",
        "discovery": "7s",
    }
    cluster = found["ClusterConfiguration"]
    assert cluster["encryptionAlgorithm"] == "ECDSA-P256"
    for part in ("controllerManager", "scheduler"):
        given = {one["name"]: one["value"] for one in cluster[part]["extraArgs"]}
        assert given["leader-elect-lease-duration"] == "90s"
        assert given["leader-elect-renew-deadline"] == "60s"
        assert given["leader-elect-retry-period"] == "12s"
    given = {one["name"]: one["value"] for one in cluster["controllerManager"]["extraArgs"]}
    assert given["node-monitor-period"] == "30s"
    assert given["node-monitor-grace-period"] == "300s"
    kubelet = found["KubeletConfiguration"]
    assert kubelet["nodeStatusUpdateFrequency"] == "60s"
    assert kubelet["nodeLeaseDurationSeconds"] == 240
    arguments = found["InitConfiguration"]["nodeRegistration"]["kubeletExtraArgs"]
    assert {"name": "housekeeping-interval", "value": "60s"} in arguments
    asked = {one["name"]: one["value"] for one in cluster["apiServer"]["extraArgs"]}
    assert asked == {"etcd-healthcheck-timeout": "12s", "etcd-readycheck-timeout": "12s"}
    etcd = {one["name"]: one["value"] for one in cluster["etcd"]["local"]["extraArgs"]}
    assert etcd == {"heartbeat-interval": "600", "election-timeout": "6000"}
    join = kubeadm.kubeadm_join_document({**SETTINGS, "slowdown": 6}, NODE)
    assert join["timeouts"]["tlsBootstrap"] == "1800s"


def test_the_control_plane_of_slow_machines_is_not_killed_for_its_silence() -> None:
    assert kubeadm.kubeadm_patches(1) == []
    found = {one["path"]: json.loads(one["content"]) for one in kubeadm.kubeadm_patches(6)}
    directory = init(slowdown=6)["InitConfiguration"]["patches"]["directory"]
    assert set(found) == {
        f"{directory}/{part}-slow+strategic.json"
        for part in ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
    }
    ((container,),) = [found[f"{directory}/etcd-slow+strategic.json"]["spec"]["containers"]]
    assert container == {
        "name": "etcd",
        "livenessProbe": {"periodSeconds": 60, "timeoutSeconds": 90},
        "readinessProbe": {"periodSeconds": 6, "timeoutSeconds": 90},
        "startupProbe": {"timeoutSeconds": 90},
    }
    slow = {**SETTINGS, "slowdown": 6}
    plane = kubeadm.kubeadm_join_document(slow, NODE, control_plane=True)
    assert plane["patches"] == {"directory": directory}
    assert "patches" not in kubeadm.kubeadm_join_document(slow, NODE)
    assert "patches" not in init()["InitConfiguration"]


def test_etcd_is_not_told_more_than_it_takes() -> None:
    etcd = init(slowdown=90)["ClusterConfiguration"]["etcd"]["local"]["extraArgs"]
    assert {"name": "election-timeout", "value": "50000"} in etcd


def test_external_etcd_replaces_ours() -> None:
    external = {"endpoints": ["https://e:2379"]}
    found = init(cluster_configuration={"etcd": {"external": external}})
    assert found["ClusterConfiguration"]["etcd"] == {"external": external}


@pytest.mark.parametrize(
    ("taints", "expected"),
    [
        ([], []),
        (
            ["a=b:NoExecute", "c:NoSchedule"],
            [
                {"key": "a", "value": "b", "effect": "NoExecute"},
                {"key": "c", "effect": "NoSchedule"},
            ],
        ),
    ],
)
def test_taints(taints: list[str], expected: list[dict[str, str]]) -> None:
    found = init(node_taints=taints)
    assert found["InitConfiguration"]["nodeRegistration"]["taints"] == expected


@pytest.mark.parametrize(
    ("label", "own"),
    [
        ("kubernetes.io/hostname", True),
        ("kubernetes.io/arch", True),
        ("kubernetes.io/os", True),
        ("topology.kubernetes.io/region", True),
        ("topology.kubernetes.io/zone", True),
        ("node.kubernetes.io/instance-type", True),
        ("my.node.kubernetes.io/x", True),
        ("kubelet.kubernetes.io/x", True),
        ("topology.kubernetes.io/rack", False),
        ("kubernetes.io/x", False),
        ("node-role.kubernetes.io/worker", False),
        ("k8s.io/x", False),
        ("apps.k8s.io/x", False),
        ("notk8s.io/x", True),
        ("kubernetes.io", True),
        ("example.com/kubernetes.io", True),
    ],
)
def test_which_labels_a_kubelet_may_give_itself(label: str, own: bool) -> None:
    """As the admission plugin NodeRestriction of the API server has it."""
    assert kubeadm.self_labels({label: "v"}) == ({label: "v"} if own else {})
    assert kubeadm.is_restricted(label) is not own


def test_labels_that_a_kubelet_may_not_set() -> None:
    labels = {
        "a": "1",
        "node-role.kubernetes.io/x": "",
        "node.kubernetes.io/y": "2",
        "topology.kubernetes.io/zone": "z",
        "e.com/k": "3",
    }
    document = kubeadm.kubeadm_join_document({**SETTINGS, "node_labels": labels}, NODE)
    given = {a["name"]: a["value"] for a in document["nodeRegistration"]["kubeletExtraArgs"]}
    assert (
        given["node-labels"] == "a=1,e.com/k=3,node.kubernetes.io/y=2,topology.kubernetes.io/zone=z"
    )
    fresh = {"kubeadm_node": settled("w1", labels=labels)}
    assert kubeadm.kube_nodes_wanted([fresh]) == {
        "w1": {"labels": {"node-role.kubernetes.io/x": ""}, "taints": []}
    }
    has_joined = {"ansible_facts": {"ohmykube_node": {"joined": True}}}
    joined = {"kubeadm_node": settled("w1", labels=labels, taints=["a:NoExecute"]), **has_joined}
    nothing: dict[str, list[str]] = {"absent_labels": [], "absent_taints": []}
    assert kubeadm.kube_nodes_wanted([joined]) == {
        "w1": {"labels": labels, "taints": ["a:NoExecute"], **nothing}
    }
    bare = settled("w1", absent_labels=["b"], absent_taints=["b:NoExecute"])
    assert kubeadm.kube_nodes_wanted([{"kubeadm_node": bare}]) == {}
    assert kubeadm.kube_nodes_wanted([{"kubeadm_node": bare, **has_joined}]) == {
        "w1": {
            "labels": {},
            "taints": [],
            "absent_labels": ["b"],
            "absent_taints": ["b:NoExecute"],
        }
    }
    assert kubeadm.kube_nodes_wanted([{"kubeadm_node": settled("w2")}]) == {}


def settled(name: str, **given: Any) -> dict[str, Any]:
    """Return the fact ``kubeadm_node`` of a host."""
    bare = {"labels": {}, "taints": None, "absent_labels": [], "absent_taints": []}
    return {"name": name, "ip": "10.0.0.9", **bare, **given}


def test_join_document() -> None:
    worker = kubeadm.kubeadm_join_document(SETTINGS, NODE)
    assert worker["discovery"]["bootstrapToken"] == {"apiServerEndpoint": "10.0.0.11:6443"}
    assert "controlPlane" not in worker
    plane = kubeadm.kubeadm_join_document(
        {**SETTINGS, "join_configuration": {"timeouts": {"discovery": "1m"}}},
        NODE,
        control_plane=True,
    )
    assert plane["controlPlane"]["localAPIEndpoint"] == {"advertiseAddress": "10.0.0.11"}
    assert plane["timeouts"] == {"discovery": "1m"}


def containerd_toml(node: dict[str, Any], **more: Any) -> dict[str, Any]:
    settings = {
        "sandbox_image": "registry.k8s.io/pause:3.10.2",
        "cgroup_driver": "systemd",
        "restrict_oom_score_adj": "auto",
        "registry_config_path": "/etc/containerd/certs.d",
        **more,
    }
    return tomllib.loads(containerd.to_toml(containerd.containerd_config(settings, node)))


def test_containerd_config() -> None:
    config = containerd_toml(NODE)
    assert config["version"] == 3
    images = config["plugins"]["io.containerd.cri.v1.images"]
    assert images["pinned_images"]["sandbox"] == "registry.k8s.io/pause:3.10.2"
    assert images["registry"]["config_path"] == "/etc/containerd/certs.d"
    runc = config["plugins"][RUNTIME]["containerd"]["runtimes"]["runc"]
    assert runc["options"]["SystemdCgroup"] is True
    assert config["plugins"][RUNTIME]["restrict_oom_score_adj"] is False


@pytest.mark.parametrize(
    ("wanted", "expected"), [("auto", True), ("false", False), (True, True), ("True", True)]
)
def test_restrict_oom_score_adj(wanted: object, expected: bool) -> None:
    config = containerd_toml(CONTAINER, restrict_oom_score_adj=wanted)
    assert config["plugins"][RUNTIME]["restrict_oom_score_adj"] is expected


@pytest.mark.parametrize(("seconds", "written"), [(1, None), (60, "60s"), ("90", "90s")])
def test_containerd_stats_period(seconds: object, written: str | None) -> None:
    config = containerd_toml(NODE, stats_period=seconds)
    assert config["plugins"][RUNTIME].get("stats_collect_period") == written


def test_containerd_overrides() -> None:
    overrides = {
        "root": "/data",
        "plugins": {RUNTIME: {"enable_selinux": True}, "x.y": {"list": ["a", 1.5]}},
    }
    config = containerd_toml(NODE, overrides=overrides)
    assert config["root"] == "/data"
    assert config["plugins"][RUNTIME]["enable_selinux"] is True
    assert "containerd" in config["plugins"][RUNTIME]
    assert config["plugins"]["x.y"]["list"] == ["a", 1.5]


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
SCALAR = st.one_of(st.booleans(), st.integers(-(2**31), 2**31), TEXT)
TABLE = st.recursive(
    st.dictionaries(TEXT, st.one_of(SCALAR, st.lists(TEXT, max_size=3)), max_size=3),
    lambda inner: st.dictionaries(TEXT, st.one_of(SCALAR, inner), max_size=3),
    max_leaves=8,
)


@given(TABLE)
def test_toml_round_trip(table: dict[str, Any]) -> None:
    assert tomllib.loads(containerd.to_toml(table)) == table


def test_toml_arrays_of_tables() -> None:
    table = {"host": [{"a": 1}, {"b": {"c": True}}]}
    assert tomllib.loads(containerd.to_toml(table)) == table
    with pytest.raises(ValueError, match="TOML has no value"):
        containerd.to_toml({"a": None})


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("version", ["1.36.3", "1.37.0-rc.1"], ["v1.36.3", "1.36", ""]),
        (
            "cidr",
            ["10.0.0.0/8", "fd00::/64", "10.0.0.0/16,fd00::/64"],
            ["10.0.0.1/8", "010.0.0.0/8", "10.0.0.0", "x"],
        ),
        ("address", ["10.0.0.1", "fd00::1"], ["10.0.0.256", "host"]),
        (
            "endpoint",
            ["10.0.0.1:6443", "api.example:6443", "[fd00::1]:6443"],
            ["api", "api:0", "api:70000", ":6443", "a b:1"],
        ),
        (
            "url",
            ["http://h:1/x", "https://h", "file:///x"],
            ["ftp://h", "h", "http://h/ x", 'http://h"'],
        ),
        (
            "image",
            ["registry.k8s.io/pause:3.10.2", "h:5000/a/b@sha256:" + "0" * 64],
            ["pause", "A/b:1", "r.io/a:"],
        ),
        ("checksum", ["sha256:" + "0" * 64], ["sha256:00", "md5:" + "0" * 32]),
        (
            "taint",
            ["a=b:NoSchedule", "a:NoExecute", "k.io/a=:NoSchedule"],
            ["a", "a=b:Sometimes", "=b:NoExecute"],
        ),
        ("label_key", ["a", "k.io/a"], ["/a", "k.io/", "a b"]),
        ("label_value", ["", "a-b"], ["-a", "a b", "x" * 64]),
        ("dns_name", ["a", "a-b.c"], ["-a", "A", "a_b", ""]),
        ("sysctl", ["net.ipv4.ip_forward"], ["net", "net..x", "../x"]),
        ("interface", ["eth0"], ["a b", "x" * 16, "a/b"]),
    ],
)
def test_formats(kind: str, good: list[str], bad: list[str]) -> None:
    for value in good:
        assert problems.format_problems({"v": [kind, value]}) == [], value
    for value in bad:
        assert len(problems.format_problems({"v": [kind, value]})) == 1, value


def test_all_problems_at_once() -> None:
    found = problems.format_problems(
        {"a": ["cidr", ["x", "10.0.0.0/8"]], "b": ["tag", "", True], "c": ["address", None]}
    )
    assert found == [
        "a: 'x' is not a network such as 10.244.0.0/16 (no host bits, no leading zeros)",
        "c: None is not an IP address",
    ]


def _arguments(entries: list[dict[str, str]]) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in entries}


def _argument_lists(found: dict[str, dict[str, Any]]) -> dict[str, list[dict[str, str]]]:
    """Return every list of arguments of the documents, by its place."""
    lists: dict[str, list[dict[str, str]]] = {}

    def walk(value: Any, place: str) -> None:
        if isinstance(value, dict):
            for key, below in value.items():
                walk(below, f"{place}.{key}")
        if place.lower().endswith("extraargs"):
            lists[place] = value

    for kind, document in found.items():
        walk(document, kind)
    return lists


def _laid(place: str, entries: Any) -> dict[str, Any]:
    """Return the settings by which a user says something at a place of a document."""
    kind, *keys = place.split(".")
    value = entries
    for key in reversed(keys):
        value = {key: value}
    sections = {
        "ClusterConfiguration": "cluster_configuration",
        "InitConfiguration": "init_configuration",
        "JoinConfiguration": "join_configuration",
    }
    return {sections[kind]: value}


def _documents(node: dict[str, Any], **more: Any) -> dict[str, dict[str, Any]]:
    settings = {**SETTINGS, "slowdown": 6, "node_labels": {"a": "b"}, **more}
    found = init(node, **{key: settings[key] for key in settings.keys() - SETTINGS.keys()})
    return {**found, "JoinConfiguration": kubeadm.kubeadm_join_document(settings, node)}


PLACES = sorted(_argument_lists(_documents(CONTAINER)))


def test_our_arguments_stand_where_they_are_expected() -> None:
    assert PLACES == [
        "ClusterConfiguration.apiServer.extraArgs",
        "ClusterConfiguration.controllerManager.extraArgs",
        "ClusterConfiguration.etcd.local.extraArgs",
        "ClusterConfiguration.scheduler.extraArgs",
        "InitConfiguration.nodeRegistration.kubeletExtraArgs",
        "JoinConfiguration.nodeRegistration.kubeletExtraArgs",
    ]


@pytest.mark.parametrize("node", [NODE, CONTAINER])
@pytest.mark.parametrize("place", PLACES)
def test_a_users_arguments_stand_beside_ours(place: str, node: dict[str, Any]) -> None:
    """What a user adds to a list takes nothing away that our nodes need but what it names."""
    ours = _argument_lists(_documents(node))[place]
    for theirs in (
        [{"name": "v", "value": "4"}],
        [{"name": "x", "value": "1"}, {"name": "x", "value": "2"}],
        [],
        None,
    ):
        found = _argument_lists(_documents(node, **_laid(place, theirs)))
        assert found[place] == [*ours, *(theirs or [])]
        others = _argument_lists(_documents(node))
        assert {k: v for k, v in found.items() if k != place} == {
            k: v for k, v in others.items() if k != place
        }
    for entry in ours:
        if entry["name"] == "node-labels":
            continue  # these add up, see below
        mine = {"name": entry["name"], "value": "mine"}
        found = _argument_lists(_documents(node, **_laid(place, [mine])))
        assert _arguments(found[place]) == {**_arguments(ours), entry["name"]: "mine"}
        assert len(found[place]) == len(ours)


@pytest.mark.parametrize("kind", ["InitConfiguration", "JoinConfiguration"])
@pytest.mark.parametrize("theirs", [["NumCPU", "Mem"], ["Swap"], [], None])
def test_ignored_preflight_errors_are_those_of_both(kind: str, theirs: list[str] | None) -> None:
    """A node cannot help some of them, whatever else the user wants to be ignored."""
    field = "nodeRegistration.ignorePreflightErrors"
    ours = _documents(CONTAINER)[kind]["nodeRegistration"]["ignorePreflightErrors"]
    assert "SystemVerification" in ours
    found = _documents(CONTAINER, **_laid(f"{kind}.{field}", theirs))
    assert found[kind]["nodeRegistration"]["ignorePreflightErrors"] == [
        *ours,
        *(one for one in theirs or [] if one not in ours),
    ]


@pytest.mark.parametrize("kind", ["InitConfiguration", "JoinConfiguration"])
@pytest.mark.parametrize("theirs", [["all"], ["Swap", "ALL"], ["All", "NumCPU"]])
def test_all_preflight_errors_are_ignored_by_one_word(kind: str, theirs: list[str]) -> None:
    """With others beside it kubeadm refuses it."""
    place = f"{kind}.nodeRegistration.ignorePreflightErrors"
    found = _documents(CONTAINER, **_laid(place, theirs))
    assert found[kind]["nodeRegistration"]["ignorePreflightErrors"] == ["all"]


@pytest.mark.parametrize("kind", ["InitConfiguration", "JoinConfiguration"])
@pytest.mark.parametrize(
    ("theirs", "labels"),
    [
        (["c=d"], {"a": "b", "c": "d"}),
        (["a=mine"], {"a": "mine"}),
        (["a=mine,c=d", "e="], {"a": "mine", "c": "d", "e": ""}),
        ([""], {"a": "b"}),
    ],
)
def test_labels_of_a_node_are_those_of_both(
    kind: str, theirs: list[str], labels: dict[str, str]
) -> None:
    """As the kubelet reads its arguments: one after the other, in whatever order."""
    place = f"{kind}.nodeRegistration.kubeletExtraArgs"
    mine = [{"name": "node-labels", "value": value} for value in theirs]
    found = _argument_lists(_documents(NODE, **_laid(place, mine)))[place]
    values = [one["value"] for one in found if one["name"] == "node-labels"]
    for order in (values, values[::-1]):
        pairs = [label.partition("=") for value in order for label in value.split(",") if label]
        assert {key: value for key, _, value in pairs} == labels
    assert "node-ip" in {one["name"] for one in found}


@pytest.mark.parametrize("theirs", [["kube.corp.example"], ["a", "b"], [], None])
def test_names_in_the_certificate_are_those_of_both(theirs: list[str] | None) -> None:
    more = _laid("ClusterConfiguration.apiServer.certSANs", theirs)
    found = init(cert_sans=["127.0.0.1", "a"], **more)["ClusterConfiguration"]["apiServer"]
    assert set(found["certSANs"]) == {"127.0.0.1", "a", *(theirs or [])}
    assert len(found["certSANs"]) == len(set(found["certSANs"]))


def test_a_mapping_that_is_null_takes_nothing_away() -> None:
    found = init(cert_sans=["a"], cluster_configuration={"apiServer": None})
    assert found["ClusterConfiguration"]["apiServer"]["certSANs"] == ["a"]


def test_a_list_of_another_form_is_for_kubeadm_to_judge() -> None:
    mapping = {"apiServer": {"extraArgs": {"v": "4"}}}
    cluster = init(slowdown=6, cluster_configuration=mapping)["ClusterConfiguration"]
    assert cluster["apiServer"]["extraArgs"] == {"v": "4"}


@pytest.mark.parametrize("version", ["1.37.0", "9.9.9", "v1.2.0", ""])
def test_a_version_that_is_not_known_is_told_with_those_that_are(version: str) -> None:
    sums = {
        "runc": {"amd64": {"1.10.0": "a", "1.2.0": "b"}, "arm64": {"1.10.0": "c", "1.2.0": "d"}}
    }
    (said,) = problems.unknown_versions({"runc": ["runc_version", version]}, sums, "artifacts")
    assert said.startswith(f"runc_version: the checksums of {version} are not known")
    assert "1.2.0, 1.10.0" in said
    assert "artifacts" in said
    assert problems.unknown_versions({"runc": ["runc_version", "1.2.0"]}, sums, "artifacts") == []


@pytest.mark.parametrize("factor", [1, 6])
def test_patches_of_the_user_stand_beside_those_of_slow_nodes(factor: int) -> None:
    """They are files of other names, and kubeadm is told where on every node."""
    patches = [{"name": "etcd+merge.yaml", "content": "a: 1"}, {"name": "etcd.json", "sha256": "s"}]
    found = {
        one["path"]: one["content"] for one in kubeadm.kubeadm_patches(factor, patches, {"s": "{}"})
    }
    ours = {one["path"] for one in kubeadm.kubeadm_patches(factor)}
    assert found[f"{kubeadm.PATCHES}/etcd+merge.yaml"] == "a: 1"
    assert found[f"{kubeadm.PATCHES}/etcd.json"] == "{}"
    assert ours < {*found}
    assert len(found) == len(ours) + 2
    directory = {"directory": kubeadm.PATCHES}
    assert init(slowdown=factor, patches=patches)["InitConfiguration"]["patches"] == directory
    settings = {**SETTINGS, "slowdown": factor, "patches": patches}
    for plane in (False, True):
        joined = kubeadm.kubeadm_join_document(settings, NODE, control_plane=plane)
        assert joined["patches"] == directory


def test_files_of_the_user_are_not_shown() -> None:
    entries = [{"path": "/a", "content": "x", "mode": "0644"}, {"path": "/b", "sha256": "s"}]
    assert kubeadm.kubeadm_files(entries, {"s": "y"}) == [
        {"path": "/a", "content": "x", "mode": "0644", "sensitive": True},
        {"path": "/b", "content": "y", "mode": "0600", "sensitive": True},
    ]
    patch = {"name": "etcd.yaml", "sha256": "s"}
    paths = ["/a", "/b", f"{kubeadm.PATCHES}/etcd.yaml"]
    assert kubeadm.kubeadm_files([*entries, patch]) == [{"path": path} for path in paths]
    with pytest.raises(ValueError, match="/b has no content"):
        kubeadm.kubeadm_files(entries, {})


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        ("kube-apiserver.yaml", True),
        ("etcd0+json.json", True),
        ("corednsdeployment-a+merge.yaml", True),
        ("kubelet.yaml", False),
        ("etcd.yml", False),
        ("../etcd.yaml", False),
        ("etcd+other.yaml", False),
    ],
)
def test_patches_that_kubeadm_would_pass_over_are_told(name: str, *, fits: bool) -> None:
    found = problems.format_problems({"kubeadm_patches (name)": ["kubeadm_patch", [name]]})
    assert (found == []) is fits


def test_the_front_end_takes_patches_of_the_same_targets() -> None:
    """It judges the file before there is a node, and cannot import from the collection."""
    assert node_files.PATCH_TARGETS == problems.PATCHED
