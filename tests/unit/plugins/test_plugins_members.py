"""Which control plane speaks for a cluster, and when none is made."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ohmykube.cluster.plugins.filter import members

BARE: dict[str, Any] = {
    "joined": False,
    "control_plane": False,
    "begun": "",
    "default_ip": "10.0.0.9",
}
WORKER = {**BARE, "joined": True, "cluster_ca": "sha256:aa"}


def plane(ca: str = "sha256:aa", problem: str = "", **more: Any) -> dict[str, Any]:
    """Return the facts of a control plane."""
    return {
        **BARE,
        "joined": True,
        "control_plane": True,
        "cluster_ca": ca,
        "api_problem": problem,
        **more,
    }


def looked(host: str, facts: dict[str, Any] | None = None, msg: str = "") -> dict[str, Any]:
    """Return a result of node_info on a host outside the play."""
    result: dict[str, Any] = {"__kubeadm_host": host, "msg": msg}
    return result if facts is None else {**result, "ansible_facts": {"ohmykube_node": facts}}


PLANES = ["cp1", "cp2", "cp3"]


def choose(
    facts: dict[str, Any],
    *others: dict[str, Any],
    leaving: tuple[str, ...] = (),
    workers: tuple[str, ...] = (),
    foretold: tuple[str, ...] = (),
) -> dict[str, Any]:
    chosen: dict[str, Any] = members.kubeadm_choice(
        hosts(facts), PLANES, others, leaving, workers, foretold=foretold
    )
    return chosen


def hosts(facts: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the variables of hosts with these facts."""
    return [
        {"inventory_hostname": name, "ansible_facts": {"ohmykube_node": found} if found else {}}
        for name, found in facts.items()
    ]


def test_where_there_is_no_cluster_the_first_makes_it() -> None:
    chosen = choose(dict.fromkeys(("cp1", "cp2", "cp3", "w1"), BARE))
    assert (chosen["leader"], chosen["init"], chosen["problem"]) == ("cp1", True, "")
    assert chosen["look"] == []
    assert chosen["facts"] == BARE


@pytest.mark.parametrize("answering", PLANES)
def test_a_cluster_is_joined_whoever_has_it(answering: str) -> None:
    """Also when the first of the group is new: an inventory's order makes no second cluster."""
    facts = dict.fromkeys(PLANES, BARE) | {answering: plane()}
    chosen = choose(facts)
    assert (chosen["leader"], chosen["init"], chosen["problem"]) == (answering, False, "")
    assert chosen["look"] == []


def test_one_that_does_not_answer_is_passed_over() -> None:
    chosen = choose({"cp1": plane(problem="refused"), "cp2": plane(), "cp3": plane()})
    assert chosen["leader"] == "cp2"


def test_a_host_outside_the_play_may_have_the_cluster() -> None:
    assert choose({"w9": BARE})["look"] == PLANES
    chosen = choose({"w9": BARE}, looked("cp1", msg="no route"), looked("cp2", plane()))
    assert (chosen["leader"], chosen["problem"], chosen["look"]) == ("cp2", "", [])
    assert chosen["facts"] == plane()


def test_one_of_the_play_is_asked_before_others() -> None:
    chosen = choose({"cp3": plane()}, looked("cp1", plane()))
    assert chosen["leader"] == "cp3"


def test_those_that_were_just_started_are_looked_at_again() -> None:
    facts = {"cp1": plane(problem="refused"), "cp2": BARE, "cp3": BARE}
    assert choose(facts)["look"] == ["cp1"]
    again = choose(facts, looked("cp1", plane()))
    assert (again["leader"], again["problem"]) == ("cp1", "")


def test_when_none_answers_nothing_is_done() -> None:
    facts = {"cp1": BARE, "cp2": plane(problem="10.0.0.2:6443 does not answer: refused")}
    seen = (looked("cp2", facts["cp2"]), looked("cp3", msg="ssh: no route to host\n"))
    chosen = choose(facts, *seen)
    assert "none of its control planes answers" in chosen["problem"]
    assert "cp2: 10.0.0.2:6443 does not answer: refused" in chosen["problem"]
    assert "cp3: ssh: no route to host" in chosen["problem"]
    assert "journalctl" in chosen["problem"]
    assert not chosen["init"]


def test_while_one_is_unknown_no_cluster_is_made() -> None:
    chosen = choose({"cp2": BARE, "cp3": BARE}, looked("cp1", msg="timed out"))
    assert "a second one is not made: cp1: timed out" in chosen["problem"]
    assert not chosen["init"]


def test_a_host_of_the_play_without_facts_is_unknown() -> None:
    """As with a strategy in which hosts do not wait for each other."""
    chosen = choose({"cp1": {}, "cp2": BARE, "cp3": BARE})
    assert "cp1: it is in this play, but was not looked at" in chosen["problem"]


def test_two_clusters_in_one_group_are_refused() -> None:
    chosen = choose({"cp1": plane(), "cp2": plane("sha256:bb"), "cp3": BARE})
    assert "different clusters" in chosen["problem"]
    assert "cp1 (certificate authority sha256:aa)" in chosen["problem"]
    assert "cp2 (certificate authority sha256:bb)" in chosen["problem"]


FOREIGN = {**BARE, "cluster_ca": "sha256:ff"}


@pytest.mark.parametrize("limited", [False, True], ids=["whole play", "with --limit"])
@pytest.mark.parametrize("order", [PLANES, PLANES[::-1]], ids=["in order", "turned round"])
@pytest.mark.parametrize("member", [WORKER, FOREIGN], ids=["ours", "of others"])
@pytest.mark.parametrize("host", ["w1", "w2", "cp2", "cp3"])
def test_no_cluster_is_made_while_any_other_host_belongs_to_one(
    host: str, member: dict[str, Any], order: list[str], limited: bool
) -> None:
    """Whatever the order of the inventory, and also when the play is limited to the new host."""
    everyone = dict.fromkeys([*order, "w1", "w2"], BARE) | {host: member}
    play = {"cp1": BARE} if limited else everyone
    seen = tuple(looked(name, found) for name, found in everyone.items() if name not in play)
    chosen: dict[str, Any] = members.kubeadm_choice(
        hosts(play), order, seen if limited else (), (), ["w1", "w2"]
    )
    # The host itself may be the one that would make it: kubeadm_init refuses what it finds there.
    assert chosen["leader"] == host or (chosen["problem"] and not chosen["init"]), chosen
    if host not in PLANES:
        assert (
            f"{host} belongs to one (certificate authority {member['cluster_ca']})"
            in (chosen["problem"])
        )


def test_who_must_be_looked_at_before_a_cluster_is_made() -> None:
    """Workers too, but not where the play has nobody who could make one."""
    workers = ("w1", "w2")
    limited = choose({"cp1": BARE}, workers=workers)
    assert limited["look"] == ["cp2", "cp3", "w1", "w2"]
    assert choose({"w9": BARE}, workers=workers)["look"] == PLANES
    assert choose({"cp1": plane()}, workers=workers)["look"] == []
    whole = choose(dict.fromkeys((*PLANES, *workers), BARE), workers=workers)
    assert (whole["look"], whole["init"]) == ([], True)


def test_a_worker_that_cannot_be_looked_at_does_not_stop_the_first_cluster() -> None:
    seen = (looked("cp2", BARE), looked("cp3", BARE), looked("w1", msg="no route"))
    chosen = choose({"cp1": BARE}, *seen, workers=("w1",))
    assert (chosen["leader"], chosen["init"], chosen["problem"]) == ("cp1", True, "")


def test_a_join_that_has_begun_is_no_cluster_yet() -> None:
    begun = {**BARE, "begun": "join", "cluster_ca": "sha256:aa"}
    assert choose({**dict.fromkeys(PLANES, BARE), "w1": begun})["init"]


def test_without_a_control_plane_in_the_play_none_is_made() -> None:
    chosen = choose({"w1": BARE}, *(looked(host, BARE) for host in PLANES))
    assert "no control plane in this play" in chosen["problem"]


@pytest.mark.parametrize("host", ["cp2", "w1"])
def test_in_check_mode_later_batches_join_what_an_earlier_one_would_have_made(host: str) -> None:
    others = [looked(plane, BARE) for plane in PLANES if plane != host]
    chosen = choose({host: BARE}, *others, foretold=("cp1",))
    assert (chosen["leader"], chosen["init"], chosen["problem"]) == ("cp1", False, "")
    there = choose({host: BARE}, looked("cp3", plane()), *others[:1], foretold=("cp1",))
    assert there["leader"] == "cp3", "a cluster that is there is the cluster"


def test_who_has_begun_to_make_the_cluster_goes_on() -> None:
    begun = {**BARE, "begun": "init"}
    facts = {"cp1": BARE, "cp2": begun, "cp3": {**BARE, "begun": "join"}}
    assert (choose(facts)["leader"], choose(facts)["init"]) == ("cp2", True)
    outside = choose({"cp1": BARE, "cp3": BARE}, looked("cp2", begun))
    assert "cp2 has begun to make the cluster, and is not in this play" in outside["problem"]
    assert not outside["init"]


def test_a_cluster_of_others_is_one_too() -> None:
    chosen = choose({"cp1": BARE, "cp2": plane(joined=False), "cp3": BARE})
    assert (chosen["leader"], chosen["init"]) == ("cp2", False)


def test_a_group_without_hosts() -> None:
    assert "no host in the group" in members.kubeadm_choice(hosts({"w1": BARE}), [], [])["problem"]


def test_who_leaves_does_not_speak_for_the_cluster() -> None:
    facts = {"cp1": plane()}
    assert choose(facts, leaving=("cp1",))["look"] == PLANES
    chosen = choose(facts, looked("cp1", plane()), looked("cp2", plane()), leaving=("cp1",))
    assert (chosen["leader"], chosen["problem"]) == ("cp2", "")


def test_the_last_control_plane_does_not_leave() -> None:
    facts = {"cp1": plane()}
    seen = (looked("cp1", plane()), looked("cp2", BARE), looked("cp3", BARE))
    chosen = choose(facts, *seen, leaving=("cp1",))
    assert "cp1: it is about to leave" in chosen["problem"]


def test_nothing_leaves_where_there_is_no_cluster() -> None:
    facts = dict.fromkeys(PLANES, BARE)
    assert "has a cluster that a node could leave" in choose(facts, leaving=("cp1",))["problem"]


def test_nothing_leaves_while_no_control_plane_can_be_looked_at() -> None:
    seen = [looked(host, msg="no route") for host in PLANES]
    said = choose({"w1": WORKER}, *seen, leaving=("w1",))["problem"]
    assert said.startswith("no control plane was found that speaks for the cluster: cp1: no route")


def test_names_and_addresses() -> None:
    found = {"a": BARE, "b": {}, "c": WORKER, "d": plane(joined=False)}
    listed = [
        {
            "kubeadm_node": {"name": f"n-{host}", "ip": "10.1.1.1" if facts else ""},
            "ansible_facts": {"ohmykube_node": facts},
        }
        for host, facts in found.items()
    ]
    assert members.kubeadm_joining(listed) == {"n-a": "10.1.1.1", "n-b": ""}
    assert set(members.kubeadm_addresses(listed)) == {"n-a", "n-b", "n-c", "n-d"}


BEFORE = {
    "bare": {},
    "begun": {"joined": False, "begun": "join"},
    "joined": {"joined": True},
    "made": {"joined": True, "control_plane": True},
}


@pytest.mark.parametrize("plane", list(BEFORE))
@pytest.mark.parametrize("worker", list(BEFORE))
def test_who_has_yet_to_join_is_told_by_what_was_found_alone(plane: str, worker: str) -> None:
    """No cluster was looked at yet, so nothing else is known of a host."""
    found = {"cp1": BEFORE[plane], "w1": BEFORE[worker]}
    hosts = [
        {"inventory_hostname": name, "ansible_facts": {"ohmykube_node": facts} if facts else {}}
        for name, facts in found.items()
    ]
    new = {name for name, facts in found.items() if not facts.get("joined")}
    expected = "control_plane" if "cp1" in new else "worker" if new else "nobody"
    assert members.kubeadm_newcomers(hosts, ["cp1", "cp2"]) == expected


@pytest.mark.parametrize(
    ("pods", "expected"),
    [
        ("10.1.0.0/16", "10.0.0.9"),
        ("fd00:1::/56", "fd00::9"),
        ("10.1.0.0/16,fd00:1::/56", "10.0.0.9,fd00::9"),
        ("fd00:1::/56,10.1.0.0/16", "fd00::9,10.0.0.9"),
    ],
)
def test_a_node_that_was_given_no_address_has_one_of_each_family_of_pods(
    pods: str, expected: str
) -> None:
    """One that it does not have is left out; without IPv4 the other one is its default."""
    both = {"default_ip": "10.0.0.9", "default_ip6": "fd00::9"}
    assert members.kubeadm_default_addresses(both, pods) == expected
    only = {"default_ip": "fd00::9", "default_ip6": "fd00::9"}
    wanted = [one for one in expected.split(",") if ":" in one]
    assert members.kubeadm_default_addresses(only, pods) == ",".join(wanted)
    assert members.kubeadm_default_addresses({}, pods) == ""
