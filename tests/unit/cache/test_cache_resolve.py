"""Resolving: the cache first, then each source in order, and a lock that names every byte."""

from __future__ import annotations

import dataclasses
import platform
from typing import TYPE_CHECKING, Any

import pytest

from ohmykube.addons import selection
from ohmykube.cache import catalog, oci, releases, resolve, unpack
from ohmykube.cache.sources.base import Source, SourceContext
from ohmykube.cache.store import Ref, Store
from ohmykube.errors import (
    ConfigError,
    IntegrityError,
    NetworkError,
    OhmykubeError,
    PrerequisiteError,
)
from ohmykube.kit import process
from ohmykube.model.artifact import ArtifactLock, Kind, PackageRole
from ohmykube.model.cluster import Cluster, Node, Role, Sources

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from conftest import Recorder

    from ohmykube.cache.catalog import Component, ImageSpec


CLUSTER = Cluster(
    name="dev",
    kubernetes_version="1.36.3",
    provider="fake",
    nodes=(Node(name="a", role=Role.CONTROL_PLANE),),
)


class FakeSource(Source):
    """Gives files and images whose content is the source's and the artifact's name."""

    def __init__(self, context: SourceContext, world: World, name: str) -> None:
        super().__init__(context)
        self.name = name
        self.world = world

    def available(self) -> None:
        self.world.asked.append(self.name)
        if error := self.world.closed.get(self.name):
            raise error

    def _give(self, what: str) -> Path:
        self.world.given.append((self.name, what))
        if error := self.world.lacks.get((self.name, what)):
            raise error
        return self.context.store.path(
            self.context.store.put_bytes(f"{what} from {self.name}".encode())
        )

    def component(self, component: Component, arch: str) -> Mapping[str, Path]:
        self._give(component.name)
        return {name: self._give(f"{name} for {arch}") for name in component.installs}

    def image(self, image: ImageSpec, arch: str) -> str:
        program = self._give(image.name)
        layer = oci.layer(
            self.context.store, {image.entrypoint.strip("/"): oci.Entry(path=program)}
        )
        config = oci.ImageConfig(entrypoint=(image.entrypoint,))
        return oci.assemble(self.context.store, arch, [layer], config)

    def reference(self, image: ImageSpec) -> str:
        return (image.build_ref or image.ref) if self.name == "build" else image.ref

    def release_file(self, file: catalog.FileSpec, arch: str) -> Path:
        return self._give(f"{file.name} for {arch}")

    def architectures(self) -> Sequence[str]:
        return self.world.only.get(self.name, catalog.ARCHITECTURES)

    def estimate(self, specs: Iterable[Component | ImageSpec], arch: str) -> float:
        return self.world.estimates.get(self.name, 0.0)


@dataclasses.dataclass
class World:
    """What the fake sources can do, and what they were asked for."""

    store: Store
    recorder: Recorder
    closed: dict[str, OhmykubeError] = dataclasses.field(default_factory=dict)
    only: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    """Architectures of a source that has not all."""
    lacks: dict[tuple[str, str], OhmykubeError] = dataclasses.field(default_factory=dict)
    estimates: dict[str, float] = dataclasses.field(default_factory=dict)
    asked: list[str] = dataclasses.field(default_factory=list)
    given: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    loaded: list[str] = dataclasses.field(default_factory=list)

    def load(self, name: str, context: SourceContext) -> Source:
        self.loaded.append(name)
        return FakeSource(context, self, name)

    def resolve(
        self, sources: Sources | None = None, version: str = "1.36.3", *arches: str
    ) -> ArtifactLock:
        cluster = dataclasses.replace(
            CLUSTER, kubernetes_version=version, sources=sources or Sources()
        )
        release = selection.release_of(cluster)
        return self.resolved(release, *(arches or ("amd64",)), cluster=cluster)

    def resolved(
        self, release: catalog.Release, *arches: str, cluster: Cluster | None = None
    ) -> ArtifactLock:
        return resolve.resolve(
            cluster or CLUSTER,
            release,
            self.store,
            self.recorder,
            architectures=arches,
            load=self.load,
        )

    def forget(self) -> None:
        for record in (self.asked, self.given, self.loaded, self.recorder.events):
            record.clear()


@pytest.fixture
def world(tmp_path: Path, recorder: Recorder) -> World:
    return World(Store(tmp_path / "cache"), recorder)


NO_ROUTE = NetworkError("registry.k8s.io cannot be reached", why="no route to host", hint="ping it")
NO_GO = PrerequisiteError("`go` is not installed", hint="ohmykube doctor --fix")


def test_the_lock_has_everything_by_digest(world: World) -> None:
    lock = world.resolve()
    assert (lock.kubernetes_version, lock.architectures) == ("1.36.3", ("amd64",))
    assert [one.name for one in lock.sets] == ["containerd", "kubernetes", "flannel"]
    assert lock.package(PackageRole.CONTAINERD, "amd64").version == "2.3.4"
    assert lock.package(PackageRole.KUBEADM, "amd64").version == "1.36.3"
    assert len(lock.images("control-plane", "amd64")) == 9
    assert {i.name for i in lock.images("worker", "amd64")} == {
        "registry.k8s.io/kube-proxy:v1.36.3",
        "registry.k8s.io/pause:3.10.2",
        "registry.k8s.io/coredns/coredns:v1.14.2",
        "ghcr.io/flannel-io/flannel:v0.26.7",
        "ghcr.io/flannel-io/flannel-cni-plugin:v1.6.2-flannel1",
    }
    assert {a.source for a in lock.artifacts} == {"upstream"}
    for artifact in lock.artifacts:
        assert world.store.has(artifact.digest)
        if artifact.kind is Kind.IMAGE:
            assert artifact.size == oci.image_size(world.store, artifact.digest)
        else:
            assert artifact.size == world.store.path(artifact.digest).stat().st_size
    assert list(world.store.ingest.iterdir()) == []


def test_a_package_unpacks_to_the_places_on_a_node(world: World, tmp_path: Path) -> None:
    package = world.resolve().package(PackageRole.CONTAINERD, "amd64")
    target = tmp_path / "node"
    target.mkdir()
    unpack.unpack(world.store.path(package.digest), target)
    runc = target / "usr/local/bin/runc"
    assert runc.read_text() == "runc for amd64 from upstream"
    assert runc.stat().st_mode & 0o777 == 0o755
    assert (target / "opt/cni/bin/host-local").is_file()
    assert package.content_digest.startswith("sha256:")


def test_a_second_run_asks_nobody_and_starts_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = world.resolve()
    world.forget()

    def forbidden(*_args: object, **_kwargs: object) -> None:
        pytest.fail("a program was started or a connection opened")

    monkeypatch.setattr(process, "_start", forbidden)
    monkeypatch.setattr("socket.socket.connect", forbidden)
    assert world.resolve() == first
    assert world.loaded == []
    assert world.recorder.events == []
    (counted,) = world.store.counters().values()
    assert counted["hits"] == len(first.artifacts)
    sizes = {ref.digest: ref.size for ref in world.store.refs()}
    assert counted["bytes_saved"] == sum(sizes[a.digest] for a in first.artifacts)


def test_sources_are_tried_in_order_and_a_useless_one_is_told_of_once(world: World) -> None:
    world.closed["upstream"] = NO_ROUTE
    lock = world.resolve()
    assert {a.source for a in lock.artifacts} == {"build"}
    assert world.asked == ["upstream", "build"]
    (said,) = world.recorder.texts("warning")
    assert said == (
        "source upstream cannot be used (registry.k8s.io cannot be reached: no route to host); "
        "trying build next"
    )


def test_the_mirror_is_asked_only_when_it_is_set(world: World) -> None:
    world.resolve()
    assert "mirror" not in world.loaded
    world.store.drop_refs([next(r for r in world.store.refs() if r.kind is Kind.PACKAGE)])
    world.forget()
    world.resolve(Sources(mirror="https://mirror.example"))
    assert world.asked == ["mirror"]


def test_one_artifact_that_a_source_lacks_comes_from_the_next(world: World) -> None:
    world.lacks["upstream", "coredns"] = NetworkError("404 Not Found")
    world.lacks["upstream", "runc"] = NetworkError("404 Not Found")
    lock = world.resolve()
    sources = {a.name.split(":")[0].rpartition("/")[2]: a.source for a in lock.artifacts}
    assert sources.pop("coredns") == "build"
    assert sources.pop("containerd") == "build+upstream"
    assert set(sources.values()) == {"upstream"}
    assert world.asked == ["upstream", "build"]
    world.forget()
    assert world.resolve() == lock
    assert world.loaded == []


def test_nobody_can_bring_it(world: World) -> None:
    world.closed["upstream"] = NO_ROUTE
    world.closed["build"] = NO_GO
    with pytest.raises(NetworkError) as caught:
        world.resolve()
    assert "registry.k8s.io cannot be reached: no route to host" in (caught.value.why or "")
    assert "build: `go` is not installed" in (caught.value.why or "")
    assert caught.value.hint == "ohmykube doctor --fix"
    assert world.recorder.texts("warning")[1].endswith("it was the last one")


def test_when_only_this_host_is_to_blame_it_is_said_so(world: World) -> None:
    world.closed["build"] = NO_GO
    with pytest.raises(PrerequisiteError):
        world.resolve(Sources(order=("build",)))


def test_without_a_source_there_is_nothing(world: World) -> None:
    with pytest.raises(NetworkError) as caught:
        world.resolve(Sources(order=("mirror",)))
    assert "lists none" in (caught.value.why or "")


def test_wrong_bytes_are_not_asked_for_elsewhere(world: World) -> None:
    world.lacks["upstream", "etcd"] = IntegrityError("etcd has another digest")
    with pytest.raises(IntegrityError):
        world.resolve()
    assert world.asked == ["upstream"]


def test_what_was_brought_before_a_failure_is_kept(world: World) -> None:
    world.lacks["upstream", "etcd"] = IntegrityError("etcd has another digest")
    with pytest.raises(IntegrityError):
        world.resolve()
    world.lacks.clear()
    world.forget()
    world.resolve()
    assert "coredns" not in {what for _, what in world.given}
    assert "etcd" in {what for _, what in world.given}


def test_a_restricted_order_does_not_take_what_another_source_made(world: World) -> None:
    world.resolve(Sources(order=("build",)))
    lock = world.resolve(Sources(order=("upstream",)))
    assert {a.source for a in lock.artifacts} == {"upstream"}


def test_our_own_image_goes_by_its_own_reference(world: World) -> None:
    lock = world.resolve(Sources(order=("build",)))
    reference = "ghcr.io/flannel-io/flannel-cni-plugin:v0.9.1"
    (image,) = [a for a in lock.artifacts if a.name == reference]
    assert image.version == "v0.9.1"
    assert lock.variables["flannel_cni_plugin_image"] == reference
    world.forget()
    assert world.resolve(Sources(order=("build",))) == lock
    assert world.given == []


def test_a_lost_blob_is_brought_again(world: World) -> None:
    lock = world.resolve()
    etcd = next(a for a in lock.artifacts if "etcd" in a.name)
    world.store.discard(oci.image_blobs(world.store, etcd.digest)[2].digest)
    world.store.discard(lock.package(PackageRole.KUBEADM, "amd64").digest)
    world.forget()
    assert world.resolve() == lock
    names = {what for _, what in world.given}
    assert "etcd" in names
    assert "kubelet" in names
    assert "runc" not in names
    assert "coredns" not in names


def test_what_an_older_recipe_made_is_not_taken(world: World) -> None:
    world.resolve(Sources(order=("build",)))
    (old,) = [r for r in world.store.refs() if "coredns" in r.name]
    world.store.set_ref(dataclasses.replace(old, url="catalog:0123456789abcdef"))
    world.forget()
    world.resolve(Sources(order=("build",)))
    assert {what for _, what in world.given} == {"coredns"}


def test_long_work_is_announced(world: World) -> None:
    world.closed["upstream"] = NO_ROUTE
    world.estimates["build"] = 900
    world.resolve()
    (said,) = world.recorder.texts("info")
    assert "build: about 15 minutes" in said
    assert "once" in said


def test_short_work_is_not_announced(world: World) -> None:
    world.estimates["upstream"] = 5
    world.resolve()
    assert world.recorder.texts("info") == []


def test_architectures_do_not_mix(world: World) -> None:
    one, other = world.resolve(), world.resolve(None, "1.36.3", "arm64")
    assert {a.arch for a in other.artifacts} == {"arm64"}
    mine, theirs = (lock.packages(lock.architectures[0]) for lock in (one, other))
    assert not {p.digest for p in mine} & {p.digest for p in theirs}


def test_an_unsupported_version_touches_nothing(world: World) -> None:
    with pytest.raises(ConfigError):
        world.resolve(version="1.30.0")
    assert not world.store.root.exists()


@pytest.mark.parametrize(
    ("machine", "arch"), [("x86_64", "amd64"), ("aarch64", "arm64"), ("ARM64", "arm64")]
)
def test_the_architecture_of_this_host(
    monkeypatch: pytest.MonkeyPatch, machine: str, arch: str
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert resolve.host_arch() == arch


def test_an_unknown_architecture_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(PrerequisiteError) as caught:
        resolve.host_arch()
    assert "riscv64" in caught.value.message


def test_a_reference_that_lost_its_kind_of_version_is_no_match(world: World) -> None:
    lock = world.resolve()
    (ref,) = [r for r in world.store.refs() if r.name == "kubeadm" and r.kind is Kind.PACKAGE]
    assert ref.digest == lock.package(PackageRole.KUBEADM, "amd64").digest
    containerd = next(r for r in world.store.refs() if r.name == "containerd")
    assert containerd.version == "containerd-2.3.4_runc-1.4.3_cni-plugins-1.9.1"
    assert isinstance(ref, Ref)
    assert releases.release("1.36.3").of_package(PackageRole.KUBEADM)[0].version == ref.version


BOTH = ("amd64", "arm64")


def test_nodes_of_two_architectures_have_their_own_artifacts_in_one_lock(world: World) -> None:
    lock = world.resolve(None, "1.36.3", *BOTH)
    assert lock.architectures == BOTH
    for arch in BOTH:
        assert lock.packages(arch) == world.resolve(None, "1.36.3", arch).packages(arch)
        assert {image.arch for image in lock.images("worker", arch)} == {arch}
    assert [i.name for i in lock.images("worker", "amd64")] == [
        i.name for i in lock.images("worker", "arm64")
    ]
    world.forget()
    assert world.resolve(None, "1.36.3", *BOTH) == lock
    assert world.given == []


def test_what_no_source_brings_for_an_architecture_is_told_before_anything_is_got(
    world: World,
) -> None:
    world.closed["upstream"] = NO_ROUTE
    world.only["build"] = ("amd64",)
    with pytest.raises(PrerequisiteError, match="what nodes of arm64 need") as caught:
        world.resolve(None, "1.36.3", *BOTH)
    assert caught.value.id == "OMK-I-312"
    assert "upstream: registry.k8s.io cannot be reached" in (caught.value.why or "")
    assert "build: what it brings is for amd64 alone" in (caught.value.why or "")
    assert "bundle on a host of arm64" in (caught.value.hint or "")
    assert world.given == []


def test_an_architecture_that_one_source_lacks_comes_from_the_next(world: World) -> None:
    world.only["build"] = ("amd64",)
    lock = world.resolve(Sources(order=("build", "upstream")), "1.36.3", *BOTH)
    sources = {(a.arch, a.source) for a in lock.artifacts if "flannel-cni-plugin" not in a.name}
    assert sources == {("amd64", "build"), ("arm64", "upstream")}


def test_one_reference_names_an_image_on_all_nodes(world: World) -> None:
    """A pod has one: where our own image has another version, the publisher's is taken for all."""
    world.only["build"] = ("amd64",)
    world.resolve(Sources(order=("build",)))
    lock = world.resolve(Sources(order=("build", "upstream")), "1.36.3", *BOTH)
    plugin = [a for a in lock.artifacts if "flannel-cni-plugin" in a.name]
    assert {a.name.rpartition(":")[2] for a in plugin} == {"v1.6.2-flannel1"}
    assert [a.arch for a in plugin] == list(BOTH)
    assert lock.variables["flannel_cni_plugin_image"] == plugin[0].name


def test_an_image_that_has_two_references_is_refused(world: World) -> None:
    with pytest.raises(NetworkError, match="flannel-cni-plugin") as caught:
        world.resolve(Sources(order=("build",)), "1.36.3", *BOTH)
    assert "one reference for all of them" in (caught.value.why or "")


def test_the_files_of_a_set_are_locked_for_all_or_each_architecture(world: World) -> None:
    def file(name: str, *arches: str, **more: Any) -> catalog.FileSpec:
        downloads = {arch: catalog.Download(url=f"https://e.com/{name}-{arch}") for arch in arches}
        return catalog.FileSpec(name=name, version="1", downloads=downloads, **more)

    files = (
        file("chart.tgz", catalog.ANY, kind=Kind.CHART),
        file("tool", *BOTH, node_roles=("worker",)),
    )
    one = catalog.ArtifactSet(name="echo", version="1", files=files)
    release = catalog.Release(kubernetes_version="1.36.3", sets=(one,))
    lock = world.resolved(release, *BOTH)
    assert [(a.kind, a.name, a.arch, a.node_roles) for a in lock.artifacts] == [
        (Kind.CHART, "echo/chart.tgz", "noarch", ()),
        (Kind.FILE, "echo/tool", "amd64", ("worker",)),
        (Kind.FILE, "echo/tool", "arm64", ("worker",)),
    ]
    assert all(world.store.has(a.digest) for a in lock.artifacts)
    world.forget()
    assert world.resolved(release, *BOTH) == lock
    assert world.given == []
    assert world.resolved(release, "amd64").artifacts == lock.artifacts[:2]
    offline = resolve.missing(
        CLUSTER, release, Store(world.store.root / "other"), architectures=BOTH
    )
    assert offline == ("echo/chart.tgz", "echo/tool (amd64)", "echo/tool (arm64)")
