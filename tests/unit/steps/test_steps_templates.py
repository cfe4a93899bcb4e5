"""Which templates a run uses, when building some pays, and which are removed again."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from ohmykube.ansible import collection
from ohmykube.config import load
from ohmykube.config.overrides import Overrides
from ohmykube.errors import NotFoundError, ProviderError, UnreachableError
from ohmykube.kit import locks, paths
from ohmykube.kit.secret import Secret
from ohmykube.model.artifact import ArtifactLock, Kind, LockedArtifact, PackageRole
from ohmykube.model.change import Plan
from ohmykube.model.cluster import Mount, Role, TemplateUse
from ohmykube.model.machine import MachineSpec, MachineState
from ohmykube.model.names import HIDDEN
from ohmykube.planning.observation import Observed
from ohmykube.progress import Message, Status, StepEnded
from ohmykube.providers.base import NOT_FROZEN, NewTemplate, ProviderContext
from ohmykube.state import layout
from ohmykube.steps import template_keys, template_removal, templates
from ohmykube.steps.context import Context, Services
from ohmykube.steps.create_nodes import create_nodes
from ohmykube.steps.nodes import Nodes
from ohmykube.steps.run_playbook import NODE_TEMPLATE
from ohmykube.steps.serve import Served
from ohmykube.testing.fake_provider import FakeProvider
from ohmykube.testing.fake_templates import FakeCloningProvider
from ohmykube.testing.reporter import RecordingReporter
from tests import artifact_locks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ohmykube.cache.serve import Server
    from ohmykube.model.cluster import Cluster
    from ohmykube.model.machine import Machine


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


LOCK = artifact_locks.of(
    (
        artifact(Kind.PACKAGE, PackageRole.CONTAINERD.value, 1),
        artifact(Kind.PACKAGE, PackageRole.KUBEADM.value, 2),
        artifact(Kind.IMAGE, "registry.k8s.io/pause:3.10", 3),
        artifact(Kind.IMAGE, "registry.k8s.io/etcd:3.6", 4, "control-plane"),
    ),
    variables={"containerd_sandbox_image": "registry.k8s.io/pause:3.10"},
)


def with_variables(*artifacts: LockedArtifact) -> ArtifactLock:
    """Return the lock with other artifacts."""
    return artifact_locks.of(artifacts, variables=LOCK.variables)


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


def of(services: Services, provider: FakeProvider, wanted: Cluster, place: Path) -> Context:
    return Context(
        services=services,
        cluster=wanted,
        provider=provider,
        directory=place,
        run_directory=place,
    )


@pytest.fixture
def ctx(services: Services, provider: FakeCloningProvider, tmp_path: Path) -> Context:
    return of(services, provider, cluster(workers=1), tmp_path)


def machines(ctx: Context) -> dict[str, Machine]:
    return {machine.node: machine for machine in ctx.provider.list(ctx.cluster.name)}


def use(ctx: Context) -> tuple[dict[Role, str], StepEnded]:
    """Use templates for the machines that lack; return them, and how the step ended."""
    found = templates.use_templates(ctx, LOCK, machines(ctx))
    reporter = ctx.services.reporter
    assert isinstance(reporter, RecordingReporter)
    return found, reporter.of(StepEnded)[-1]


def wanted_by(ctx: Context) -> dict[Role, NewTemplate]:
    return templates.wanted_templates(ctx, LOCK)


def create(ctx: Context, found: dict[Role, str]) -> None:
    create_nodes(ctx, Observed(machines=machines(ctx)), Plan(), found)


def freeze(provider: FakeCloningProvider, *new: NewTemplate) -> None:
    for template in new:
        provider.create(MachineSpec(cluster=f"{HIDDEN}x", node="a"))
        provider.freeze(f"{HIDDEN}x", "a", template)


def test_skipped_where_nothing_can_or_need_be_cloned(
    services: Services, provider: FakeCloningProvider, ctx: Context, tmp_path: Path
) -> None:
    def reason(of_run: Context) -> str:
        found, ended = use(of_run)
        assert (found, ended.status) == ({}, Status.SKIPPED)
        return ended.detail

    assert use(ctx)[1].status is Status.OK
    never = replace(ctx.cluster, template=TemplateUse.NEVER)
    assert reason(of(services, provider, never, tmp_path)) == "not wanted"
    plain = FakeProvider(provider.context)
    assert reason(of(services, plain, ctx.cluster, tmp_path)) == "provider fake has none"
    for node in ctx.cluster.nodes:
        provider.create(MachineSpec(cluster="dev", node=node.name))
    assert reason(ctx) == "no machine to make"


def test_templates_that_are_there_are_cloned(ctx: Context, provider: FakeCloningProvider) -> None:
    wanted = wanted_by(ctx)
    freeze(provider, *wanted.values())
    found, ended = use(ctx)
    assert ended.detail == "control-plane, worker cloned"
    assert found == {role: new.key for role, new in wanted.items()}
    before = {template.key: template.last_used_at for template in provider.templates()}
    create(ctx, found)
    after = {template.key: template.last_used_at for template in provider.templates()}
    assert all(after[key] > before[key] for key in before)


def test_without_templates_nodes_are_made_from_scratch(
    ctx: Context, provider: FakeCloningProvider
) -> None:
    provider.create(MachineSpec(cluster=f"{HIDDEN}killed", node="a"))
    found, ended = use(ctx)
    assert (found, ended.detail) == ({}, "none yet: nodes are made from scratch")
    assert list(provider.list(f"{HIDDEN}killed")) == [], "what a killed build left stays for ever"


def test_one_role_may_have_a_template_and_the_other_none(
    ctx: Context, provider: FakeCloningProvider
) -> None:
    freeze(provider, wanted_by(ctx)[Role.WORKER])
    found, ended = use(ctx)
    assert ended.detail == "worker cloned"
    assert list(found) == [Role.WORKER]


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
    ctx = of(services, provider, cluster(**chosen), tmp_path)
    roles = {"c": Role.CONTROL_PLANE, "w": Role.WORKER}
    wanted = wanted_by(ctx)
    lacking = {roles[c]: wanted[roles[c]] for c in missing if roles[c] in wanted}
    assert templates.pays(ctx, machines(ctx), lacking) is expected


def test_a_template_that_goes_meanwhile_is_no_failure(
    ctx: Context, provider: FakeCloningProvider
) -> None:
    freeze(provider, *wanted_by(ctx).values())
    found, _ = use(ctx)
    for template in provider.templates():
        provider.remove_template(template.key)
    create(ctx, found)
    states = {machine.state for machine in provider.list("dev")}
    assert states == {MachineState.RUNNING}


def test_another_failure_of_create_is_one(ctx: Context, provider: FakeCloningProvider) -> None:
    class Broken(FakeCloningProvider):
        def create(self, spec: MachineSpec) -> None:  # type: ignore[override]
            raise NotFoundError("something else is not there", id="OMK-X-1")

    with pytest.raises(NotFoundError, match="something else"):
        create(replace(ctx, provider=Broken(provider.context)), {})


def test_a_build_that_fails_leaves_nothing(
    ctx: Context, provider: FakeCloningProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fake's machines take no ssh connection; looked at when that fails."""
    seen = []

    def unreachable(inner: Context, made: Mapping[str, Machine]) -> Nodes:
        seen.append((inner.cluster.name, sorted(made)))
        raise UnreachableError("nobody answers")

    monkeypatch.setattr(templates, "connect_nodes", unreachable)
    with pytest.raises(UnreachableError):
        use(replace(ctx, cluster=replace(ctx.cluster, template=TemplateUse.BUILD)))
    ((name, nodes),) = seen
    assert name.startswith(HIDDEN)
    assert nodes == ["control-plane", "worker"]
    assert list(provider.list(name)) == []
    assert list(provider.templates()) == []
    reporter = ctx.services.reporter
    assert isinstance(reporter, RecordingReporter)
    assert [(e.step, e.status) for e in reporter.of(StepEnded)] == [("templates", Status.FAILED)]


def test_a_build_prepares_one_machine_of_each_role_and_freezes_it(
    ctx: Context, provider: FakeCloningProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What needs real machines is played: connecting, serving, the playbook."""
    played = []

    def connected(inner: Context, made: Mapping[str, Machine]) -> Nodes:
        return Nodes(machines=made, ssh_config=inner.directory / layout.SSH_CONFIG)

    @contextlib.contextmanager
    def served(inner: Context, nodes: Nodes, lock: ArtifactLock) -> Iterator[Served]:
        assert lock is LOCK
        yield Served(cast("Server", None), Secret("hush"))

    def prepared(inner: Context, playbook: str, inventory: Path, server: Server) -> int:
        text = inventory.read_text()
        nodes = sorted(machines(inner))
        played.append((playbook, nodes, "hush" in text, "10.244" in text))
        for node in nodes:
            provider.mark(inner.cluster.name, node)
        return 1

    monkeypatch.setattr(templates, "connect_nodes", connected)
    monkeypatch.setattr(templates, "serve", served)
    monkeypatch.setattr(templates, "run_playbook", prepared)
    freeze(provider, *(NewTemplate(key=f"{n:016x}", role="worker", summary="") for n in range(5)))
    ctx = replace(ctx, cluster=cluster(workers=2))
    found, ended = use(ctx)
    assert ended.detail == "control-plane, worker cloned"
    assert played == [(NODE_TEMPLATE, ["control-plane", "worker"], False, True)]
    kept = {template.key: template.role for template in provider.templates()}
    assert set(found.values()) <= set(kept)
    assert sorted(kept.values()) == ["control-plane", *["worker"] * templates.KEPT]
    assert not (ctx.services.paths.state / layout.TEMPLATE_BUILD).exists()
    create(ctx, found)
    assert all(provider.marked("dev", node) for node in ("cp1", "w1", "w2"))
    assert list(provider.clusters()) == ["dev"]
    for node in ("cp1", "w1", "w2"):
        provider.delete("dev", node)
    assert use(ctx)[0] == found
    built = templates.build_templates(ctx, LOCK)
    assert (built.keys, built.made) == (set(found.values()), ())
    assert len(played) == 1
    for key in found.values():
        provider.remove_template(key)
    assert set(templates.build_templates(ctx, LOCK).made) == set(found.values())


@pytest.mark.parametrize("way", ["auto", "build"])
def test_what_cannot_be_frozen_stops_only_who_asked_for_it(
    ctx: Context, provider: FakeCloningProvider, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    def refuse(*_args: object) -> None:
        raise ProviderError("cannot become a template", why="containers ran", id=NOT_FROZEN[0])

    monkeypatch.setattr(templates, "build", refuse)
    ctx = replace(ctx, cluster=replace(cluster(workers=2), template=TemplateUse(way)))
    if way == "build":
        with pytest.raises(ProviderError):
            use(ctx)
        return
    assert use(ctx)[1].detail == "none yet: nodes are made from scratch"
    reporter = ctx.services.reporter
    assert isinstance(reporter, RecordingReporter)
    (message,) = reporter.of(Message)
    assert "containers ran" in message.text


def test_what_a_killed_build_left_is_swept_unless_one_is_under_way(
    services: Services, provider: FakeCloningProvider
) -> None:
    provider.create(MachineSpec(cluster=f"{HIDDEN}x", node="a"))
    with locks.exclusive(template_removal.lock_file(services), "a build"):
        template_removal.sweep(services, provider)
    assert len(provider.list(f"{HIDDEN}x")) == 1
    template_removal.sweep(services, FakeProvider(provider.context))
    assert len(provider.list(f"{HIDDEN}x")) == 1
    template_removal.sweep(services, provider)
    assert list(provider.list(f"{HIDDEN}x")) == []


def test_the_second_of_two_builds_finds_all_done(
    ctx: Context, provider: FakeCloningProvider
) -> None:
    wanted = wanted_by(ctx)
    freeze(provider, *wanted.values())
    assert templates.build(ctx, LOCK, wanted) == ()
    built = templates.build_templates(ctx, LOCK)
    assert (built.keys, built.made) == ({new.key for new in wanted.values()}, ())
    reporter = ctx.services.reporter
    assert isinstance(reporter, RecordingReporter)
    assert [ended.detail for ended in reporter.of(StepEnded)] == ["all there"]
    assert not (ctx.services.paths.state / layout.TEMPLATE_BUILD).exists()


def test_a_provider_without_templates_is_a_wrong_order_of_steps(
    services: Services, provider: FakeCloningProvider, ctx: Context, tmp_path: Path
) -> None:
    plain = of(services, FakeProvider(provider.context), ctx.cluster, tmp_path)
    with pytest.raises(TypeError, match="no templates"):
        templates.provider_of(plain)


def test_the_least_recently_used_go(provider: FakeCloningProvider) -> None:
    keys = [f"{number:016x}" for number in range(4)]
    freeze(provider, *(NewTemplate(key=key, role="worker", summary="") for key in keys))
    freeze(provider, NewTemplate(key="c" * 16, role="control-plane", summary=""))
    provider.create(MachineSpec(cluster="dev", node="w1", template=keys[0]))

    def gone(**how: object) -> list[str]:
        found = template_removal.prune(provider, dry_run=True, **how)  # type: ignore[arg-type]
        return [template.key for template in found]

    assert gone(keep=4) == []
    assert gone(keep=2) == [keys[2], keys[1]]
    assert gone(keep=0) == [keys[0], "c" * 16, keys[3], keys[2], keys[1]]
    assert gone(keep=4, max_bytes=2500) == [keys[3], keys[2], keys[1]]
    assert len(provider.templates()) == 5
    template_removal.prune(provider, keep=1)
    assert [template.key for template in provider.templates()] == [keys[0], "c" * 16]


SRC = Mount(host=Path("/src"), node="/src")


def changed(ctx: Context, lock: ArtifactLock = LOCK, **what: object) -> dict[Role, str]:
    """Return the keys with other artifacts, or with fields of the run replaced."""
    other = replace(ctx, **what)  # type: ignore[arg-type]
    return {role: new.key for role, new in templates.wanted_templates(other, lock).items()}


def test_what_is_the_clusters_own_is_not_in_the_key(ctx: Context) -> None:
    before = changed(ctx)
    assert len(set(before.values())) == 2
    for other in (
        cluster(workers=1, cpus=3, memory="9GiB"),
        cluster(workers=7),
        cluster(workers=1, proxy_mode="nftables"),
        replace(ctx.cluster, name="another"),
        replace(ctx.cluster, trust=("authority",)),
        replace(ctx.cluster, nodes=tuple(replace(n, mounts=(SRC,)) for n in ctx.cluster.nodes)),
    ):
        assert changed(ctx, cluster=other) == before


def test_what_goes_into_a_template_is_in_its_key(ctx: Context, tmp_path: Path) -> None:
    before = changed(ctx)
    other = artifact_locks.of((artifact(Kind.PACKAGE, "containerd", 9), *LOCK.artifacts[1:]))
    assert not set(changed(ctx, lock=other).values()) & set(before.values())
    image = replace(LOCK.artifacts[3], digest="sha256:" + "f" * 64)
    only = changed(ctx, lock=with_variables(*LOCK.artifacts[:3], image))
    assert only[Role.WORKER] == before[Role.WORKER]
    assert only[Role.CONTROL_PLANE] != before[Role.CONTROL_PLANE]
    assert (
        changed(ctx, lock=replace(LOCK, architectures=("arm64",)))[Role.WORKER]
        != before[Role.WORKER]
    )
    version = cluster(workers=1, kubernetes_version="1.35.4")
    assert changed(ctx, cluster=version)[Role.WORKER] != before[Role.WORKER]

    class Other(FakeCloningProvider):
        def template_basis(self) -> str:
            return "another base"

    basis = changed(ctx, provider=Other(ctx.provider.context))
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
    first = collection.digest(template_keys.SOURCES, tmp_path)
    (tmp_path / "plugins/modules/x.pyc").write_text("compiled")
    assert collection.digest(template_keys.SOURCES, tmp_path) == first
    (tmp_path / "roles/node/tasks/main.yml").write_text("Tasks")
    second = collection.digest(template_keys.SOURCES, tmp_path)
    (tmp_path / "roles/node/tasks/main.yml").rename(tmp_path / "roles/node/tasks/other.yml")
    assert len({first, second, collection.digest(template_keys.SOURCES, tmp_path)}) == 3
    (tmp_path / "roles/node/tasks/other.yml").unlink()
    with pytest.raises(Exception, match="has no roles/node"):
        collection.digest(template_keys.SOURCES, tmp_path)
