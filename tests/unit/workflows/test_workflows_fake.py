"""Use-cases over the fake provider: what needs no node."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import replace
from ipaddress import IPv4Network
from typing import TYPE_CHECKING

import pytest

from ohmykube.config import load
from ohmykube.config.overrides import Overrides
from ohmykube.errors import (
    ConfigError,
    IntegrityError,
    Interrupted,
    LockedError,
    NotFoundError,
    OhmykubeError,
    PrerequisiteError,
    ProviderError,
    UsageError,
)
from ohmykube.kit import failures, interrupt, paths
from ohmykube.kit.host_routes import Route
from ohmykube.kit.sudo_user import SudoUser
from ohmykube.model import change
from ohmykube.model.cluster import Role
from ohmykube.model.machine import MachineSpec, MachineState
from ohmykube.planning import deletion
from ohmykube.planning.consent import ConsentNeeded
from ohmykube.progress import Message, NodeProgress, StepEnded, StepStarted
from ohmykube.providers.base import CheckStatus, ProviderContext
from ohmykube.state import layout
from ohmykube.steps.context import Services
from ohmykube.testing.fake_provider import FakeProvider, inject
from ohmykube.testing.reporter import RecordingReporter
from ohmykube.workflows import access, copy, session
from ohmykube.workflows.doctor import doctor
from ohmykube.workflows.down import down
from ohmykube.workflows.power import stop
from ohmykube.workflows.status import list_clusters, status
from ohmykube.workflows.up import up
from ohmykube.workflows.up_values import UpOptions
from tests import foreign_addon
from tests.unit.workflows.begun_run import begin, end

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ohmykube.model.cluster import Cluster
    from ohmykube.model.machine import Machine
    from ohmykube.providers.base import Check


pytestmark = pytest.mark.usefixtures("world")


@pytest.fixture
def services() -> Services:
    return Services(paths=paths.from_environment(), reporter=RecordingReporter())


def cluster(name: str = "dev", **chosen: object) -> Cluster:
    return load.from_overrides(Overrides(name=name, provider="fake", **chosen))  # type: ignore[arg-type]


def half_up(services: Services, wanted: Cluster) -> None:
    """Make the machines and the record, as an `up` that was killed afterwards."""
    with session.working(services, wanted) as ctx:
        begin(ctx)


def whole_up(services: Services, wanted: Cluster) -> None:
    """Make machines and record as a whole `up`; what comes between needs nodes."""
    half_up(services, wanted)
    with session.working(services, wanted) as ctx:
        end(ctx)


def planned(services: Services, wanted: Cluster) -> change.Plan:
    return up(services, wanted, UpOptions(plan_only=True)).plan


def context(services: Services) -> ProviderContext:
    return ProviderContext(paths=services.paths, reporter=services.reporter)


def messages(services: Services) -> list[str]:
    reporter = services.reporter
    assert isinstance(reporter, RecordingReporter)
    return [message.text for message in reporter.of(Message)]


def test_a_plan_names_every_node_and_makes_nothing(services: Services) -> None:
    plan = planned(services, cluster(workers=1))
    assert plan == change.Plan(
        changes=(
            change.CreateNode(node="cp1", role=Role.CONTROL_PLANE),
            change.CreateNode(node="w1", role=Role.WORKER),
        )
    )
    assert not services.paths.state.exists()
    assert not services.paths.data.exists()


def test_a_plan_for_what_is_there_keeps_starts_and_creates(services: Services) -> None:
    whole_up(services, cluster(workers=1))
    assert planned(services, cluster(workers=1)) == change.Plan()
    provider = session.provider_of(services, "fake", None)
    provider.stop("dev", "w1")
    assert planned(services, cluster(workers=2)).changes == (
        change.StartNode(node="w1"),
        change.CreateNode(node="w2", role=Role.WORKER),
    )


def test_a_run_that_did_not_end_is_to_be_finished(services: Services) -> None:
    half_up(services, cluster(workers=1))
    assert planned(services, cluster(workers=1)).changes == (change.FinishRun(),)
    whole_up(services, cluster(workers=1))
    assert planned(services, cluster(workers=1)).changes == ()


def test_a_node_that_is_too_many_goes_with_a_yes_only(services: Services) -> None:
    whole_up(services, cluster(workers=2))
    gone = change.DeleteNode(node="w2", role=Role.WORKER, reason=deletion.REASON)
    assert planned(services, cluster(workers=1)) == change.Plan(changes=(gone,))
    assert messages(services) == []
    before = services.state.read("dev")
    with pytest.raises(ConsentNeeded) as error:
        up(services, cluster(workers=1), UpOptions(may_delete=frozenset({"w1"})))
    assert (error.value.id, error.value.losses) == ("OMK-U-280", ("w2",))
    assert services.state.read("dev") == before
    # It is part of the cluster as long as it is there.
    half_up(services, cluster(workers=1))
    assert [node.name for node in status(services, "dev").nodes] == ["cp1", "w1", "w2"]
    session.provider_of(services, "fake", None).delete("dev", "w2")
    whole_up(services, cluster(workers=1))
    assert [node.name for node in status(services, "dev").nodes] == ["cp1", "w1"]


def test_an_add_on_goes_with_its_data_with_a_yes_only(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it owns is remembered: the package of the add-on may be gone when it is removed."""
    with monkeypatch.context() as patch:
        foreign_addon.install(tmp_path / "site", patch)
        document = {"apiVersion": "ohmykube.dev/v1", "kind": "Cluster", "metadata": {"name": "dev"}}
        spec = {"provider": {"name": "fake"}, "addons": [{"name": foreign_addon.NAME}]}
        whole_up(services, load.from_document({**document, "spec": spec}))
    without = load.from_document({**document, "spec": {"provider": {"name": "fake"}}})
    gone = change.RemoveAddon(addon="echo", version="1.1.0", owns=("what was echoed",))
    assert gone in planned(services, without).changes
    before = services.state.read("dev")
    for agreed in (frozenset[str](), frozenset({"echo"})):
        with pytest.raises(ConsentNeeded) as error:
            up(services, without, UpOptions(may_delete=agreed))
        assert error.value.message.endswith("would lose add-on echo with what was echoed")
        assert error.value.losses == ("addon/echo",)
    assert services.state.read("dev") == before


def test_nodes_that_go_count_against_what_a_cluster_can_hold(services: Services) -> None:
    """The new ones are there before they go."""
    small = {"network": {"podCIDR": "10.9.0.0/23"}, "provider": {"name": "fake"}}

    def of(worker: str) -> Cluster:
        nodes = {"controlPlane": {}, "workers": {"names": [worker]}}
        return load.from_document({"metadata": {"name": "dev"}, "spec": {**small, "nodes": nodes}})

    whole_up(services, of("a"))
    before = services.state.read("dev")
    with pytest.raises(ConfigError, match="with the nodes that are to be deleted") as error:
        half_up(services, of("b"))
    assert "a /24 for each of 3 nodes" in str(error.value.why)
    assert services.state.read("dev") == before


def test_up_of_a_cluster_as_described_runs_no_playbook(services: Services) -> None:
    """One look at the machines and one question to each node; its health is looked at by that."""
    whole_up(services, cluster(workers=2))
    reporter, directory = RecordingReporter(), services.state.directory("dev")
    before = services.state.read("dev")
    (directory / "asked").unlink()
    again = dataclasses.replace(services, reporter=reporter)
    result = up(again, cluster(workers=2), UpOptions())
    assert not result.changed
    assert [step.step for step in reporter.of(StepEnded)] == [
        "preflight", "plan", "open-outside", "fetch-kubeconfig", "wait-ready", "expose-services",
    ]  # fmt: skip
    assert sorted((directory / "asked").read_text().split()) == ["cp1", "w1", "w2"]
    assert [(node.name, node.ready) for node in result.nodes] == [
        ("cp1", True), ("w1", True), ("w2", True),
    ]  # fmt: skip
    server = f"https://{result.nodes[0].address}:6443"
    assert server in (directory / layout.KUBECONFIG).read_text()
    assert services.state.read("dev") == before


def test_another_setting_is_written_down_and_runs_no_playbook(services: Services) -> None:
    whole_up(services, cluster(workers=1))
    result = up(services, cluster(workers=1, template="never"), UpOptions())
    assert [type(one) for one in result.plan.changes] == [change.UpdateSetting]
    record = services.state.read("dev")
    assert record is not None
    assert record.document["spec"]["template"] == "never"
    assert planned(services, cluster(workers=1, template="never")) == change.Plan()


def test_a_failed_machine_leaves_the_others_and_the_next_run_goes_on(services: Services) -> None:
    inject(services.paths, "create", call=2)
    with pytest.raises(ProviderError):
        half_up(services, cluster(workers=2))
    provider = session.provider_of(services, "fake", None)
    states = [machine.state for machine in provider.list("dev")]
    assert len(states) == 3
    assert states.count(MachineState.BROKEN) == 1
    half_up(services, cluster(workers=2))
    assert {machine.state for machine in provider.list("dev")} == {MachineState.RUNNING}


@pytest.mark.parametrize(
    ("different", "path"),
    [
        ({"kubernetes_version": "1.35.4"}, "spec.kubernetes.version"),
        ({"cni": "none"}, "spec.network.cni"),
    ],
)
def test_what_cannot_be_changed_in_place_is_refused(
    services: Services, different: dict[str, object], path: str
) -> None:
    whole_up(services, cluster())
    before = services.state.read("dev")
    (refused,) = planned(services, cluster(**different)).refusals
    assert refused.field == path
    with pytest.raises(ConfigError) as error:
        up(services, cluster(**different), UpOptions())
    assert error.value.id == "OMK-C-180"
    assert path in str(error.value.why)
    assert "down" in str(error.value.hint)
    assert services.state.read("dev") == before


def test_down_removes_machines_and_record_and_can_be_repeated(services: Services) -> None:
    half_up(services, cluster(workers=1))
    result = down(services, "dev")
    assert (result.existed, sorted(result.removed)) == (True, ["cp1", "w1"])
    assert services.state.names() == ()
    assert down(services, "dev").existed is False


def test_down_takes_exactly_the_cluster_of_that_name(services: Services) -> None:
    half_up(services, cluster("dev"))
    half_up(services, cluster("dev-2"))
    down(services, "dev")
    assert services.state.names() == ("dev-2",)
    assert len(session.provider_of(services, "fake", None).list("dev-2")) == 3


def test_down_finds_machines_without_a_record(services: Services) -> None:
    provider = session.provider_of(services, "fake", None)
    provider.create(MachineSpec(cluster="lost", node="cp1"))
    assert down(services, "lost").removed == ("cp1",)
    assert provider.clusters() == []


def test_down_of_a_damaged_record_asks_the_machines(services: Services) -> None:
    half_up(services, cluster())
    (services.state.directory("dev") / layout.RECORD).write_text("{")
    (services.state.directory("dev") / layout.RECORD_BACKUP).unlink(missing_ok=True)
    assert len(down(services, "dev").removed) == 3
    assert any("damaged" in text for text in messages(services))


def test_down_removes_what_an_older_release_described(services: Services) -> None:
    half_up(services, cluster())
    version = {"spec": {"kubernetes": {"version": "1.20.0"}, "provider": {"name": "fake"}}}
    services.state.update("dev", lambda r: dataclasses.replace(r, document=version))
    assert len(down(services, "dev").removed) == 3


def test_a_failed_removal_keeps_the_record(services: Services) -> None:
    half_up(services, cluster())
    inject(services.paths, "delete")
    with pytest.raises(ProviderError):
        down(services, "dev")
    assert services.state.names() == ("dev",)
    down(services, "dev")
    assert services.state.names() == ()


def test_two_runs_on_one_cluster(services: Services) -> None:
    other = Services(paths=services.paths, reporter=RecordingReporter())
    with session.working(services, cluster()), pytest.raises(LockedError):
        half_up(other, cluster())


def test_secrets_of_a_killed_run_go_with_the_next(services: Services) -> None:
    half_up(services, cluster())
    runs = services.state.directory("dev") / layout.RUNS
    (old,) = runs.iterdir()
    left = old / "ansible" / "ansible-x1" / "artifacts"
    left.mkdir(parents=True)
    (left / "command").write_text("secret")
    (old / "ansible.log").write_text("kept")
    half_up(services, cluster())
    assert not left.parent.exists()
    assert (old / "ansible.log").read_text() == "kept"


def test_status_tells_the_machines_truth(services: Services) -> None:
    half_up(services, cluster(workers=1))
    session.provider_of(services, "fake", None).delete("dev", "w1")
    found = status(services, "dev")
    assert [(n.name, n.machine, n.ready) for n in found.nodes] == [
        ("cp1", "running", False),
        ("w1", "missing", False),
    ]
    assert found.health == "unreachable"
    assert found.kubeconfig is None


def test_stop_stops_all_and_status_says_so(services: Services) -> None:
    half_up(services, cluster(workers=1))
    assert stop(services, "dev").nodes == ("cp1", "w1")
    assert status(services, "dev").health == "stopped"
    assert isinstance(services.reporter, RecordingReporter)
    begun = [isinstance(event, StepStarted) for event in services.reporter.events]
    told = [isinstance(event, NodeProgress) for event in services.reporter.events]
    assert begun.index(True) < told.index(True), "what is done has a line that stays"


class Stopped(FakeProvider):
    """Ctrl-C is typed while the machines are looked at."""

    def list(self, cluster: str) -> Sequence[Machine]:
        raise interrupt.interrupted()


def test_a_stop_gives_no_answer(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    half_up(services, cluster())
    monkeypatch.setattr(session, "provider_of", lambda *_: Stopped(context(services)))
    for ask in (lambda: status(services, "dev"), lambda: list_clusters(services)):
        with pytest.raises(Interrupted):
            ask()


class Unsound(FakeProvider):
    """The host lacks something, and then the machines cannot be listed either."""

    def check(self) -> Sequence[Check]:
        raise PrerequisiteError("the host lacks swtpm")

    def clusters(self) -> Sequence[str]:
        raise ProviderError("the list of machines cannot be read")


def test_clean_up_does_not_hide_why_an_up_failed(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "provider_of", lambda *_: Unsound(context(services)))
    with pytest.raises(PrerequisiteError, match="swtpm") as caught:
        up(services, cluster(), UpOptions())
    assert [str(one) for one in failures.others(caught.value)] == [
        "the list of machines cannot be read"
    ]


def test_an_unknown_cluster_names_those_that_exist(services: Services) -> None:
    half_up(services, cluster("known"))
    for ask in (status, stop):
        with pytest.raises(NotFoundError, match='no cluster "other"') as error:
            ask(services, "other")
        assert "known" in str(error.value.why)


def test_list_shows_a_damaged_cluster_too(services: Services) -> None:
    half_up(services, cluster("good"))
    half_up(services, cluster("hurt"))
    record = services.state.directory("hurt") / layout.RECORD
    record.write_text(record.read_text()[:-20])
    good, hurt = list_clusters(services)
    assert (good.name, good.nodes, good.running, good.detail) == ("good", 3, 3, "")
    assert hurt.name == "hurt"
    assert "damaged" in hurt.detail


def test_a_record_from_the_future_is_not_touched(services: Services) -> None:
    half_up(services, cluster())
    record = services.state.directory("dev") / layout.RECORD
    content = json.loads(record.read_text())
    content["schema"] = 99
    record.write_text(json.dumps(content))
    with pytest.raises(IntegrityError, match="newer version"):
        up(services, cluster(), UpOptions(plan_only=True))
    with pytest.raises(IntegrityError, match="newer version"):
        down(services, "dev")
    assert json.loads(record.read_text()) == content
    provider = session.provider_of(services, "fake", None)
    assert len(provider.list("dev")) == 3


@pytest.mark.parametrize("method", ["check", "list"])
def test_a_run_that_makes_nothing_leaves_no_cluster(services: Services, method: str) -> None:
    (services.paths.data / "fake").mkdir(parents=True)
    inject(services.paths, method)
    with pytest.raises(OhmykubeError):
        up(services, cluster(), UpOptions())
    assert services.state.names() == ()
    assert not services.state.directory("dev").exists()


def test_a_failed_run_over_what_is_there_forgets_nothing(services: Services) -> None:
    half_up(services, cluster())
    inject(services.paths, "list")
    with pytest.raises(ProviderError):
        up(services, cluster(), UpOptions())
    assert services.state.names() == ("dev",)


def test_access_before_up_has_ended(services: Services) -> None:
    half_up(services, cluster())
    with pytest.raises(NotFoundError, match="no kubeconfig yet"):
        access.kubeconfig(services, "dev")
    with pytest.raises(NotFoundError, match="never reached"):
        access.shell_argv(services, "dev", "cp1", ())
    with pytest.raises(NotFoundError, match='no node "w9"') as error:
        access.shell_argv(services, "dev", "w9", ())
    assert "cp1, w1, w2" in str(error.value.why)
    assert error.value.hint == "ohmykube status"


@pytest.mark.parametrize(
    ("named", "command", "tried"),
    [("dev", (), "NODE"), ("dev", ("w1",), "w1"), ("other", ("a b",), "'a b'")],
)
def test_a_shell_for_a_cluster_says_where_its_name_goes(
    services: Services, named: str, command: tuple[str, ...], tried: str
) -> None:
    for name in ("dev", "other"):
        half_up(services, cluster(name))
    with pytest.raises(UsageError, match=f"{named} is a cluster") as error:
        access.shell_argv(services, "dev", named, command)
    assert error.value.hint == f"ohmykube shell --name {named} {tried}"


@pytest.mark.usefixtures("as_root")
def test_the_user_behind_sudo_has_his_own_kubeconfig_until_down(tmp_path: Path) -> None:
    user = SudoUser(uid=0, gid=0, home=tmp_path)
    services = Services(
        paths=paths.from_environment(), reporter=RecordingReporter(), sudo_user=user
    )
    half_up(services, cluster())
    (services.state.directory("dev") / layout.KUBECONFIG).write_text("root's")
    assert access.kubeconfig(services, "dev").read_text() == "root's"
    copy = tmp_path / ".kube" / "ohmykube-dev.yaml"
    user.write(copy, "his")
    assert access.kubeconfig(services, "dev") == copy
    down(services, "dev")
    assert not copy.exists()


def test_a_shell_quotes_its_command(services: Services) -> None:
    half_up(services, cluster())
    config = services.state.directory("dev") / layout.SSH_CONFIG
    config.write_text("")
    assert access.shell_argv(services, "dev", "w1", ("echo", "a b"))[-2:] == ("--", "echo 'a b'")
    assert access.shell_argv(services, "dev", "w1", ())[-2:] == ("-t", "w1")


@pytest.mark.parametrize(
    ("source", "target", "error", "said"),
    [
        ("a", "b", UsageError, "both paths are of this host"),
        ("w1:/a", "cp1:/b", UsageError, "both paths are of nodes"),
        ("w9:/a", "b", NotFoundError, 'no node "w9"'),
        ("a", "w9:/b", NotFoundError, "write ./w9:/b"),
        ("a", "w1:/b", NotFoundError, "never reached"),
    ],
)
def test_a_copy_is_between_this_host_and_a_node_that_is_there(
    services: Services, source: str, target: str, error: type[OhmykubeError], said: str
) -> None:
    half_up(services, cluster())
    with pytest.raises(error) as caught:
        copy.copy(services, "dev", copy.place(source), copy.place(target))
    assert said in f"{caught.value.message} {caught.value.hint}"


def test_files_are_copied_both_ways_over_the_ssh_of_the_cluster(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half_up(services, cluster())
    (services.state.directory("dev") / layout.SSH_CONFIG).write_text("")
    program = tmp_path / "ssh-bin" / "ssh"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nshift 4; exec sh -c "$*"\n')  # the node is this host
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    (tmp_path / "here").write_text("x")
    there, back = copy.Place(node="w1", path=f"{tmp_path}/there"), tmp_path / "back"
    assert copy.copy(services, "dev", copy.place(str(tmp_path / "here")), there).count == 1
    assert copy.copy(services, "dev", there, copy.place(str(back))).count == 1
    assert back.read_text() == "x"


def test_doctor_joins_provider_and_sources(services: Services) -> None:
    report = doctor(services, "fake")
    assert report.fixed == ()
    source = next(check for check in report.checks if check.id == "artifact-source")
    assert source.status in (CheckStatus.OK, CheckStatus.WARN)


def test_free_networks_are_taken_once_and_kept() -> None:
    """By a route of this host and another cluster here; a plan says what would be hidden."""
    route = Route(IPv4Network("10.244.0.0/24"), "wg0")
    reporter = RecordingReporter()
    services = Services(paths=paths.from_environment(), reporter=reporter, routes=lambda: (route,))
    automatic = replace(cluster().network, pod_cidr="auto", service_cidr="auto")
    found = {}
    for name in ("dev", "other"):
        whole_up(services, replace(cluster(name), network=automatic))
        found[name] = session.looking(services, replace(cluster(name), network=automatic))
    networks = {name: ctx.cluster.network for name, ctx in found.items()}
    assert networks["dev"].pod_cidr == "10.245.0.0/16"
    assert networks["other"].pod_cidr == "10.246.0.0/16"
    assert networks["other"].service_cidr == "10.97.0.0/16"
    assert all(
        ctx.recorded.network == ctx.cluster.network for ctx in found.values() if ctx.recorded
    )
    up(services, cluster("third"), UpOptions(plan_only=True))
    assert any("overlaps 10.244.0.0/24" in one.text for one in reporter.of(Message))
