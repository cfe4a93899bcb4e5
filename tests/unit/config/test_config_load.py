"""Loading: files that cannot be read, hostile YAML, flags, what is imported."""

from __future__ import annotations

import os
import pickle
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ohmykube.config import load
from ohmykube.config.load import Overrides
from ohmykube.errors import ConfigError, ExitCode, PermissionDenied
from ohmykube.model.cluster import Host, Role, Taint

HEAD = "apiVersion: ohmykube.dev/v1\nkind: Cluster\n"


def problems(text: str | bytes, overrides: Overrides | None = None) -> tuple[str, ...]:
    """Return what is said about a text."""
    with pytest.raises(ConfigError) as caught:
        load.load_text(text, "c.yaml", overrides)
    return caught.value.problems or (caught.value.message, caught.value.why or "")


@pytest.mark.parametrize("name", ["none.yaml", "it's none.yaml", "$(id) ü.yaml", "a\\b.yaml"])
def test_missing_file_names_the_template(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with pytest.raises(ConfigError, match="there is no file") as caught:
        load.load_file(path)
    assert caught.value.exit_code is ExitCode.CONFIG
    assert caught.value.hint == f"ohmykube config template > {shlex.quote(str(path))}"


def test_directory_and_odd_path_are_no_files(tmp_path: Path) -> None:
    for path in (tmp_path, Path("a\0b")):
        with pytest.raises(ConfigError, match="cannot read"):
            load.load_file(path)


def test_unreadable_file_is_a_permission_error(public: Path) -> None:
    path = public / "secret.yaml"
    path.write_text(HEAD)
    path.chmod(0)
    code = (
        "import os, sys, pathlib; os.setuid(65534)\n"
        "from ohmykube.errors import PermissionDenied; from ohmykube.config import load\n"
        "try: load.load_file(pathlib.Path(sys.argv[1]))\n"
        "except PermissionDenied as error: print(error.message, int(error.exit_code))"
    )
    if os.getuid() != 0:
        with pytest.raises(PermissionDenied):
            load.load_file(path)
        return
    # imported as root first: the package may lie where nobody can read
    code = "import ohmykube.config.load, ohmykube.config.yaml_source\n" + code
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"cannot read {path} 9\n"


def test_big_file_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    path = tmp_path / "big.yaml"
    path.write_bytes(b"#" * 1_000_001)
    with pytest.raises(ConfigError) as caught:
        load.load_file(path)
    assert caught.value.why == "it has more than 1000000 bytes"
    path.write_bytes(HEAD.encode() + b"#" * (1_000_000 - len(HEAD)))
    assert load.load_file(path).name == "dev"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: [" + "x," * 10_001 + "]", "more than 10000 values"),
        ("- " * 100_000, "nested deeper than 50 levels"),
        ("[" * 300_000, "nested deeper than 50 levels"),
        ("{a: " * 100_000, "nested deeper than 50 levels"),
        ("--- a\n--- b\n", "it holds several documents (---); one cluster is one file"),
        ("a: !x 1", 'the tag "!x" is not allowed; plain values only'),
        ("a: ! 1", 'the tag "!" is not allowed; plain values only'),
    ],
)
def test_hostile_yaml(text: str, why: str) -> None:
    assert problems(text)[1] == why


def test_merge_bomb_is_refused() -> None:
    lines = ["a0: &a0 {k: 1}"]
    lines += [f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}" for n in range(1, 25)]
    assert problems("\n".join(lines))[1] == "its aliases expand to more than 10000 values"


def test_depth_of_fifty_is_accepted() -> None:
    patch = "{a: " * 45 + "1" + "}" * 45
    text = HEAD + f"spec: {{provider: {{name: nspawn, options: {patch}}}}}\n"
    assert load.load_text(text, "c.yaml").cluster.provider_options


def test_byte_order_mark_and_crlf_are_accepted() -> None:
    data = b"\xef\xbb\xbf" + (HEAD + "metadata: {name: x}\n").replace("\n", "\r\n").encode()
    assert load.load_text(data, "c.yaml").cluster.name == "x"


def test_utf16_is_not_utf8() -> None:
    assert "not UTF-8" in problems(HEAD.encode("utf-16"))[0]


def test_surrogates_from_a_pipe_are_not_utf8() -> None:
    assert "not UTF-8" in problems(HEAD + "a: \udcff")[0]


def test_all_problems_are_kept_but_few_are_shown() -> None:
    keys = ", ".join(f"k{n:02}: 1" for n in range(30))
    with pytest.raises(ConfigError) as caught:
        load.load_text(HEAD + f"spec: {{{keys}}}\n", "c.yaml")
    error = caught.value
    assert len(error.problems) == 30
    assert (error.why or "").splitlines()[-1] == "... and 23 more"
    assert len((error.why or "").splitlines()) == 8
    again = pickle.loads(pickle.dumps(error))
    assert again.problems == error.problems


def test_later_checks_run_beside_wrong_types() -> None:
    found = problems(
        HEAD + "spec:\n  network: {podCIDR: 10.0.0.0/16, serviceCIDR: 10.0.0.0/16}\n"
        "  nodes: {workers: {count: 2, names: [a], cpus: x}}\n"
    )
    assert [line.partition(",")[0] for line in found] == [
        "spec.network.serviceCIDR",
        "spec.nodes.workers.count",
        "spec.nodes.workers.cpus",
    ]


# -- merge and aliases -----------------------------------------------------------------------------


def test_merge_keys_follow_the_usual_order() -> None:
    text = HEAD + (
        "spec:\n  nodes:\n    controlPlane: &a {memory: 3GiB, cpus: 4, labels: {x: a}}\n"
        "    workers: {memory: 1GiB, <<: [*a, {cpus: 8, disk: 9GiB}], count: 1}\n"
    )
    cluster = load.load_text(text, "c.yaml").cluster
    (worker,) = cluster.workers
    assert (worker.memory_mib, worker.cpus, worker.disk_gib) == (1024, 4, 9)
    assert worker.labels == {"x": "a"}


# -- defaults and flags ----------------------------------------------------------------------------


def test_defaults_of_the_command_line() -> None:
    cluster = load.from_overrides(Overrides())
    assert (cluster.name, cluster.kubernetes_version, cluster.provider) == ("dev", "1.36.3", "auto")
    assert [node.name for node in cluster.nodes] == ["cp1", "w1", "w2"]
    assert {(n.cpus, n.memory_mib, n.disk_gib) for n in cluster.nodes} == {(2, 4096, 20)}
    assert all(node.taints is None and node.host is None for node in cluster.nodes)


def test_flags_win_over_the_file() -> None:
    text = HEAD + "metadata: {name: a}\nspec: {nodes: {workers: {count: 5, labels: {a: b}}}}\n"
    overrides = Overrides(
        name="b", kubernetes_version="v1.35", provider="nspawn", control_planes=3, workers=0,
        cpus=1.5, memory="3GiB", disk="8GiB", cni="none", proxy_mode="nftables",
        mirror="/srv/mirror", sources=("mirror",),
    )  # fmt: skip
    cluster = load.load_text(text, "c.yaml", overrides).cluster
    assert (cluster.name, cluster.kubernetes_version) == ("b", "1.35.4")
    assert [n.name for n in cluster.nodes] == ["cp1", "cp2", "cp3"]
    assert {(n.cpus, n.memory_mib, n.disk_gib) for n in cluster.nodes} == {(1.5, 3072, 8)}
    assert (cluster.network.cni, cluster.network.proxy_mode) == ("none", "nftables")
    assert (cluster.sources.order, cluster.sources.mirror) == (("mirror",), "/srv/mirror")


def test_a_wrong_flag_is_called_by_its_name() -> None:
    wrong = Overrides(name="..", workers=-1, kubernetes_version="1.2.3", proxy_mode="ipvs")
    with pytest.raises(ConfigError) as caught:
        load.from_overrides(wrong)
    assert caught.value.message == "the command line has 4 problems"
    assert [p.partition(":")[0] for p in caught.value.problems] == [
        "--name", "--kubernetes", "--proxy-mode", "--workers",
    ]  # fmt: skip


def test_a_flag_corrects_a_wrong_value() -> None:
    text = HEAD + "spec: {kubernetes: {version: 1.36}, nodes: {workers: {count: -1}}}\n"
    overrides = Overrides(kubernetes_version="1.36", workers=1)
    assert len(load.load_text(text, "c.yaml", overrides).cluster.workers) == 1


def test_flags_do_not_hide_a_file_of_the_wrong_shape() -> None:
    overrides = Overrides(workers=1, name="x", cni="none")
    found = problems(HEAD + "metadata: x\nspec: [1]\n", overrides)
    assert found == (
        'metadata, line 3: must be a mapping, got "x"',
        "spec, line 4: must be a mapping, got a list",
    )
    assert "workers[0]" in problems(HEAD + "spec: {nodes: {workers: [x]}}\n", overrides)[0]


def test_count_flag_does_not_choose_among_groups() -> None:
    text = HEAD + "spec: {nodes: {workers: [{}, {}]}}\n"
    with pytest.raises(ConfigError, match="--workers: cannot be used with several groups"):
        load.load_text(text, "c.yaml", Overrides(workers=1))
    text = HEAD + "spec: {nodes: {workers: [{cpus: 8}]}}\n"
    cluster = load.load_text(text, "c.yaml", Overrides(workers=1)).cluster
    assert [n.cpus for n in cluster.workers] == [8]


def test_overrides_know_whether_they_say_anything() -> None:
    assert not Overrides()
    assert Overrides(workers=0)


# -- what is built ---------------------------------------------------------------------------------

DATA = Path(__file__).parents[2] / "data" / "config"


def test_full_file_is_built_as_written() -> None:
    cluster = load.load_file(DATA / "valid-full.yaml")
    assert cluster.kubernetes_version == "1.37.2"
    assert [n.name for n in cluster.nodes] == [
        "cp1", "cp2", "cp3", "w1", "w2", "gpu1", "gpu2", "storage", "backup",
    ]  # fmt: skip
    gpu = cluster.nodes[5]
    assert (gpu.role, gpu.cpus, gpu.memory_mib, gpu.disk_gib) == (Role.WORKER, None, 1536, 20)
    assert gpu.taints == (
        Taint(key="dedicated", value="gpu", effect="NoSchedule"),
        Taint(key="lonely", effect="NoExecute"),
    )
    assert cluster.nodes[0].disk_gib == 10
    assert cluster.nodes[3].labels == {"example.com/pool": "a", "empty": ""}
    assert cluster.network.cert_sans == ("*.example.com", "192.0.2.1")
    assert cluster.sources.mirror == "https://mirror.example.com/omk"
    assert cluster.provider_options == {"anything": [1, "two"]}
    assert cluster.kubeadm.kubelet_configuration == {"maxPods": 200}


def test_ssh_hosts_take_the_defaults_they_do_not_override() -> None:
    cluster = load.load_file(DATA / "valid-ssh.yaml")
    first, second, third = (node.host for node in cluster.nodes)
    assert [n.name for n in cluster.nodes] == ["m1", "w1", "w2"]
    assert first == Host(
        address="192.0.2.11", port=2222, user="admin", identity_file=DATA / "keys" / "id",
        jump="me@bastion:22", become=True, node_ip="198.51.100.1",
    )  # fmt: skip
    assert second is not None
    assert second.host_key == (
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
    )
    assert third == Host(
        address="192.0.2.13", port=22, user="root", identity_file=Path("/k"), jump="other"
    )
    assert all(node.memory_mib is None for node in cluster.nodes)


def test_ini_inventory() -> None:
    cluster = load.load_file(DATA / "valid-ssh-inventory.yaml")
    assert [n.name for n in cluster.nodes] == ["m1", "n1", "w1"]
    hosts = [node.host for node in cluster.nodes]
    assert hosts == [
        Host(address="192.0.2.11", user="deploy", node_ip="198.51.100.1"),
        Host(address="192.0.2.12", user="other", port=2222, become=True),
        Host(address="192.0.2.13", user="deploy", identity_file=DATA / "keys" / "id"),
    ]


def test_yaml_inventory_with_a_host_in_both_groups() -> None:
    cluster = load.load_file(DATA / "valid-ssh-inventory-yaml.yaml")
    assert [(n.name, n.role) for n in cluster.nodes] == [
        ("m1", Role.CONTROL_PLANE),
        ("n1", Role.WORKER),
    ]
    assert cluster.workers[0].host == Host(
        address="192.0.2.12", user="deploy", port=2222, become=True
    )


def test_home_in_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/h")
    text = HEAD + (
        "spec:\n  provider: {name: ssh, ssh: {identityFile: ~/k}}\n  nodes:\n"
        "    controlPlane: {hosts: [{address: 192.0.2.1}, {address: 192.0.2.2, identityFile: "
        "~nobody-at-all/k}]}\n    workers: {count: 0}\n"
    )
    hosts = [n.host for n in load.load_text(text, "c.yaml").cluster.nodes]
    assert [h.identity_file for h in hosts if h] == [
        Path("/h/k"),
        Path.cwd() / "~nobody-at-all" / "k",
    ]


def test_warnings_are_returned() -> None:
    text = HEAD + (
        "spec:\n  nodes: {controlPlane: {count: 2, memory: 1GiB}}\n"
        "  network: {cni: none, flannel: {backend: host-gw}}\n"
    )
    warnings = load.load_text(text, "c.yaml").warnings
    assert len(warnings) == 4
    assert "2 control planes tolerate no more failures than 1" in warnings[0]
    text = HEAD + (
        "spec:\n  provider: {name: ssh}\n  nodes:\n    workers: {count: 0}\n"
        "    controlPlane: {cpus: 4, hosts: [{address: 192.0.2.1}]}\n"
    )
    assert load.load_text(text, "c.yaml").warnings == (
        "spec.nodes.controlPlane.cpus has no effect on machines that exist",
    )


def test_templates_stay_text() -> None:
    cluster = load.load_file(DATA / "valid-templates-are-data.yaml")
    assert cluster.provider_options["note"] == "{{ lookup('pipe', 'id') }}"
    assert "{% raw %}" in cluster.kubeadm.kubelet_configuration["evictionHard"]


def test_v1alpha1_is_converted() -> None:
    cluster = load.load_file(DATA / "valid-v1alpha1.yaml")
    assert (cluster.name, cluster.kubernetes_version, cluster.provider) == ("old", "1.36.3", "auto")
    assert [n.name for n in cluster.nodes] == ["cp1", "cp2", "cp3", "w1", "w2", "w3"]
    plane, *_rest, last = cluster.nodes
    assert (plane.cpus, plane.memory_mib, plane.disk_gib) == (2, 4096, 20)
    assert [str(t) for t in plane.taints or ()] == ["k=v:NoSchedule", "e:NoExecute"]
    assert plane.labels == {"tier": "cp"}
    assert last.cpus == 4
    network = cluster.network
    assert (network.pod_cidr, network.service_cidr) == ("10.245.0.0/16", "10.112.0.0/12")
    assert network.proxy_mode == "iptables"
    plain = load.load_file(DATA / "valid-v1alpha1-plain.yaml", Overrides(cpus=3))
    assert [(n.name, n.cpus) for n in plain.nodes] == [("cp1", 3)]
    assert plain.provider == "nspawn"


def test_nothing_heavy_is_imported_before_a_file_is_read() -> None:
    code = (
        "import sys, ohmykube.config.load, ohmykube.model.cluster, ohmykube.state.store\n"
        "print([m for m in ('pydantic', 'yaml', 'jinja2', 'ansible') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_unknown_provider_names_those_that_are_installed() -> None:
    (problem,) = problems(HEAD + "spec: {provider: {name: vmware, options: {a: 1}}}\n")
    start = "spec.provider.name, line 3: must be one of auto, lima, nspawn, ssh"
    assert problem.startswith(start)
    assert problem.endswith('got "vmware"')
