"""What hosts of a play know of each other, wherever variables were given, and when; no nodes.

The rule: a host sees of another one its facts, and never its variables, so what a node is counts as
it was settled on that node. And who needs what others found out one task before refuses a play in
which they do not wait for each other.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.e2e import playbooks
from tests.e2e import test_packaging as packaging

if TYPE_CHECKING:
    from pathlib import Path

HOSTS = {"Master_01": "masters", "minion.A": "minions", "minion-B": "minions"}
ROLE = "ohmykube.cluster.kubeadm"
BARE = {"joined": True, "control_plane": False, "default_ip": "192.0.2.9", "kubernetes_version": ""}
FOUND = {
    **BARE,
    "control_plane": "{{ inventory_hostname == 'Master_01' }}",
    "api_problem": "",
    "cluster_ca": "sha256:aa",
}
GROUPS = {"kubeadm_control_plane_group": "masters", "kubeadm_worker_group": "minions"}
NODE = {
    "kubeadm_node_name": "{{ inventory_hostname | lower | replace('_', '-') }}.example.com",
    "kubeadm_node_ip": "10.9.0.{{ groups['all'].index(inventory_hostname) + 1 }}",
    "kubeadm_node_labels": {"example.com/of": "{{ inventory_hostname }}", "text": "a b"},
    "kubeadm_node_taints": ["example.com/of={{ inventory_hostname }}:NoSchedule"],
    "kubeadm_node_absent_labels": ["old-{{ inventory_hostname }}"],
    "kubeadm_node_absent_taints": ["old:NoExecute"],
}
CLUSTER = {
    "kubeadm_pod_cidr": "10.42.0.0/16",
    "kubeadm_service_cidr": "10.43.0.0/16",
    "kubeadm_dns_domain": "estate.example",
    "kubeadm_control_plane_endpoint": "",
}
GIVEN = {**NODE, **CLUSTER}
KNOWN = {"ansible.builtin.set_fact": {"ohmykube_node": FOUND, "cacheable": True}}
SHOWN = {
    "ansible.builtin.debug": {
        "msg": {
            "known": "{{ ansible_play_batch | map('extract', hostvars, 'kubeadm_node') | list }}",
            "wanted": "{{ ansible_play_batch | map('extract', hostvars)"
            " | ohmykube.cluster.kube_nodes_wanted }}",
            "addresses": "{{ ansible_play_batch | map('extract', hostvars)"
            " | ohmykube.cluster.kubeadm_addresses }}",
            "cluster": "{{ kubeadm_cluster }}",
            "user": "{{ kubeadm_node_name | default('not set') }}",
        }
    }
}
NETWORK = {
    "ansible.builtin.include_role": {
        "name": "ohmykube.cluster.flannel",
        "tasks_from": "assert",
        "public": True,
        "rolespec_validate": False,
    }
}
FLANNEL = {"ansible.builtin.debug": {"msg": {"network": "{{ flannel_network }}"}}}


def settle(**more: Any) -> list[dict[str, Any]]:
    """Return the tasks of the role that look at the cluster and settle what is what."""
    names = ("cluster", "settle")
    include = {"name": ROLE, "rolespec_validate": False}
    return [
        {"ansible.builtin.include_role": {**include, "tasks_from": name}, **more} for name in names
    ]


def as_fact(variables: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"ansible.builtin.set_fact": {name: value}} for name, value in variables.items()]


# How a user may give variables: keys of the play, its tasks.
SOURCES: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {
    "inventory": ({}, settle()),
    "vars-of-the-play": ({"vars": GROUPS | GIVEN}, settle()),
    "vars-files": ({"vars_files": ["given.yml"], "vars": GROUPS}, settle()),
    "vars-of-a-task": ({"vars": GROUPS}, settle(vars=GIVEN)),
    "vars-of-a-block": ({"vars": GROUPS}, [{"block": settle(), "vars": GIVEN}]),
    "facts": ({"vars": GROUPS}, [*as_fact(GIVEN), *settle()]),  # last, as they stay
}


def hosts(variables: dict[str, Any]) -> dict[str, Any]:
    """Return an inventory of all hosts."""
    found: dict[str, Any] = {group: {"hosts": {}} for group in HOSTS.values()}
    for name, group in HOSTS.items():
        found[group]["hosts"][name] = {"ansible_connection": "local"}
    return {**found, "all": {"vars": variables}}


def ansible(place: Path, plays: list[Any], variables: dict[str, Any], *more: str) -> str:
    """Run plays; return what Ansible says."""
    (place / "hosts.yml").write_text(yaml.safe_dump(hosts(variables), sort_keys=False))
    (place / "given.yml").write_text(yaml.safe_dump(GIVEN))
    (place / "play.yml").write_text(yaml.safe_dump(plays, sort_keys=False))
    said = playbooks.without_nodes(place, *more, ANSIBLE_INJECT_FACT_VARS="false")
    return "".join(said)


def messages(text: str) -> list[Any]:
    """Return what ``debug`` showed of each host, in order."""
    found = re.findall(r"^ok: \[\S+\] => (\{.*?^\})", text, re.MULTILINE | re.DOTALL)
    return [json.loads(one)["msg"] for one in found]


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """Return what is known at the end of a play, by source of the variables; two runs for all."""
    place = tmp_path_factory.mktemp("facts")
    plays = {
        name: {
            "name": name,
            "hosts": "all",
            "gather_facts": False,
            **play,
            "tasks": [KNOWN, *tasks, SHOWN],
        }
        for name, (play, tasks) in SOURCES.items()
    }
    later = {"name": "later", "hosts": "all", "gather_facts": False, "tasks": [NETWORK, FLANNEL]}
    said = ansible(place, [plays.pop("inventory")], GROUPS | GIVEN)
    said += ansible(place, [*list(plays.values())[:-1], later, plays["facts"]], {})
    parts = re.split(r"^PLAY \[(.*?)\] \*+$", said, flags=re.MULTILINE)[1:]
    found: dict[str, list[Any]] = {}
    for name, text in zip(parts[::2], parts[1::2], strict=True):
        found.setdefault(name, []).extend(messages(text))
    return found


def expected(host: str) -> dict[str, Any]:
    """Return the fact ``kubeadm_node`` of a host."""
    name = f"{host.lower().replace('_', '-')}.example.com"
    ip = f"10.9.0.{list(HOSTS).index(host) + 1}"
    return {
        "name": name,
        "ip": ip,
        "addresses": ip,
        "labels": {"example.com/of": host, "text": "a b"},
        "taints": [f"example.com/of={host}:NoSchedule"],
        "absent_labels": [f"old-{host}"],
        "absent_taints": ["old:NoExecute"],
    }


@pytest.mark.parametrize("source", SOURCES)
def test_each_host_knows_what_the_others_were_given(
    shown: dict[str, list[Any]], source: str
) -> None:
    seen = shown[source]
    assert len(seen) == len(HOSTS)
    nodes = {one["name"]: one for one in map(expected, HOSTS)}
    for message in seen:
        assert message["known"] == list(nodes.values())
        assert message["addresses"] == {name: node["ip"] for name, node in nodes.items()}
        assert set(message["wanted"]) == set(nodes)
        for name, node in nodes.items():
            assert message["wanted"][name]["labels"] == node["labels"]
            assert message["wanted"][name]["taints"] == node["taints"]
        assert message["cluster"] == {
            "api_endpoint": "10.9.0.1:6443",
            "pod_cidr": "10.42.0.0/16",
            "service_cidr": "10.43.0.0/16",
            "dns_domain": "estate.example",
        }


def test_what_was_settled_counts_in_later_plays(shown: dict[str, list[Any]]) -> None:
    assert shown["later"] == [{"network": "10.42.0.0/16"}] * len(HOSTS)


def test_no_variable_of_the_user_is_set(shown: dict[str, list[Any]]) -> None:
    """What was given for one task is gone after it."""
    assert {message["user"] for message in shown["vars-of-a-task"]} == {"not set"}


OTHERWISE: dict[str, tuple[dict[str, Any], str]] = {
    "nothing-given": ({}, ""),
    "as-it-is": ({"kubeadm_pod_cidr": "10.1.0.0/16", "kubeadm_node_name": "own"}, ""),
    "other-pods": ({"kubeadm_pod_cidr": "10.2.0.0/16"}, "pod_cidr: it is 10.1.0.0/16 here"),
    "by-kubeadms-own-field": (
        {"kubeadm_cluster_configuration": {"networking": {"podSubnet": "10.2.0.0/16"}}},
        "kubeadm_pod_cidr: it is 10.1.0.0/16 here, stays so, and cannot become 10.2.0.0/16",
    ),
    "other-services": ({"kubeadm_service_cidr": "10.4.0.0/16"}, "service_cidr: it is 10.3.0.0/16"),
    "other-domain": ({"kubeadm_dns_domain": "b.test"}, "kubeadm_dns_domain: it is a.test here"),
    "other-endpoint": (
        {"kubeadm_control_plane_endpoint": "b.test:6443"},
        "kubeadm_control_plane_endpoint: it is a.test:6443 here",
    ),
    "other-name": ({"kubeadm_node_name": "other"}, "kubeadm_node_name: it is own here"),
}


@pytest.fixture(scope="module")
def otherwise(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return what is said of variables for a cluster that exists; one run for all."""
    place = tmp_path_factory.mktemp("otherwise")
    settled = {
        "pod_cidr": "10.1.0.0/16",
        "service_cidr": "10.3.0.0/16",
        "dns_domain": "a.test",
        "cluster_endpoint": "a.test:6443",
        "node_name": "own",
    }
    known = {"ansible.builtin.set_fact": {"ohmykube_node": FOUND | settled, "cacheable": True}}
    plays = [
        {
            "name": name,
            "hosts": "Master_01",
            "gather_facts": False,
            "vars": GROUPS | given,
            "tasks": [known, *settle(ignore_errors=True)],
        }
        for name, (given, _) in OTHERWISE.items()
    ]
    for play in plays:
        play["tasks"] = [{"block": play["tasks"], "ignore_errors": True}]
    said = ansible(place, plays, {})
    parts = re.split(r"^PLAY \[(.*?)\] \*+$", said, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


@pytest.mark.parametrize("case", OTHERWISE)
def test_what_would_not_come_about_is_refused(otherwise: dict[str, str], case: str) -> None:
    """What a cluster has stays; a variable that says otherwise is named."""
    _, expected = OTHERWISE[case]
    assert ("fatal: " in otherwise[case]) is bool(expected), otherwise[case]
    assert expected in otherwise[case]


ENTRIES = ("main", "init", "join", "remove")
STRATEGIES = {
    "linear": False,
    "ansible.builtin.linear": False,
    "debug": False,
    "free": True,
    "ansible.builtin.free": True,
    "host_pinned": True,
    "ansible.builtin.host_pinned": True,
}


@pytest.fixture(scope="module")
def strategies(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, bool], list[str]]:
    """Return what hosts are told under each strategy, together and one by one; one run for all."""
    place = tmp_path_factory.mktemp("strategies")
    check = {"ohmykube.cluster.assert_lockstep": {}, "register": "found", "ignore_errors": True}
    show = {"ansible.builtin.debug": {"msg": "{{ found.msg | default(found.strategy) }}"}}
    plays = [
        {
            "name": f"{strategy} {alone}",
            "hosts": "all",
            "gather_facts": False,
            "strategy": strategy,
            **({"serial": 1} if alone else {}),
            "tasks": [check, show],
        }
        for strategy in STRATEGIES
        for alone in (False, True)
        if strategy != "debug"  # it asks the user on a failure
    ]
    said = ansible(place, plays, {})
    parts = re.split(r"^PLAY \[(.*?)\] \*+$", said, flags=re.MULTILINE)[1:]
    found: dict[tuple[str, bool], list[str]] = {}
    for name, text in zip(parts[::2], parts[1::2], strict=True):
        strategy, alone = name.split()
        found.setdefault((strategy, alone == "True"), []).extend(messages(text))
    return found


@pytest.mark.parametrize("strategy", [name for name in STRATEGIES if name != "debug"])
def test_hosts_that_need_each_other_refuse_to_run_ahead(
    strategies: dict[tuple[str, bool], list[str]], strategy: str
) -> None:
    together, alone = strategies[strategy, False], strategies[strategy, True]
    assert alone == [strategy] * len(HOSTS), "one host has nobody to wait for"
    if STRATEGIES[strategy]:
        assert len(together) == len(HOSTS)
        for said in together:
            assert said.startswith(f"under the strategy {strategy} the hosts of this play")
            assert "`strategy: linear`" in said
    else:
        assert together == [strategy] * len(HOSTS)


@pytest.mark.parametrize("entry", ENTRIES)
def test_each_entry_point_refuses_before_anything_else(entry: str) -> None:
    """Those that leave a host with others: the rest of the role works on each host by itself."""
    tasks = yaml.safe_load((packaging.ROOT / "roles/kubeadm/tasks" / f"{entry}.yml").read_text())
    first = tasks[0]
    if imported := first.get("ansible.builtin.import_tasks"):
        path = packaging.ROOT / "roles/kubeadm/tasks" / imported["file"]
        first = yaml.safe_load(path.read_text())[0]
    assert "ohmykube.cluster.assert_lockstep" in first


@pytest.mark.parametrize(
    "path", sorted((packaging.ROOT / "playbooks").glob("*.yml")), ids=lambda path: path.stem
)
def test_playbooks_do_not_depend_on_settings_of_the_user(path: Path) -> None:
    """Another strategy in ansible.cfg is for plays that say nothing."""
    for play in yaml.safe_load(path.read_text()):
        assert play["strategy"] == "ansible.builtin.linear"
