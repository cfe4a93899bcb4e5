"""Each command: what it calls, what it prints where, and its exit code."""

from __future__ import annotations

import dataclasses
import io
import json
import re
import sys

import pytest
import yaml

from ohmykube import __main__, __version__
from ohmykube.cli import _root
from ohmykube.cli.cluster import kubeconfig, texts
from ohmykube.cli.config import config as config_group
from ohmykube.errors import ExitCode
from ohmykube.kit.sudo_user import SudoUser
from ohmykube.model import change
from ohmykube.model.cluster import Role
from ohmykube.model.outside import Outside
from ohmykube.providers.base import Check, CheckStatus
from ohmykube.ui import console
from ohmykube.workflows import copy
from ohmykube.workflows.up_values import UpResult
from tests.data.cli.fake_cli import KUBECONFIG, NODES, REFUSED
from tests.unit.cli.conftest import logs

EVERY = [(name,) for name in _root.TABLE] + [
    ("config", name) for name in config_group.list_commands(None)
]
CALLED = "this host is host.ohmykube.internal to them."
READ_ONLY = (
    ("--version",), ("--help",), ("list",), ("status",), ("kubeconfig",), ("kubeconfig", "--path"),
    ("version",), ("help", "exit-codes"), ("completion", "bash"), ("doctor",),
    ("plan",), ("up", "--plan"), ("config", "template"), ("config", "schema"),
    ("shell", "n", "--", "true"), ("cp", "n:/a", "b"), ("cp", "b", "n:/a"),
)  # fmt: skip


@pytest.mark.parametrize("words", EVERY, ids=" ".join)
def test_help_of_every_command(cli, words) -> None:
    for flag in ("-h", "--help"):
        outcome = cli(*words, flag)
        assert (outcome.code, outcome.err) == (0, "")
        assert all(len(line) <= 80 for line in outcome.out.splitlines())
        assert "Examples:" in outcome.out
        assert outcome.out.index("Examples:") < outcome.out.index("Options:")
    assert cli("help", *words).out.splitlines()[0] == outcome.out.splitlines()[0]


@pytest.mark.parametrize("words", EVERY, ids=" ".join)
def test_examples_begin_with_the_command_itself(words) -> None:
    group = _root.group()
    command = group.get_command(None, words[0])
    if len(words) == 2:
        command = config_group.get_command(None, words[1])
    assert any("ohmykube " + " ".join(words) in example for example in command.examples)


@pytest.mark.parametrize("words", READ_ONLY, ids=" ".join)
def test_read_only_commands_leave_no_trace(cli, home, words) -> None:
    outcome = cli(*words)
    assert outcome.code == 0, outcome.err
    assert not home.exists()


@pytest.mark.parametrize("words", [(), ("config",)])
def test_nothing_given_shows_the_overview(cli, words) -> None:
    outcome = cli(*words)
    assert outcome.code == 0
    assert "Examples:" in outcome.out
    assert outcome.err == ""


def test_version(cli, monkeypatch, capsys) -> None:
    assert cli("--version").out == f"ohmykube {__version__}\n"
    assert cli("version").out.splitlines()[0] == f"ohmykube {__version__}"
    assert cli("version", "-o", "json").document["ohmykube"] == __version__
    assert __main__.main(["--version"]) == 0
    assert capsys.readouterr().out == f"ohmykube {__version__}\n"
    monkeypatch.setattr(sys, "argv", ["ohmykube", "help", "exit-codes"])
    assert __main__.main() == 0


def test_a_distribution_that_is_not_there() -> None:
    from ohmykube.cli.version import _installed

    assert _installed("no-such-distribution-here") == "not installed"


def test_up_without_a_file(cli, fakes, home) -> None:
    outcome = cli("up", "--timeout", "30")
    assert outcome.code == 0
    assert outcome.out.startswith('Cluster "dev" is ready: 3 nodes, 41s\n')
    assert outcome.out.endswith("export KUBECONFIG=/state/dev/kubeconfig\n  kubectl get nodes\n")
    assert outcome.err == ""
    (call,) = fakes.calls
    assert call[1].name == "dev"
    assert (len(call[1].control_planes), len(call[1].workers)) == (1, 2)
    assert call[2].wait_seconds == 30.0
    assert not call[2].plan_only
    (log,) = logs(home)
    assert log.stat().st_mode & 0o777 == 0o600
    assert log.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("outside", "said"),
    [
        (Outside(everything=True), f"reach all that this host reaches; {CALLED}"),
        (Outside(host_ports=(80,)), f"reach port 80 of this host; {CALLED}"),
        (Outside(), "reach nothing outside of the cluster."),
        (None, ""),
    ],
)
def test_up_ends_with_what_nodes_reach(outside, said) -> None:
    """Where the provider decides it."""
    text = texts.up(
        UpResult(
            cluster="dev",
            changed=True,
            nodes=(),
            kubeconfig=None,
            context="dev",
            seconds=1,
            plan=change.Plan(),
            kubectl="kubectl",
            outside=outside,
        )
    )
    assert text.endswith(f"\n  Nodes and pods {said}\n" if said else "STATE\n")


def test_up_flags_reach_the_cluster(cli, fakes) -> None:
    outcome = cli(
        "up", "--name", "lab", "--workers", "0", "--control-planes", "3", "--provider", "nspawn",
        "--cni", "none", "--proxy-mode", "nftables", "--mirror", "https://mirror.example/omk",
        "--cpus", "2", "--memory", "2GiB",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    cluster = fakes.calls[0][1]
    assert (cluster.name, cluster.provider) == ("lab", "nspawn")
    assert (len(cluster.control_planes), len(cluster.workers)) == (3, 0)
    assert (cluster.network.cni, cluster.network.proxy_mode) == ("none", "nftables")
    assert cluster.sources.mirror == "https://mirror.example/omk"
    assert (cluster.nodes[0].cpus, cluster.nodes[0].memory_mib) == (2.0, 2048)


def test_up_again_says_that_nothing_changed(cli, fakes) -> None:
    fakes.changed = False
    assert 'Cluster "dev" is up to date: 3 nodes, nothing changed (41s)' in cli("up").out


PLANS = pytest.mark.parametrize("words", [("plan",), ("up", "--plan")], ids=" ".join)


@PLANS
def test_a_plan_changes_nothing_and_tells_everything(cli, fakes, words) -> None:
    outcome = cli(*words)
    assert outcome.code == 0
    assert fakes.calls[0][2].plan_only
    lines = [re.sub(r" {3,}", " | ", line) for line in outcome.out.splitlines()]
    assert lines == [
        'Plan for cluster "dev"',
        "",
        "DO | WHAT | CHANGE",
        "+ | node dev-worker-1 | create a worker",
        "~ | node dev-worker-2 | start its machine: it is stopped",
        "~ | spec.nodes.workers.memory (dev-worker-2) | 4096MiB -> 2048MiB",
        "~ | node dev-worker-1 | configure: /etc/a is gone; b; c; and 1 more",
        "- | node dev-worker-3 | delete a worker: nobody wants it",
        "~ | spec.artifacts.mirror | not set -> /srv/mirror (nothing in the cluster changes)",
    ]
    found = cli(*words, "-o", "json").document
    assert [(one["kind"], one["node"]) for one in found["changes"]] == [
        ("CreateNode", "dev-worker-1"),
        ("StartNode", "dev-worker-2"),
        ("ReconfigureNode", "dev-worker-2"),
        ("ConfigureNode", "dev-worker-1"),
        ("DeleteNode", "dev-worker-3"),
        ("UpdateSetting", None),
    ]
    assert [one["reasons"] for one in found["changes"][2:5]] == [
        [], ["/etc/a is gone", "b", "c", "d"], ["nobody wants it"],
    ]  # fmt: skip
    memory = found["changes"][2]
    assert (memory["field"], memory["old"], memory["new"]) == (
        "spec.nodes.workers.memory", "4096MiB", "2048MiB",
    )  # fmt: skip
    assert found["refused"] == []


def test_a_plan_tells_of_machines_and_of_the_cluster(cli, fakes) -> None:
    fakes.plan = change.Plan(
        changes=(
            change.CreateNode(node="cp1", role=Role.CONTROL_PLANE),
            change.RepairNode(node="w1"),
            change.ReconfigureCluster(
                field="spec.network.flannel.backend", old="vxlan", new="host-gw"
            ),
            change.FinishRun(),
        )
    )
    lines = [re.sub(r" {3,}", " | ", line) for line in cli("plan").out.splitlines()]
    assert lines[3:] == [
        "+ | node cp1 | create a control plane",
        "~ | node w1 | make its machine whole: it is half made",
        "~ | spec.network.flannel.backend | vxlan -> host-gw",
        "~ | cluster | configure the nodes: the last run did not end",
    ]
    found = cli("plan", "-o", "json").document["changes"]
    assert (found[-1]["node"], found[-1]["field"], found[-1]["old"]) == (None, None, None)


@PLANS
def test_the_exit_code_of_a_plan(cli, fakes, words) -> None:
    assert cli(*words, "--exit-code").code == ExitCode.CHANGES
    assert cli(*words, "--exit-code", "-o", "json").document["changes"]
    fakes.plan = change.Plan(changes=fakes.plan.deletions)
    assert cli(*words, "--exit-code").code == ExitCode.CHANGES
    fakes.plan = change.Plan()
    outcome = cli(*words, "--exit-code")
    assert (outcome.code, outcome.out) == (0, 'Cluster "dev" is as described: nothing to do\n')


@PLANS
def test_a_plan_shows_what_is_refused_and_fails(cli, fakes, words) -> None:
    fakes.plan = REFUSED
    for more in ((), ("--exit-code",)):
        outcome = cli(*words, *more)
        assert outcome.code == ExitCode.CONFIG
        assert "10.244.0.0/16 -> 10.1.0.0/16: refused" in outcome.out
        assert "error[OMK-C-180]" in outcome.err
        told = outcome.out + outcome.err
        assert told.count("it is fixed when the cluster is made") == 1
        assert told.count("`ohmykube down dev` removes this") == 1
    outcome = cli(*words, "-o", "json")
    assert outcome.code == ExitCode.CONFIG
    (refused,) = outcome.document["refused"]
    assert (refused["field"], refused["wayOut"]) == (
        "spec.network.podCIDR", "`ohmykube down dev` removes this",
    )  # fmt: skip


LONG_NAMES = tuple(f"spec.kubernetes.{'x' * size}" for size in (1, 30, 60, 120))


@pytest.mark.parametrize("words", [("plan",), ("up",), ("up", "--plan")], ids=" ".join)
def test_reasons_and_ways_out_are_told_once_and_whole(cli, fakes, tmp_path, words) -> None:
    """What is refused is told whole; its way out is a command that can be typed."""
    path = tmp_path / "proxy.yaml"
    path.write_text(cli("config", "template").out)
    (one,) = REFUSED.refusals
    way_out = "`ohmykube up --name OTHER` makes another cluster, `ohmykube down dev` removes this"
    many = [dataclasses.replace(one, field=field, way_out=way_out) for field in LONG_NAMES]
    fakes.plan = change.Plan(refusals=tuple(many))
    outcome = cli(*words, "-f", str(path))
    assert outcome.code == ExitCode.CONFIG
    assert "\u2026 " not in outcome.err
    told = " ".join((outcome.out + outcome.err).split())
    assert told.count("it is fixed when the cluster is made") == len(LONG_NAMES)
    whole = f"try: `ohmykube up -f {path} --name OTHER` makes another cluster, `ohmykube down dev`"
    assert told.count(whole) == told.count("OTHER") == 1


def test_a_way_out_in_a_document_is_the_command_that_people_see(cli, fakes, tmp_path) -> None:
    path = tmp_path / "proxy.yaml"
    path.write_text(cli("config", "template").out)
    fakes.plan = REFUSED
    for way_out in ("`ohmykube up --name OTHER` makes another", "`ohmykube stop`, then `up`"):
        one = dataclasses.replace(REFUSED.refusals[0], way_out=way_out)
        fakes.plan = change.Plan(refusals=(one,))
        for_people = cli("plan", "-f", str(path)).err
        (refused,) = cli("plan", "-f", str(path), "-o", "json").document["refused"]
        assert f"try: {refused['wayOut']}\n" in for_people
        assert refused["wayOut"] != way_out


def test_the_exit_code_belongs_to_a_plan(cli, fakes) -> None:
    assert cli("up", "--exit-code").code == ExitCode.USAGE
    assert fakes.calls == []


def test_a_plan_takes_the_description_as_up_does() -> None:
    group = _root.group()
    plan, up = [
        {flag for param in group.get_command(None, name).params for flag in param.opts}
        for name in ("plan", "up")
    ]
    assert plan <= up
    assert up - plan == {"--plan", "--timeout", "--verify", "--yes", "--forget-unreachable"}


def test_up_from_a_file_and_from_stdin(cli, fakes, tmp_path, monkeypatch) -> None:

    text = "apiVersion: ohmykube.dev/v1\nkind: Cluster\nmetadata:\n  name: filed\n"
    path = tmp_path / "cluster.yaml"
    path.write_text(text)
    assert cli("up", "-f", str(path)).code == 0
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    assert cli("up", "-f", "-", "--name", "other").code == 0
    assert [call[1].name for call in fakes.calls] == ["filed", "other"]


def test_up_with_a_wrong_file(cli, fakes, tmp_path, home) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text("apiVersion: ohmykube.dev/v1\nkind: Cluster\nnodez: 1\nmetadata: {nam: x}\n")
    outcome = cli("up", "-f", str(path), "-o", "json")
    assert outcome.code == ExitCode.CONFIG
    assert len(outcome.document["error"]["why"]) >= 2
    assert len(outcome.err.splitlines()) <= 12
    assert fakes.calls == []
    assert not home.exists()


def test_down_asks_for_a_flag_without_a_terminal(cli, fakes) -> None:
    outcome = cli("down", "dev")
    assert outcome.code == ExitCode.USAGE
    assert "try: ohmykube down dev --yes" in outcome.err
    assert fakes.calls == []


@pytest.mark.parametrize(("answer", "code"), [("dev", 0), ("de", 2), ("y", 2), (None, 2)])
def test_down_wants_the_name_typed(cli, fakes, monkeypatch, answer, code) -> None:
    monkeypatch.setattr(console, "can_ask", lambda _talk: True)
    monkeypatch.setattr(console, "ask", lambda _question, _talk: answer)
    assert cli("down").code == code
    assert fakes.calls == ([("down", "dev", False)] if code == 0 else [])


def test_hosts_are_forgotten_only_where_that_is_said(cli, fakes) -> None:
    assert cli("down", "dev", "--yes", "--forget-unreachable").code == 0
    assert fakes.calls == [("down", "dev", True)]
    outcome = cli("down", "dev", "--forget-unreachable")
    assert "try: ohmykube down dev --forget-unreachable --yes" in outcome.err
    assert cli("up", "--forget-unreachable").code == 0
    assert [call[2].forget_unreachable for call in fakes.calls if call[0] == "up"] == [True]


def test_down_yes(cli, fakes) -> None:
    assert cli("down", "--yes").out == 'Cluster "dev" is gone (3 nodes removed)\n'
    outcome = cli("down", "gone", "--yes")
    assert (outcome.code, outcome.out) == (
        0,
        'There is no cluster "gone": nothing to remove\n',
    )
    assert cli("down", "dev", "--yes", "-o", "json").document["removed"] == list(NODES)


@pytest.mark.parametrize("name", ["../etc", "a/b", "", "-x", "UP", "a" * 41, "dev\n", "{{ 7*7 }}"])
def test_names_that_are_no_names(cli, fakes, name) -> None:
    outcome = cli("down", "--yes", "--name", name)
    assert outcome.code == ExitCode.USAGE
    assert fakes.calls == []
    assert cli("up", "--name", name).code == ExitCode.USAGE


def test_which_cluster(cli, fakes) -> None:
    assert cli("status", "--name", "dev").code == 0
    assert cli("status", "dev", "--name", "prod").code == ExitCode.USAGE
    fakes.clusters = ("dev", "prod")
    outcome = cli("status")
    assert outcome.code == ExitCode.USAGE
    assert "clusters: dev, prod" in outcome.err
    assert "try: ohmykube status dev" in outcome.err
    fakes.clusters = ()
    assert cli("stop").code == ExitCode.NOT_FOUND


def test_status(cli) -> None:
    outcome = cli("status")
    assert outcome.out.startswith("dev: degraded  (Kubernetes 1.36.3, provider nspawn)\n")
    assert "dev-worker-1: KubeletNotReady" in outcome.out
    assert [line.split()[-1] for line in outcome.out.splitlines()[3:6]] == [
        "Ready", "NotReady", "stopped",
    ]  # fmt: skip
    assert all(len(line) <= 80 for line in outcome.out.splitlines())
    found = yaml.safe_load(cli("status", "-o", "yaml").out)
    assert [node["ready"] for node in found["nodes"]] == [True, False, True]
    assert cli("status", "nope").code == ExitCode.NOT_FOUND


def test_list(cli, fakes) -> None:
    assert "dev    nspawn     1.36.3       3 of 3 running" in cli("list").out
    fakes.clusters = ()
    assert "ohmykube up" in cli("list").out
    assert cli("list", "-o", "json").document["items"] == []


@pytest.mark.parametrize(("verb", "done"), [("start", "runs"), ("stop", "is stopped")])
def test_power(cli, fakes, verb, done) -> None:
    outcome = cli(verb)
    assert outcome.out == f'Cluster "dev" {done} (3 nodes)\n'
    assert fakes.calls == [(verb, "dev")]


def test_kubeconfig(cli, fakes, tmp_path) -> None:
    assert cli("kubeconfig").out == KUBECONFIG
    assert cli("kubeconfig", "-o", "yaml").out == KUBECONFIG
    shown = cli("kubeconfig", "-o", "json")
    assert (shown.code, shown.document) == (0, yaml.safe_load(KUBECONFIG))
    assert cli("-o", "json", "kubeconfig").out == shown.out
    assert cli("kubeconfig", "--path").out == f"{fakes.kubeconfig_file}\n"
    assert cli("kubeconfig", "--path", "--merge").code == ExitCode.USAGE
    assert cli("kubeconfig", "--into", "x").code == ExitCode.USAGE


def test_kubeconfig_merge_into(cli, fakes, tmp_path) -> None:
    fakes.kubeconfig_file.write_text(
        "clusters: [{name: omk}]\nusers: []\ncontexts: []\ncurrent-context: omk\n"
    )
    assert cli("kubeconfig", "--merge").code == 0
    assert "omk" in (tmp_path / ".kube" / "config").read_text()
    elsewhere = tmp_path / "elsewhere"
    other = tmp_path / "other"
    outcome = cli("kubeconfig", "--merge", "-o", "json", KUBECONFIG=f"{other}:{elsewhere}")
    assert outcome.document["path"] == str(elsewhere)
    third = tmp_path / "third"
    assert cli("kubeconfig", "--merge", "--into", str(third)).code == 0
    assert third.exists()


@pytest.mark.parametrize(
    ("named", "there", "chosen"),
    [
        ("", "", ".kube/config"),
        (":", "", ".kube/config"),
        (":lab", "", "lab"),
        ("::lab:", "", "lab"),
        ("lab:other", "", "other"),
        ("lab::other:third:", "", "third"),
        ("lab:other:lab", "", "other"),
        ("lab:lab", "", "lab"),
        ("lab:other", "other", "other"),
        ("lab::other:third", "third other", "other"),
        ("lab:other", "lab other", "lab"),
        ("~/lab", "", "~/lab"),
    ],
)
def test_the_file_for_a_merge_is_the_one_that_kubectl_writes(
    tmp_path, monkeypatch, named, there, chosen
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in there.split():
        (tmp_path / name).touch()
    found = kubeconfig.default_target({"KUBECONFIG": named, "HOME": str(tmp_path)}, None)
    assert found == tmp_path / chosen
    user = SudoUser(uid=1, gid=1, home=tmp_path / "user")
    found = kubeconfig.default_target({"KUBECONFIG": named, "HOME": "/root"}, user)
    assert found == tmp_path / chosen.replace(".kube", "user/.kube")


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("w1:/etc/hosts", ("w1", "/etc/hosts")),
        ("w1:", ("w1", "")),
        ("w1:a:b c", ("w1", "a:b c")),
        ("node.example.org:x", ("node.example.org", "x")),
        ("./w1:/etc/hosts", ("", "./w1:/etc/hosts")),
        ("/tmp/a:b", ("", "/tmp/a:b")),
        (":a", ("", ":a")),
        ("a b", ("", "a b")),
    ],
)
def test_a_path_with_a_name_before_a_colon_is_a_nodes(cli, fakes, text, meant) -> None:
    outcome = cli("cp", text, "x/y", "--name", "dev")
    assert outcome.code == 0
    assert fakes.calls == [
        ("cp", "dev", copy.Place(node=meant[0], path=meant[1]), copy.Place(path="x/y"))
    ]


def test_cp_tells_how_many_and_what_was_passed_over(cli) -> None:
    assert cli("cp", "xx!ab", "n:/a").err.splitlines() == [
        "warning: not copied: a", "warning: not copied: b", "2 files copied"
    ]  # fmt: skip
    told = cli("cp", "!" + "a" * 14, "n:/a").err.splitlines()
    assert told[9:] == ["warning: not copied: a", "warning: not copied: 4 more", "0 files copied"]
    assert cli("cp", "x", "n:/a").err == "1 file copied\n"
    assert cli("cp", "x", "n:/a", "-q").err == ""
    assert cli("cp", "", "n:/a").code == ExitCode.USAGE


@pytest.mark.parametrize("code", [0, 3])
def test_shell_gives_the_code_of_the_command(cli, fakes, code) -> None:
    outcome = cli("shell", "dev-worker-1", "--", "sh", "-c", f"exit {code}")
    assert outcome.code == code
    assert fakes.calls == [("shell", "dev", "dev-worker-1", ("sh", "-c", f"exit {code}"))]


def test_doctor(cli, fakes) -> None:
    assert cli("doctor").code == 0
    fakes.report = (
        *fakes.report,
        Check(
            id="nspawn", title="systemd-nspawn", status=CheckStatus.FAIL, evidence="not found",
            fix="apt-get install systemd-container", packages=("systemd-container",),
        ),
    )  # fmt: skip
    outcome = cli("doctor")
    assert outcome.code == ExitCode.PREREQUISITE
    assert "FAIL    systemd-nspawn   not found" in outcome.out
    assert "systemd-nspawn: apt-get install systemd-container" in outcome.out
    assert "1 of 2 checks failed" in outcome.err
    assert cli("doctor", "-o", "json").document["healthy"] is False
    assert [e["type"] for e in cli("doctor", "--progress", "json").events] == ["version", "error"]
    assert "Installed: git" in cli("doctor", "--fix").out


@pytest.mark.parametrize(
    ("packages", "arguments", "wanted"),
    [
        (("qemu-utils",), (), "sudo ohmykube doctor --fix"),
        (("qemu-utils",), ("--provider", "lima"), "sudo ohmykube doctor --fix --provider lima"),
        ((), (), "do what is said above, then: ohmykube doctor"),
        (("qemu-utils",), ("--fix",), "do what is said above, then: ohmykube doctor"),
    ],
)
def test_doctor_names_the_next_command(cli, fakes, packages, arguments, wanted) -> None:
    fakes.report = (
        Check(id="x", title="x", status=CheckStatus.FAIL, fix="do this", packages=packages),
    )
    assert f"try: {wanted}\n" in cli("doctor", *arguments).err


def test_help_topics(cli) -> None:
    text = cli("help", "exit-codes").out
    assert all(f"{int(code)} " in text for code in ExitCode)
    assert "NO_COLOR" in cli("help", "environment").out
    assert cli("help", "nonsense").code == ExitCode.USAGE
    assert cli("help", "up", "more").code == ExitCode.USAGE
    assert "Clusters:" in cli("help").out


def test_config_commands(cli, tmp_path) -> None:
    template = cli("config", "template")
    assert template.code == 0
    path = tmp_path / "cluster.yaml"
    path.write_text(template.out)
    assert "is right" in cli("config", "validate", "-f", str(path)).out
    assert cli("config", "validate", "-f", str(path), "-o", "json").document["valid"] is True
    shown = cli("config", "show", "-f", str(path))
    assert yaml.safe_load(shown.out)["kind"] == "Cluster"
    assert cli("config", "show", "-f", str(path), "-o", "json").document["kind"] == "Cluster"
    assert json.loads(cli("config", "schema").out)["title"]
    assert "oneOf" in json.loads(cli("config", "schema", "output").out)
    assert cli("config", "validate", "-f", str(tmp_path / "none")).code == ExitCode.CONFIG


def test_warnings_of_a_file_are_told_on_stderr(cli, tmp_path, monkeypatch) -> None:
    from ohmykube.cli import _cluster_file

    real = _cluster_file.loader.inspect

    def inspect(path):
        import dataclasses

        return dataclasses.replace(real(path), warnings=("old form",))

    monkeypatch.setattr(_cluster_file.loader, "inspect", inspect)
    path = tmp_path / "c.yaml"
    path.write_text("apiVersion: ohmykube.dev/v1\nkind: Cluster\nmetadata: {name: x}\n")
    assert cli("config", "validate", "-f", str(path)).err == "warning: old form\n"
    assert cli("config", "validate", "-f", str(path), "-q").err == ""


def test_options_may_stand_before_the_command(cli) -> None:
    assert cli("-o", "json", "list").document["kind"] == "ClusterList"
    assert cli("-q", "up").err == ""
    assert cli("-v", "up", "-q").code == ExitCode.USAGE


@pytest.fixture
def here(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)


FILE = "apiVersion: ohmykube.dev/v1\nkind: Cluster\nmetadata: {name: fromfile}\n"


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("command", ["up", "plan"])
@pytest.mark.parametrize(
    ("words", "there", "name"),
    [
        ((), True, "fromfile"),
        ((), False, "dev"),
        (("--workers", "1"), True, "fromfile"),
        (("other",), True, "other"),
        (("--name", "other"), True, "other"),
        (("other", "--name", "other"), False, "other"),
        (("other", "-f", "cluster.yaml"), True, "other"),
        (("-f", "cluster.yaml"), True, "fromfile"),
    ],
    ids=str,
)
def test_up_means_the_cluster_that_other_commands_mean(  # noqa: PLR0917 - fixtures
    cli, fakes, tmp_path, command, words, there, name
) -> None:
    """A name as for `down`; without one the file that `config` and `bundle` take."""
    if there:
        (tmp_path / "cluster.yaml").write_text(FILE)
    outcome = cli(command, *words)
    assert outcome.code == 0
    (_, cluster, _) = fakes.calls[-1]
    assert cluster.name == name
    taken = there and name == "fromfile" and "-f" not in words
    assert ("described by cluster.yaml" in outcome.err) is taken


@pytest.mark.parametrize("words", [("a", "--name", "b"), ("a", "b"), ("",), ("A_b",)])
def test_up_refuses_names_as_other_commands_do(cli, words) -> None:
    assert cli("up", *words).code == ExitCode.USAGE
    assert cli("down", *words).code == ExitCode.USAGE


@pytest.mark.parametrize("number", [1, 7, 8, 9, 11, 60])
def test_validate_shows_every_problem(cli, tmp_path, number) -> None:
    file = tmp_path / "c.yaml"
    labels = "".join(f"      'bad {n}': x\n" for n in range(number))
    file.write_text(
        f"apiVersion: ohmykube.dev/v1\nkind: Cluster\nspec:\n  nodes:\n    workers:\n"
        f"     labels:\n{labels}"
    )
    outcome = cli("config", "validate", "-f", str(file))
    assert outcome.code == ExitCode.CONFIG
    said = " ".join(outcome.err.split())
    assert all(f"bad {n}" in said for n in range(number))
    assert f"{number} problem" in said
    assert "config validate" not in said, "what was just run is no advice"
    shown = " ".join(cli("up", "-f", str(file)).err.split())
    assert (f"ohmykube config validate -f {file} (all of them)" in shown) is (number > 8)


def test_validate_asks_the_provider(cli, fakes, tmp_path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(FILE)
    assert cli("config", "validate", "-f", str(file)).code == 0
    assert [call[0] for call in fakes.calls] == ["check_description"]


class Screen(io.StringIO):
    """A terminal for results."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("words", [("up",), ("doctor",), ("status",), ("plan",)], ids=" ".join)
@pytest.mark.parametrize("width", [30, 50, 80])
def test_results_fit_the_terminal_and_programs_get_whole_lines(
    cli, fakes, monkeypatch, words, width
) -> None:
    whole = cli(*words, COLUMNS=str(width)).out
    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    cli(*words, COLUMNS=str(width))
    told = screen.getvalue()
    assert told.split() == whole.split()
    assert (told != whole) is any(len(line) > width for line in whole.splitlines())
    commands = ("export ", "kubectl ")
    assert all(
        len(line) <= width or line.lstrip().startswith(commands) or len(line.split()) == 1
        for line in told.splitlines()
    )


@pytest.mark.parametrize("status", CheckStatus)
def test_each_check_has_its_state(cli, fakes, status) -> None:
    check = Check(id="a", title="a thing", status=status, evidence="not as it could be")
    fakes.report = (check,)
    outcome = cli("doctor")
    assert outcome.out.splitlines()[1].split()[0].lower() == status.value
    assert outcome.code == (7 if status is CheckStatus.FAIL else 0)
    (found,) = cli("doctor", "-o", "json").document["checks"]
    assert found["status"] == status.value
