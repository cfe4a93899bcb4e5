"""From a description to a bundle, and from the bundle to a host that may ask nobody."""

from __future__ import annotations

import functools
import hashlib
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from ohmykube.addons import selection
from ohmykube.cache import oci, resolve
from ohmykube.cache.bundle import read, write
from ohmykube.cache.store import Ref, Store
from ohmykube.config import load
from ohmykube.config.overrides import Overrides
from ohmykube.errors import (
    IntegrityError,
    LockedError,
    NetworkError,
    NotFoundError,
    PrerequisiteError,
)
from ohmykube.kit import architecture, paths, plain_tar
from ohmykube.model.artifact import Kind
from ohmykube.progress import StepEnded
from ohmykube.providers.base import Check, CheckStatus, ProviderContext
from ohmykube.providers.nspawn.provider import NspawnProvider
from ohmykube.steps.context import Services
from ohmykube.steps.create_nodes import prepare_nodes
from ohmykube.steps.offline import prepare_offline
from ohmykube.steps.plan import make_plan
from ohmykube.steps.preflight import preflight
from ohmykube.steps.resolve import resolved
from ohmykube.steps.run_options import RunOptions
from ohmykube.testing import fake_limactl
from ohmykube.testing.fake_provider import FakeProvider
from ohmykube.testing.reporter import RecordingReporter
from ohmykube.workflows import bundle as bundles
from ohmykube.workflows import session
from ohmykube.workflows.bundle import CreateOptions
from ohmykube.workflows.up import up
from ohmykube.workflows.up_values import UpOptions
from tests import plenty
from tests.image_server import ImageServer, serving

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from ohmykube.cache.sources.base import Source, SourceContext
    from ohmykube.model.artifact import ArtifactLock
    from ohmykube.model.cluster import Cluster


IMAGE = b"no machine boots from this " * 1000


def described(provider: str = "nspawn", **chosen: object) -> Cluster:
    return load.from_overrides(Overrides(name="dev", provider=provider, workers=0, **chosen))  # type: ignore[arg-type]


def services_at(root: Path) -> Services:
    return Services(
        paths=paths.from_environment({"OHMYKUBE_HOME": str(root)}), reporter=RecordingReporter()
    )


def provider_at(services: Services, cluster: Cluster) -> NspawnProvider:
    context = ProviderContext(paths=services.paths, reporter=services.reporter, cluster=cluster)
    return NspawnProvider(context)


def furnished(root: Path) -> Services:
    """Make a host with a network, whose cache has everything and whose provider has its base."""
    services = services_at(root)
    cluster = described()
    release = selection.release_of(cluster)
    store = Store(services.paths.cache)
    resolve.resolve(cluster, release, store, services.reporter, load=plenty.plenty)
    provider = provider_at(services, cluster)
    rootfs = services.paths.cache / "nspawn" / f"base-{provider.base_version()}" / "rootfs"
    for name in ("etc", "usr", "var", "root"):
        (rootfs / name).mkdir(parents=True)
    return services


@pytest.fixture(scope="module", autouse=True)
def _one_wheel() -> Iterator[None]:
    """Build the wheel that bundles of a checkout carry once for all tests: it is the same one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundles, "_built", functools.cache(bundles._built))
        yield


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Services:
    """One such host for all tests: nothing is taken away there."""
    return furnished(tmp_path_factory.mktemp("here"))


@pytest.fixture
def there(tmp_path: Path) -> Services:
    """A host that has nothing."""
    return services_at(tmp_path / "there")


@pytest.fixture(scope="module")
def original(here: Services, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    target = tmp_path_factory.mktemp("made") / "dev.omk.tar"
    bundles.create(here, described(), CreateOptions(target=target))
    return target.read_bytes()


@pytest.fixture
def made(original: bytes, tmp_path: Path) -> Path:
    target = tmp_path / "dev.omk.tar"
    target.write_bytes(original)
    return target


def test_all_that_a_cluster_needs(here: Services, made: Path) -> None:
    found = bundles.inspect(here, made)
    content = found.archive.bundle
    assert (content.kubernetes, content.provider) == (described().kubernetes_version, "nspawn")
    kinds = [ref.kind for ref in found.archive.refs]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {
        Kind.IMAGE: 9,
        Kind.PACKAGE: 2,
        Kind.MACHINE_IMAGE: 1,
        Kind.FILE: 2 - len(content.lacks),
    }
    files = {ref.name for ref in found.archive.refs if ref.kind is Kind.FILE}
    assert any(name.startswith("ohmykube-cluster-") for name in files)
    assert any(name.endswith(".whl") for name in files) == (not content.lacks)
    assert {"kubectl", "kubelet", "runc"} <= {c.name for c in content.components}
    checked = bundles.verify(here, made, None)
    assert (checked.hashed, checked.signed, checked.key, checked.signer) == (True, False, "", "")


def test_the_name_of_the_file_tells_what_it_is(
    here: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    written = bundles.create(here, described(), CreateOptions())
    arch = architecture.host()
    version = described().kubernetes_version
    assert [p.name for p in written.paths] == [f"dev-k8s{version}-{arch}.omk.tar"]


def test_what_cannot_be_in_it_is_said(here: Services, tmp_path: Path) -> None:
    written = bundles.create(
        here, described("fake"), CreateOptions(target=tmp_path / "fake.omk.tar")
    )
    assert any("provider fake cannot" in text for text in written.bundle.lacks)
    texts = [e.text for e in here.reporter.events if hasattr(e, "text")]  # type: ignore[attr-defined]
    assert any("not in the bundle: the machine image" in text for text in texts)


# -- machines whose image somebody else keeps ------------------------------------------------------


@pytest.fixture
def lima(tmp_path: Path, public: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ImageServer]:
    """Give the server of an image, and put a limactl on PATH."""
    fake_limactl.install(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("OHMYKUBE_LIMA_HOME", str(public))
    with serving() as server:
        server.files["a.img"] = IMAGE
        yield server


def booting(options: Mapping[str, object]) -> Cluster:
    return replace(described("lima"), provider_options=options)


def lima_bundle(here: Services, server: ImageServer, target: Path) -> Cluster:
    digest = f"sha256:{hashlib.sha256(IMAGE).hexdigest()}"
    cluster = booting({"image": server.url("a.img"), "digest": digest})
    bundles.create(here, cluster, CreateOptions(target=target))
    return cluster


@pytest.mark.linux  # the fake limactl keeps downloads as on Linux
def test_an_image_of_limactl_goes_along(
    here: Services, there: Services, lima: ImageServer, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    target = tmp_path / "l.omk.tar"
    cluster = lima_bundle(here, lima, target)
    digest = hashlib.sha256(IMAGE).hexdigest()
    (base,) = [r for r in read.load(target).refs if r.kind is Kind.MACHINE_IMAGE]
    assert (base.name, base.version) == ("lima", digest[:16])
    lima.stop()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    with pytest.raises(NotFoundError) as caught:
        offline(there, cluster=cluster)
    assert f"machine image lima {digest[:16]}" in caught.value.why.replace("\n", " ")
    offline(there, target, cluster=cluster)
    (found,) = (tmp_path / "elsewhere").rglob("data")
    assert found.read_bytes() == IMAGE
    assert lima.asked == ["GET /a.img"]


@pytest.mark.linux  # the fake limactl keeps downloads as on Linux
def test_another_image_than_the_description_says_is_not_taken(
    here: Services, there: Services, lima: ImageServer, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The name in a bundle's list is only the beginning of a digest, and its maker chose it."""
    target = tmp_path / "l.omk.tar"
    cluster = lima_bundle(here, lima, target)
    digest = str(cluster.provider_options["digest"])
    near = digest[:-1] + ("0" if digest[-1] != "0" else "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    with pytest.raises(IntegrityError, match="cannot be trusted"):
        offline(there, target, cluster=booting({**cluster.provider_options, "digest": near}))
    assert not list((tmp_path / "elsewhere").rglob("data"))


def test_what_only_the_user_can_bring_is_named(
    here: Services, there: Services, lima: ImageServer, tmp_path: Path
) -> None:
    target, own = tmp_path / "l.omk.tar", tmp_path / f"büro {'x' * 200}.img"
    own.write_bytes(IMAGE)
    kernel = tmp_path / "vmlinuz"
    template = tmp_path / "own.yaml"
    entry = {"location": str(own), "kernel": {"location": str(kernel)}}
    template.write_text(yaml.safe_dump({"images": [entry]}))
    cluster = booting({"template": str(template)})
    written = bundles.create(here, cluster, CreateOptions(target=target))
    assert Kind.MACHINE_IMAGE not in {ref.kind for ref in read.load(target).refs}
    lacks = [text for text in written.bundle.lacks if "wheel" not in text]
    assert [text.partition(": ")[0] for text in lacks] == [
        f"machine template {template}",
        f"machine image {own}".replace("ü", "_"),
        f"machine kernel {kernel}",
    ]
    assert all("bring it to that path on every host" in text for text in lacks)
    with pytest.raises(NotFoundError, match="files that no bundle holds") as caught:
        offline(there, target, cluster=cluster)
    assert caught.value.id == "OMK-I-434"
    with pytest.raises(NotFoundError, match="12 artifacts are missing") as nothing:
        offline(services_at(tmp_path / "third"), cluster=cluster)
    assert "machine kernel" in nothing.value.why
    assert f"machine kernel {kernel}" in caught.value.why.replace("\n", " ")
    kernel.touch()
    offline(there, target, cluster=cluster)


def test_images_of_the_user(here: Services, tmp_path: Path) -> None:
    store = Store(here.paths.cache)
    config = oci.ImageConfig(entrypoint=("/app",))
    digest = oci.assemble(store, resolve.host_arch(), [], config)
    name = "registry.test/team/app:1"
    store.set_ref(Ref(Kind.IMAGE, name, "1", resolve.host_arch(), digest, 1, "load"))
    options = CreateOptions(target=tmp_path / "x.omk.tar", images=(name,))
    bundles.create(here, described(), options)
    assert name in {ref.name for ref in read.load(tmp_path / "x.omk.tar").refs}
    with pytest.raises(NotFoundError, match="not in the cache"):
        bundles.create(here, described(), replace(options, images=("registry.test/none:1",)))


def test_only_what_is_new(here: Services, made: Path, tmp_path: Path) -> None:
    options = CreateOptions(target=tmp_path / "again.omk.tar", since=made)
    assert bundles.create(here, described(), options).bundle.blobs == ()


def offline(services: Services, *files: Path, cluster: Cluster | None = None) -> ArtifactLock:
    """Do what an offline `up` does before machines are made; return its artifacts."""
    options = RunOptions(offline=True, bundles=files)
    with session.working(services, cluster or described(), options) as ctx:
        observed, plan = make_plan(ctx)
        prepare_offline(ctx)
        with resolved(ctx) as lock:
            prepare_nodes(ctx, observed, plan)
            return lock


@pytest.mark.linux  # the fake limactl keeps downloads as on Linux
@pytest.mark.skipif(os.geteuid() != 0, reason="a base image is unpacked as root")
def test_a_host_with_nothing_has_all_of_it_then(there: Services, made: Path) -> None:
    lock = offline(there, made)
    assert provider_at(there, described()).has_base()
    assert Store(there.paths.cache).digests() == ()
    assert len(lock.artifacts) == 11
    offline(there)  # attached: the next run needs no --bundle


def test_everything_that_lacks_is_named(there: Services) -> None:
    with pytest.raises(NotFoundError) as caught:
        offline(there)
    assert "12 artifacts are missing" in caught.value.message
    for name in ("package kubeadm", "registry.k8s.io/pause:3.10.2", "machine image nspawn"):
        assert name in caught.value.why
    assert "ohmykube bundle create" in caught.value.hint
    with pytest.raises(NotFoundError):
        up(there, described("fake"), UpOptions(offline=True))
    assert not there.state.names(), "nothing was made, so nothing is kept"


def test_a_plan_looks_at_the_bundles_and_uses_none(there: Services, made: Path) -> None:
    cluster = described("fake")
    with pytest.raises(NotFoundError, match="11 artifacts are missing"):
        up(there, cluster, UpOptions(plan_only=True, offline=True))
    planned = up(there, cluster, UpOptions(plan_only=True, offline=True, bundles=(made,)))
    assert planned.plan
    assert not Store(there.paths.cache).attached()
    assert not there.paths.cache.exists()
    with pytest.raises(NotFoundError, match="there is no bundle"):
        up(there, cluster, UpOptions(plan_only=True, bundles=(made.with_name("none"),)))
    made.write_bytes(made.read_bytes()[:-5000])
    with pytest.raises(IntegrityError, match="not a bundle that can be trusted"):
        up(there, cluster, UpOptions(plan_only=True, bundles=(made,)))


def test_sources_are_not_even_asked(there: Services) -> None:
    def never(name: str, context: SourceContext) -> Source:
        raise AssertionError(f"source {name} was loaded")

    release, store = selection.release_of(described()), Store(there.paths.cache)
    with pytest.raises(NotFoundError, match="11 artifacts"):
        resolve.resolve(described(), release, store, there.reporter, load=never, offline=True)


def test_a_provider_that_tells_nothing_is_warned_of(there: Services, made: Path) -> None:
    offline(there, made, cluster=described("fake"))
    texts = [e.text for e in there.reporter.events if hasattr(e, "text")]  # type: ignore[attr-defined]
    assert "provider fake does not tell whether it needs the network" in texts


def test_a_mirror_that_only_the_maker_had(tmp_path: Path, there: Services) -> None:
    """What came from a mirror is taken offline, although no mirror is set up there."""
    here = services_at(tmp_path / "mirrored")
    cluster = described("fake", mirror=str(tmp_path))
    store = Store(here.paths.cache)
    release = selection.release_of(cluster)
    resolve.resolve(cluster, release, store, here.reporter, load=plenty.plenty)
    assert {r.source for r in store.refs() if r.kind is Kind.IMAGE} == {"mirror"}
    target = tmp_path / "m.omk.tar"
    bundles.create(here, cluster, CreateOptions(target=target))
    offline(there, target, cluster=described("fake"))


@pytest.mark.parametrize(
    "order", [("mirror",), ("upstream",), ("build",), ("mirror", "build"), ("build", "upstream")]
)
def test_what_a_bundle_holds_is_taken_whichever_sources_are_named(
    there: Services, made: Path, order: tuple[str, ...]
) -> None:
    """Offline no source is asked, so none is missing."""
    offline(there, made, cluster=described("fake", sources=order))


def test_a_bundle_helps_a_run_with_a_network_too(there: Services, made: Path) -> None:
    with session.working(there, described("fake"), RunOptions(bundles=(made,))) as ctx:
        prepare_offline(ctx)
        with resolved(ctx):
            pass
    ended = [e.detail for e in there.reporter.of(StepEnded)]  # type: ignore[attr-defined]
    assert ended[0] == "1 bundle in place"


def test_copied_it_needs_no_file(there: Services, made: Path) -> None:
    brought = bundles.import_(there, made, None)
    assert brought.copied == len(brought.archive.bundle.blobs)
    made.unlink()
    offline(there, cluster=described("fake"))


def test_export(here: Services, tmp_path: Path, there: Services) -> None:
    target = tmp_path / "cache.omk.tar"
    written = bundles.export(here, [], target, write.Form())
    assert written.bundle.kubernetes == ""
    assert len(read.load(target).refs) == len(Store(here.paths.cache).refs()) > 11
    bundles.export(here, ["registry.k8s.io/pause:3.10.2"], target, write.Form())
    assert [r.name for r in read.load(target).refs] == ["registry.k8s.io/pause:3.10.2"]
    with pytest.raises(NotFoundError, match="not in the cache: nothing"):
        bundles.export(here, ["nothing"], target, write.Form())
    with pytest.raises(NotFoundError, match="the cache is empty"):
        bundles.export(there, [], target, write.Form())


def test_a_signature_that_does_not_fit(here: Services, made: Path, tmp_path: Path) -> None:
    found = read.load(made)
    data = made.read_bytes()
    first = 512 + len(found.manifest) + plain_tar.padding(len(found.manifest))
    junk = b"-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----\n"
    member = plain_tar.header("bundle.json.sig", len(junk)) + junk
    whole = data[:first] + member + bytes(plain_tar.padding(len(junk))) + data[first:]
    end = found.start + plain_tar.room(len(junk)) + found.bundle.area
    (tmp_path / "bad.omk.tar").write_bytes(whole[:end] + bytes(plain_tar.ending(end)))
    assert bundles.inspect(here, tmp_path / "bad.omk.tar").key == ""
    with pytest.raises(IntegrityError, match="not accepted"):
        bundles.verify(here, tmp_path / "bad.omk.tar", None)


def test_kubectl_comes_out_of_the_nodes_package(
    there: Services, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    options = RunOptions(offline=True, bundles=(made,))
    with session.working(there, described("fake"), options) as ctx:
        assert session.kubectl(ctx, None) == "", "without a lock nobody knows which package"
        prepare_offline(ctx)
        with resolved(ctx) as lock:
            found = session.kubectl(ctx, lock)
    assert (tmp_path / found).read_text() == f"kubectl {resolve.host_arch()}"
    assert os.access(found, os.X_OK)


def test_no_network_and_no_cache(there: Services, tmp_path: Path) -> None:
    cluster = described("fake")
    closed = replace(cluster, sources=replace(cluster.sources, order=("mirror",)))
    with pytest.raises(NetworkError):
        bundles.create(there, closed, CreateOptions(target=tmp_path / "x.omk.tar"))
    assert not (tmp_path / "x.omk.tar").exists()


def test_what_only_the_network_needs_may_lack_offline(there: Services) -> None:
    class Bare(FakeProvider):
        def check(self) -> list[Check]:
            return [
                Check(id="x", title="mmdebstrap", status=CheckStatus.FAIL, for_network=True),
                *([Check(id="y", title="disk", status=CheckStatus.FAIL)] if self.full else []),
            ]

    with session.working(there, described("fake")) as opened:
        provider = Bare(ProviderContext(paths=there.paths, reporter=there.reporter))
        provider.full = False  # type: ignore[attr-defined]
        ctx = replace(opened, provider=provider)
        with pytest.raises(PrerequisiteError):
            preflight(ctx)
        ctx = replace(ctx, options=RunOptions(offline=True))
        preflight(ctx)
        provider.full = True  # type: ignore[attr-defined]
        with pytest.raises(PrerequisiteError) as caught:
            preflight(ctx)
        assert "disk" in caught.value.why
        assert "mmdebstrap" not in caught.value.why


def test_files_that_cannot_be_read_or_written(here: Services, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="there is no directory"):
        bundles.create(here, described(), CreateOptions(target=tmp_path / "no" / "x.omk.tar"))
    with pytest.raises(NotFoundError, match="there is no bundle"):
        bundles.inspect(here, tmp_path)


def test_an_export_may_be_called_anything(here: Services, tmp_path: Path) -> None:
    target = tmp_path / f"Büro {'é' * 100}\nzwei.omk.tar"
    bundles.export(here, ["registry.k8s.io/pause:3.10.2"], target, write.Form())
    assert read.load(target).bundle.name == f"B_ro {'_' * 100}_zwei"


@pytest.mark.parametrize("step", ["create", "up"])
def test_nobody_prunes_between_finding_and_lease(
    here: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    kept: list[str] = []
    real = resolve.resolve

    def watched(*words: Any, **options: Any) -> ArtifactLock:
        monkeypatch.setattr(Store, "lease", lease)
        return real(*words, **options)

    def lease(store: Store, owner: str, digests: Iterable[str]) -> AbstractContextManager[None]:
        monkeypatch.setattr(Store, "lease", true_lease)
        with pytest.raises(LockedError), store.alone():
            pass
        kept.append(owner)
        return true_lease(store, owner, digests)

    true_lease = Store.lease
    monkeypatch.setattr(resolve, "resolve", watched)
    if step == "create":
        bundles.create(here, described(), CreateOptions(target=tmp_path / "b.omk.tar"))
    else:
        with session.working(here, described("fake")) as ctx, resolved(ctx):
            pass
    assert kept == [{"create": "bundle of dev", "up": "up of dev"}[step]]


def test_a_bundle_for_nodes_of_two_architectures_has_all_that_they_need(tmp_path: Path) -> None:
    here, there = services_at(tmp_path / "here"), services_at(tmp_path / "there")
    cluster, both = described("fake"), ("amd64", "arm64")
    release = selection.release_of(cluster)
    store = Store(here.paths.cache)
    lock = resolve.resolve(
        cluster, release, store, here.reporter, load=plenty.plenty, architectures=both
    )
    target = tmp_path / "two.omk.tar"
    written = bundles.create(here, cluster, CreateOptions(target=target, architectures=both))
    assert written.bundle.arch == "amd64+arm64"
    bundles.import_(there, target, None)
    other = Store(there.paths.cache)
    assert resolve.missing(cluster, release, other, architectures=both) == ()
    assert (
        resolve.resolve(cluster, release, other, there.reporter, architectures=both, offline=True)
        == lock
    )
