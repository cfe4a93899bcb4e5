"""Which templates a run uses, when building some pays, and which are removed again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ohmykube.config import load
from ohmykube.config.overrides import Overrides
from ohmykube.errors import NotFoundError, ProviderError, UnreachableError
from ohmykube.kit import locks, paths
from ohmykube.kit.secret import Secret
from ohmykube.model.artifact import ArtifactLock, Kind, LockedArtifact, PackageRole
from ohmykube.model.cluster import Role, TemplateUse
from ohmykube.model.machine import MachineSpec, MachineState
from ohmykube.model.names import HIDDEN
from ohmykube.progress import Message
from ohmykube.providers.base import NOT_FROZEN, NewTemplate, ProviderContext
from ohmykube.state import layout
from ohmykube.steps import template_keys, templates
from ohmykube.steps.base import Run, Services
from ohmykube.steps.connect import Connect
from ohmykube.steps.create_nodes import CreateNodes
from ohmykube.steps.playbook import Playbook
from ohmykube.steps.serve import Serve
from ohmykube.testing.fake_provider import FakeProvider
from ohmykube.testing.fake_templates import FakeCloningProvider
from ohmykube.testing.reporter import RecordingReporter

if TYPE_CHECKING:
    from pathlib import Path

    from ohmykube.model.cluster import Cluster

STEP = templates.UseTemplates()


def artifact(kind: Kind, name: str, number: int, *roles: str) -> LockedArtifact:
    return LockedArtifact(
        kind=kind,
        name=name,
        version="1",
        arch="amd64",
        digest=f"sha256:{number:064x}",
        size=number,
        source="build",
        node_roles=roles or ("control-plane", "worker"),
    )


LOCK = ArtifactLock(
    kubernetes_version="1.36.3",
    arch="amd64",
    artifacts=(
        artifact(Kind.PACKAGE, PackageRole.CONTAINERD.value, 1),
        artifact(Kind.PACKAGE, PackageRole.KUBEADM.value, 2),
        artifact(Kind.IMAGE, "registry.k8s.io/pause:3.10", 3),
        artifact(Kind.IMAGE, "registry.k8s.io/etcd:3.6", 4, "control-plane"),
    ),
    settings={"pause_image": "registry.k8s.io/pause:3.10"},
)


def cluster(**chosen: object) -> Cluster:
    wanted = Overrides(name="dev", provider="fake", **chosen)  # type: ignore[arg-type]
    return load.from_overrides(wanted)


@pytest.fixture
def services() -> Services:
    return Services(paths=paths.from_environment(), reporter=RecordingReporter())


@pytest.fixture
def provider(services: Services) -> FakeCloningProvider:
    context = ProviderContext(paths=services.paths, reporter=services.reporter)
    return FakeCloningProvider(context)


def run_of(services: Services, provider: FakeProvider, wanted: Cluster, place: Path) -> Run:
    return Run(
        services=services,
        cluster=wanted,
        provider=provider,
        directory=place,
        run_directory=place,
        lock=LOCK,
        machines={m.node: m for m in provider.list(wanted.name)},
    )


@pytest.fixture
def run(services: Services, provider: FakeCloningProvider, tmp_path: Path) -> Run:
    return run_of(services, provider, cluster(workers=1), tmp_path)


def freeze(provider: FakeCloningProvider, *new: NewTemplate) -> None:
    for template in new:
        provider.create(MachineSpec(cluster=f"{HIDDEN}x", node="a"))
        provider.freeze(f"{HIDDEN}x", "a", template)


def test_skipped_where_nothing_can_or_need_be_cloned(
    services: Services, provider: FakeCloningProvider, run: Run, tmp_path: Path
) -> None:
    assert STEP.skip_reason(run) is None
    never = replace(run.cluster, template=TemplateUse.NEVER)
    assert STEP.skip_reason(run_of(services, provider, never, tmp_path)) == "not wanted"
    plain = FakeProvider(provider.context)
    reason = STEP.skip_reason(run_of(services, plain, run.cluster, tmp_path))
    assert reason == "provider fake has none"
    for node in run.cluster.nodes:
        provider.create(MachineSpec(cluster="dev", node=node.name))
    again = run_of(services, provider, run.cluster, tmp_path)
    assert STEP.skip_reason(again) == "no machine to make"


def test_templates_that_are_there_are_cloned(run: Run, provider: FakeCloningProvider) -> None:
    wanted = templates.wanted_templates(run)
    freeze(provider, *wanted.values())
    assert STEP.run(run) == "control-plane, worker cloned"
    assert run.templates == {role: new.key for role, new in wanted.items()}
    before = {template.key: template.last_used_at for template in provider.templates()}
    CreateNodes().run(run)
    after = {template.key: template.last_used_at for template in provider.templates()}
    assert all(after[key] > before[key] for key in before)


def test_without_templates_nodes_are_made_from_scratch(
    run: Run, provider: FakeCloningProvider
) -> None:
    provider.create(MachineSpec(cluster=f"{HIDDEN}killed", node="a"))
    assert STEP.run(run) == "none yet: nodes are made from scratch"
    assert run.templates == {}
    assert list(provider.list(f"{HIDDEN}killed")) == [], "what a killed build left stays for ever"


def test_one_role_may_have_a_template_and_the_other_none(
    run: Run, provider: FakeCloningProvider
) -> None:
    freeze(provider, templates.wanted_templates(run)[Role.WORKER])
    assert STEP.run(run) == "worker cloned"
    assert list(run.templates) == [Role.WORKER]


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        (({"workers": 0}, (), "cw"), False),
        (({"workers": 1}, (), "cw"), False),
        (({"workers": 2}, (), "cw"), True),
        (({"workers": 2}, (), "w"), True),
        (({"workers": 1}, (), "w"), False),
        (({"workers": 3}, ("cp1", "w1", "w2"), "w"), False),
        (({"workers": 4}, ("cp1", "w1", "w2"), "w"), True),
        (({"workers": 0, "template": "build"}, (), "c"), True),
    ],
)
def test_building_pays_from_the_first_node_that_only_has_to_be_cloned(
    services: Services,
    provider: FakeCloningProvider,
    tmp_path: Path,
    case: tuple[dict[str, object], tuple[str, ...], str],
    expected: bool,
) -> None:
    """A case: the flags, the nodes that are there, the roles that lack a template."""
    chosen, there, missing = case
    for node in there:
        provider.create(MachineSpec(cluster="dev", node=node))
    run = run_of(services, provider, cluster(**chosen), tmp_path)
    roles = {"c": Role.CONTROL_PLANE, "w": Role.WORKER}
    wanted = templates.wanted_templates(run)
    lacking = {roles[c]: wanted[roles[c]] for c in missing if roles[c] in wanted}
    assert templates.pays(run, lacking) is expected


def test_a_template_that_goes_meanwhile_is_no_failure(
    run: Run, provider: FakeCloningProvider
) -> None:
    freeze(provider, *templates.wanted_templates(run).values())
    STEP.run(run)
    for template in provider.templates():
        provider.remove_template(template.key)
    CreateNodes().run(run)
    states = {machine.state for machine in provider.list("dev")}
    assert states == {MachineState.RUNNING}


def test_another_failure_of_create_is_one(run: Run, provider: FakeCloningProvider) -> None:
    class Broken(FakeCloningProvider):
        def create(self, spec: MachineSpec) -> None:  # type: ignore[override]
            raise NotFoundError("something else is not there", id="OMK-X-1")

    run.provider = Broken(provider.context)
    with pytest.raises(NotFoundError, match="something else"):
        CreateNodes().run(run)


def test_a_build_that_fails_leaves_nothing(
    run: Run, provider: FakeCloningProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fake's machines take no ssh connection; looked at when that fails."""
    seen = []

    def unreachable(self: Connect, inner: Run) -> str:
        seen.append((inner.cluster.name, sorted(inner.machines)))
        raise UnreachableError("nobody answers")

    monkeypatch.setattr(Connect, "run", unreachable)
    run.cluster = replace(run.cluster, template=TemplateUse.BUILD)
    with pytest.raises(UnreachableError):
        STEP.run(run)
    ((name, nodes),) = seen
    assert name.startswith(HIDDEN)
    assert nodes == ["control-plane", "worker"]
    assert list(provider.list(name)) == []
    assert list(provider.templates()) == []
    assert run.templates == {}


def test_a_build_prepares_one_machine_of_each_role_and_freezes_it(
    run: Run, provider: FakeCloningProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What needs real machines is played: connecting, serving, the playbook."""
    played = []

    def connected(self: Connect, inner: Run) -> str:
        inner.ssh_config = inner.directory / layout.SSH_CONFIG
        return ""

    def served(self: Serve, inner: Run) -> str:
        inner.cache_token = Secret("hush")
        return ""

    def prepared(self: Playbook, inner: Run) -> str:
        assert inner.inventory is not None
        text = inner.inventory.read_text()
        played.append((self.playbook, sorted(inner.machines), "hush" in text, "10.244" in text))
        for node in inner.machines:
            provider.mark(inner.cluster.name, node)
        return ""

    monkeypatch.setattr(Connect, "run", connected)
    monkeypatch.setattr(Serve, "run", served)
    monkeypatch.setattr(Playbook, "run", prepared)
    freeze(provider, *(NewTemplate(key=f"{n:016x}", role="worker", summary="") for n in range(5)))
    run.cluster = cluster(workers=2)
    assert STEP.run(run) == "control-plane, worker cloned"
    assert played == [(template_keys.PLAYBOOK, ["control-plane", "worker"], False, True)]
    assert set(run.templates_made) == set(run.templates.values())
    kept = {template.key: template.role for template in provider.templates()}
    assert set(run.templates_made) <= set(kept)
    assert sorted(kept.values()) == ["control-plane", *["worker"] * templates.KEPT]
    assert not (run.services.paths.state / layout.TEMPLATE_BUILD).exists()
    CreateNodes().run(run)
    assert all(provider.marked("dev", node) for node in ("cp1", "w1", "w2"))
    assert list(provider.clusters()) == ["dev"]
    again = replace(run, machines={}, templates={}, templates_made=())
    assert STEP.run(again) == "control-plane, worker cloned"
    assert again.templates_made == ()
    assert len(played) == 1


@pytest.mark.parametrize("way", ["auto", "build"])
def test_what_cannot_be_frozen_stops_only_who_asked_for_it(
    run: Run, provider: FakeCloningProvider, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    def refuse(*_args: object) -> None:
        raise ProviderError("cannot become a template", why="containers ran", id=NOT_FROZEN[0])

    monkeypatch.setattr(templates, "build", refuse)
    run.cluster = replace(cluster(workers=2), template=TemplateUse(way))
    if way == "build":
        with pytest.raises(ProviderError):
            STEP.run(run)
        return
    assert STEP.run(run) == "none yet: nodes are made from scratch"
    reporter = run.services.reporter
    assert isinstance(reporter, RecordingReporter)
    (message,) = reporter.of(Message)
    assert "containers ran" in message.text


def test_what_a_killed_build_left_is_swept_unless_one_is_under_way(
    services: Services, provider: FakeCloningProvider
) -> None:
    provider.create(MachineSpec(cluster=f"{HIDDEN}x", node="a"))
    with locks.exclusive(templates.lock_file(services), "a build"):
        templates.sweep(services, provider)
    assert len(provider.list(f"{HIDDEN}x")) == 1
    templates.sweep(services, FakeProvider(provider.context))
    assert len(provider.list(f"{HIDDEN}x")) == 1
    templates.sweep(services, provider)
    assert list(provider.list(f"{HIDDEN}x")) == []


def test_the_second_of_two_builds_finds_all_done(run: Run, provider: FakeCloningProvider) -> None:
    wanted = templates.wanted_templates(run)
    freeze(provider, *wanted.values())
    assert templates.build(run, wanted) == ()
    assert templates.BuildTemplates().run(run) == "all there"
    assert run.templates == {role: new.key for role, new in wanted.items()}
    assert not (run.services.paths.state / layout.TEMPLATE_BUILD).exists()


def test_a_provider_without_templates_is_a_wrong_order_of_steps(
    services: Services, provider: FakeCloningProvider, run: Run, tmp_path: Path
) -> None:
    plain = run_of(services, FakeProvider(provider.context), run.cluster, tmp_path)
    with pytest.raises(TypeError, match="no templates"):
        templates.provider_of(plain)


def test_the_least_recently_used_go(provider: FakeCloningProvider) -> None:
    keys = [f"{number:016x}" for number in range(4)]
    freeze(provider, *(NewTemplate(key=key, role="worker", summary="") for key in keys))
    freeze(provider, NewTemplate(key="c" * 16, role="control-plane", summary=""))
    provider.create(MachineSpec(cluster="dev", node="w1", template=keys[0]))

    def gone(**how: object) -> list[str]:
        found = templates.prune(provider, dry_run=True, **how)  # type: ignore[arg-type]
        return [template.key for template in found]

    assert gone(keep=4) == []
    assert gone(keep=2) == [keys[2], keys[1]]
    assert gone(keep=0) == [keys[0], "c" * 16, keys[3], keys[2], keys[1]]
    assert gone(keep=4, max_bytes=2500) == [keys[3], keys[2], keys[1]]
    assert len(provider.templates()) == 5
    templates.prune(provider, keep=1)
    assert [template.key for template in provider.templates()] == [keys[0], "c" * 16]


def changed(run: Run, **what: object) -> dict[Role, str]:
    """Return the keys of the run with some fields replaced."""
    other = replace(run, **what)  # type: ignore[arg-type]
    return {role: new.key for role, new in templates.wanted_templates(other).items()}


def test_what_is_the_clusters_own_is_not_in_the_key(run: Run) -> None:
    before = changed(run)
    assert len(set(before.values())) == 2
    for other in (
        cluster(workers=1, cpus=3, memory="9GiB"),
        cluster(workers=7),
        cluster(workers=1, proxy_mode="nftables"),
        replace(run.cluster, name="another"),
    ):
        assert changed(run, cluster=other) == before


def test_what_goes_into_a_template_is_in_its_key(run: Run, tmp_path: Path) -> None:
    before = changed(run)
    other = replace(LOCK, artifacts=(artifact(Kind.PACKAGE, "containerd", 9), *LOCK.artifacts[1:]))
    assert not set(changed(run, lock=other).values()) & set(before.values())
    image = replace(LOCK.artifacts[3], digest="sha256:" + "f" * 64)
    only = changed(run, lock=replace(LOCK, artifacts=(*LOCK.artifacts[:3], image)))
    assert only[Role.WORKER] == before[Role.WORKER]
    assert only[Role.CONTROL_PLANE] != before[Role.CONTROL_PLANE]
    assert changed(run, lock=replace(LOCK, arch="arm64"))[Role.WORKER] != before[Role.WORKER]
    version = cluster(workers=1, kubernetes_version="1.35.4")
    assert changed(run, cluster=version)[Role.WORKER] != before[Role.WORKER]

    class Other(FakeCloningProvider):
        def template_basis(self) -> str:
            return "another base"

    basis = changed(run, provider=Other(run.provider.context))
    assert basis[Role.WORKER] != before[Role.WORKER]


def test_every_byte_of_the_roles_is_in_the_key(tmp_path: Path) -> None:
    for name in template_keys.SOURCES:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix:
            path.write_text("playbook")
        else:
            (path / "tasks").mkdir(parents=True)
            (path / "tasks/main.yml").write_text("tasks")
    first = template_keys.sources_digest(tmp_path)
    (tmp_path / "plugins/modules/x.pyc").write_text("compiled")
    assert template_keys.sources_digest(tmp_path) == first
    (tmp_path / "roles/node/tasks/main.yml").write_text("Tasks")
    second = template_keys.sources_digest(tmp_path)
    (tmp_path / "roles/node/tasks/main.yml").rename(tmp_path / "roles/node/tasks/other.yml")
    assert len({first, second, template_keys.sources_digest(tmp_path)}) == 3
    (tmp_path / "roles/node/tasks/other.yml").unlink()
    with pytest.raises(Exception, match="has no roles/node"):
        template_keys.sources_digest(tmp_path)
