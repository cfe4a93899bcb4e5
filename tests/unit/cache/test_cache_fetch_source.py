"""The sources upstream and mirror: what comes from where, and what is refused."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
import urllib.parse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ohmykube.cache import manifest, signatures
from ohmykube.cache.catalog import Component, Download, Form, ImageSpec, ModuleFile, Signed
from ohmykube.cache.download import Downloader
from ohmykube.cache.sources import base
from ohmykube.cache.sources.base import SourceContext
from ohmykube.cache.sources.mirror import REF_NAME, MirrorSource
from ohmykube.cache.sources.upstream import PROBES, UpstreamSource
from ohmykube.cache.store import Ref, Store
from ohmykube.cache.transport import Timing, Transport
from ohmykube.errors import IntegrityError, NetworkError
from ohmykube.kit import digest as digests
from ohmykube.kit import paths
from ohmykube.model.artifact import Kind, PackageRole
from ohmykube.model.cluster import Sources
from ohmykube.model.registry import Registry
from ohmykube.progress import Message
from tests import image_maker, publisher
from tests.fault_server import Answer, FaultServer
from tests.module_proxy import zip_module
from tests.publisher import IDENTITY, ISSUER, Publisher

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ohmykube.progress import Event

QUICK = Timing(connect=2, read=5, attempts=2, pause=0.01)
BINARY = b"kubelet" * 1000
REF = "registry.k8s.io/coredns/coredns:v1"


def archive(**files: bytes) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w:gz") as stream:
        for name, data in files.items():
            info = tarfile.TarInfo(f"./bin/{name}")
            info.size = len(data)
            stream.addfile(info, io.BytesIO(data))
    return sink.getvalue()


ARCHIVE = archive(ctr=b"ctr", containerd=b"containerd", readme=b"more")


def kubelet(digest: str = "") -> Component:
    url = "https://dl.k8s.io/release/v1.36.3/bin/linux/amd64/kubelet"
    return Component(
        name="kubelet",
        version="1.36.3",
        role=PackageRole.KUBEADM,
        installs={"kubelet": "/usr/local/bin/kubelet"},
        downloads={"amd64": Download(url=url, digest=digest or digests.of_bytes(BINARY))},
    )


def containerd() -> Component:
    url = "https://github.com/containerd/containerd/releases/download/v2/c.tar.gz"
    return Component(
        name="containerd",
        version="2",
        role=PackageRole.CONTAINERD,
        installs={"ctr": "/usr/local/bin/ctr", "containerd": "/usr/local/bin/containerd"},
        downloads={
            "amd64": Download(
                url=url,
                digest=digests.of_bytes(ARCHIVE),
                members={"bin/ctr": "ctr", "./bin/containerd": "containerd"},
            )
        },
    )


def spec(**digest: str) -> ImageSpec:
    return ImageSpec(
        name="coredns",
        version="1",
        ref=REF,
        node_roles=("control-plane",),
        binary="coredns",
        entrypoint="/coredns",
        digests=digest,
    )


class Recorder:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        self.events.append(event)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultServer]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with FaultServer() as running:
        yield running


def context(tmp_path: Path, mirror: str | None) -> SourceContext:
    return SourceContext(
        store=Store(tmp_path / "cache"),
        sources=Sources(mirror=mirror),
        reporter=Recorder(),
        paths=paths.from_environment(),
    )


def mirror(tmp_path: Path, where: str | None) -> MirrorSource:
    source = base.load("mirror", context(tmp_path, where))
    assert isinstance(source, MirrorSource)
    source.downloader = Downloader(source.context.store, Recorder(), Transport(QUICK))
    return source


class Relay(Transport):
    """Sends requests for any https server to a local one, below the server's name."""

    def __init__(self, target: str) -> None:
        super().__init__(QUICK)
        self.target = target

    def _send(self, url: str, *rest: object) -> object:  # type: ignore[override]
        parts = urllib.parse.urlsplit(url)
        assert parts.scheme == "https"
        return super()._send(f"{self.target}/{parts.netloc}{parts.path}", *rest)  # type: ignore[arg-type]


@pytest.fixture
def upstream(tmp_path: Path, server: FaultServer) -> UpstreamSource:
    source = base.load("upstream", context(tmp_path, None))
    assert isinstance(source, UpstreamSource)
    relay = Relay(server.url)
    source.downloader = Downloader(source.context.store, source.context.reporter, relay)
    return source


KUBELET = "/dl.k8s.io/release/v1.36.3/bin/linux/amd64/kubelet"
CONTAINERD = "/github.com/containerd/containerd/releases/download/v2/c.tar.gz"


def test_upstream_files_have_the_catalogs_digest(
    upstream: UpstreamSource, server: FaultServer
) -> None:
    server.on(KUBELET, Answer(BINARY))
    for _ in range(2):
        assert upstream.component(kubelet(), "amd64")["kubelet"].read_bytes() == BINARY
    assert server.count[KUBELET] == 1
    wrong = kubelet("sha256:" + "0" * 64)
    with pytest.raises(IntegrityError, match="is not the file"):
        upstream.component(wrong, "amd64")
    with pytest.raises(NetworkError, match="not released for arm64") as caught:
        upstream.component(kubelet(), "arm64")
    assert caught.value.id == "OMK-I-245"


def test_upstream_takes_files_out_of_modules_of_the_public_proxy(
    upstream: UpstreamSource, server: FaultServer, tmp_path: Path
) -> None:
    path = tmp_path / "module.zip"
    sum_ = zip_module(path, "example.org/Lb", "v1.0.0", {"lb.yaml": "kind: Namespace\n"})
    wanted = ModuleFile(
        module="example.org/Lb",
        version="v1.0.0",
        sum=sum_,
        path="lb.yaml",
        digest=digests.of_bytes(b"kind: Namespace\n"),
    )
    place = "/proxy.golang.org/example.org/!lb/@v/v1.0.0.zip"
    server.on(place, Answer(b"", status=404))
    with pytest.raises(NetworkError, match=r"v1\.0\.0\.zip cannot be fetched"):
        upstream.module_file(wanted)
    server.on(place, Answer(path.read_bytes()[:-1]))
    with pytest.raises(IntegrityError, match="not the one that was reviewed"):
        upstream.module_file(wanted)
    server.on(place, Answer(path.read_bytes()))
    for _ in range(2):
        assert upstream.module_file(wanted).read_text() == "kind: Namespace\n"
    assert server.count[place] == 3
    assert list(upstream.context.store.ingest.iterdir()) == []


def test_upstream_takes_the_digest_published_beside_the_file(
    upstream: UpstreamSource, server: FaultServer
) -> None:
    component = kubelet()
    download = replace(component.downloads["amd64"], digest="")
    component = replace(component, downloads={"amd64": download})
    server.on(KUBELET, Answer(BINARY))
    with pytest.raises(NetworkError):
        upstream.component(component, "amd64")
    assert server.count[KUBELET] == 0
    server.on(f"{KUBELET}.sha256", Answer(digests.of_bytes(BINARY)[7:].encode()))
    assert upstream.component(component, "amd64")["kubelet"].read_bytes() == BINARY


def signed(signer: Publisher, *, form: Form = Form.COSIGN_PAIR) -> Component:
    component = kubelet()
    url = component.downloads["amd64"].url
    parts = {"signature": f"{url}.sig", "certificate": f"{url}.cert"}
    about = Signed(form=form, files=parts, identity=IDENTITY, issuer=ISSUER)
    download = replace(component.downloads["amd64"], signed=about)
    return replace(component, downloads={"amd64": download})


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Publisher:
    return Publisher.make(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def cosign(tmp_path: Path, signer: Publisher, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a double of cosign on PATH that knows the test's authority."""
    directory = tmp_path / "bin"
    directory.mkdir()
    publisher.install_double(directory)
    program = directory / "cosign"
    program.write_text(program.read_text().replace("roots=\n", f"roots={signer.authority}\n"))
    monkeypatch.setenv("PATH", f"{directory}{os.pathsep}{os.environ['PATH']}")
    return program


def origin_of(source: UpstreamSource | MirrorSource) -> tuple[str, str]:
    ref = source.context.store.ref(Kind.BINARY, f"{source.name}:kubelet", "1.36.3", "amd64")
    assert ref is not None
    return ref.upstream_sum, str(ref.signature)


def test_sum_and_signature_are_checked_and_recorded(
    upstream: UpstreamSource, server: FaultServer, signer: Publisher, cosign: Path
) -> None:
    server.on(KUBELET, Answer(BINARY))
    server.on(f"{KUBELET}.sha256", Answer(f"{digests.of_bytes(BINARY)[7:]}  kubelet\n".encode()))
    pair = signer.pair(BINARY)
    server.on(f"{KUBELET}.sig", Answer(pair["signature"].encode()))
    server.on(f"{KUBELET}.cert", Answer(pair["certificate"].encode()))
    for _ in range(2):
        upstream.component(signed(signer), "amd64")
    assert origin_of(upstream) == (digests.of_bytes(BINARY), "verified")
    assert server.count[f"{KUBELET}.sig"] == 1
    (evidence,) = signatures.evidence(upstream.context.store).values()
    assert evidence.artifact == digests.of_bytes(BINARY)
    assert evidence.parts == pair


@pytest.mark.usefixtures("cosign")
@pytest.mark.parametrize("what", ["file", "signature", "certificate", "binary"])
def test_what_its_publisher_did_not_sign_is_refused(
    upstream: UpstreamSource, server: FaultServer, signer: Publisher, tmp_path: Path, what: str
) -> None:
    """The sum of the catalog holds, so only the signature tells."""
    pair = signer.pair(BINARY + b"x" if what == "file" else BINARY)
    if what == "signature":
        pair["signature"] = signer.signature(b"another file")
    if what == "certificate":
        pair["certificate"] = Publisher.make(tmp_path, "stranger").certificate
    sent = b"\xff" if what == "binary" else pair["signature"].encode()
    server.on(KUBELET, Answer(BINARY))
    server.on(f"{KUBELET}.sig", Answer(sent))
    server.on(f"{KUBELET}.cert", Answer(pair["certificate"].encode()))
    with pytest.raises(IntegrityError, match="not signed by its publisher") as caught:
        upstream.component(signed(signer), "amd64")
    assert caught.value.id == "OMK-I-706"
    assert IDENTITY in (caught.value.why or "")
    assert upstream.context.store.refs() == ()


def test_a_sum_that_is_not_the_reviewed_one_is_refused(
    upstream: UpstreamSource, server: FaultServer
) -> None:
    server.on(KUBELET, Answer(BINARY))
    server.on(f"{KUBELET}.sha256", Answer(b"0" * 64))
    with pytest.raises(IntegrityError, match="publisher's sum") as caught:
        upstream.component(kubelet(), "amd64")
    assert caught.value.id == "OMK-I-705"
    assert upstream.context.store.refs() == ()


def test_a_signature_that_cannot_be_looked_at(
    upstream: UpstreamSource,
    server: FaultServer,
    signer: Publisher,
    cosign: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server.on(KUBELET, Answer(BINARY))
    upstream.component(signed(signer), "amd64")
    assert origin_of(upstream) == ("", "absent")
    upstream.context.store.drop_refs([upstream.context.store.refs()[0]])
    server.on(f"{KUBELET}.sig", Answer(status=403))
    upstream.component(signed(signer), "amd64")
    assert origin_of(upstream) == ("", "unchecked")
    pair = signer.pair(BINARY)
    server.on(f"{KUBELET}.sig", Answer(pair["signature"].encode()))
    server.on(f"{KUBELET}.cert", Answer(pair["certificate"].encode()))
    cosign.unlink()
    monkeypatch.setenv("PATH", str(cosign.parent))
    upstream.component(signed(signer), "amd64")
    assert origin_of(upstream) == ("", "unchecked")
    # What was signed with is kept, so that a host that has the program can look later.
    assert len(signatures.evidence(upstream.context.store)) == 1


def test_a_directory_mirror_may_hold_signatures(
    tmp_path: Path, directory: Path, signer: Publisher, cosign: Path
) -> None:
    source = mirror(tmp_path, str(directory))
    pair = signer.pair(BINARY)
    Path(f"{directory}{KUBELET}.sig").write_text(pair["signature"])
    source.component(signed(signer), "amd64")
    assert origin_of(source) == ("", "absent")
    source.context.store.drop_refs([source.context.store.refs()[0]])
    Path(f"{directory}{KUBELET}.cert").write_text(pair["certificate"])
    source.component(signed(signer), "amd64")
    assert origin_of(source) == ("", "verified")


def test_a_mirror_may_hold_signatures(
    tmp_path: Path, server: FaultServer, signer: Publisher, cosign: Path
) -> None:
    source = mirror(tmp_path, server.url)
    server.on(KUBELET, Answer(BINARY))
    for part, ending in (("signature", "sig"), ("certificate", "cert")):
        server.on(f"{KUBELET}.{ending}", Answer(signer.pair(BINARY)[part].encode()))
    # ECDSA signs anew each time, and each of its signatures holds.
    source.component(signed(signer), "amd64")
    assert origin_of(source) == ("", "verified")


def test_the_sum_of_an_archive_is_recorded_of_what_is_in_it(
    upstream: UpstreamSource, server: FaultServer
) -> None:
    component = containerd()
    url = component.downloads["amd64"].url
    download = replace(component.downloads["amd64"], sums=f"{url}.sha256sum")
    server.on(CONTAINERD, Answer(ARCHIVE))
    lines = f"{'0' * 64}  other.tar.gz\n{digests.of_bytes(ARCHIVE)[7:]} *c.tar.gz\n"
    server.on(f"{CONTAINERD}.sha256sum", Answer(lines.encode()))
    upstream.component(replace(component, downloads={"amd64": download}), "amd64")
    sums = {ref.name: ref.upstream_sum for ref in upstream.context.store.refs()}
    assert sums == dict.fromkeys(("upstream:ctr", "upstream:containerd"), digests.of_bytes(ARCHIVE))


def test_release_archives_are_unpacked_once(upstream: UpstreamSource, server: FaultServer) -> None:
    server.on(CONTAINERD, Answer(ARCHIVE))
    for _ in range(2):
        found = upstream.component(containerd(), "amd64")
        assert {name: path.read_bytes() for name, path in found.items()} == {
            "ctr": b"ctr",
            "containerd": b"containerd",
        }
    store = upstream.context.store
    store.discard(digests.of_bytes(ARCHIVE))
    upstream.component(containerd(), "amd64")
    assert server.count[CONTAINERD] == 1
    store.discard(digests.of_bytes(b"ctr"))
    upstream.component(containerd(), "amd64")
    assert server.count[CONTAINERD] == 2
    assert list(store.ingest.iterdir()) == []


def test_an_archive_without_a_member_is_refused(
    upstream: UpstreamSource, server: FaultServer
) -> None:
    component = containerd()
    download = replace(component.downloads["amd64"], members={"bin/runc": "runc"})
    server.on(CONTAINERD, Answer(ARCHIVE))
    with pytest.raises(IntegrityError, match="not a package"):
        upstream.component(replace(component, downloads={"amd64": download}), "amd64")
    assert list(upstream.context.store.ingest.iterdir()) == []


def publish(server: FaultServer, image: image_maker.Image, name: str) -> None:
    for tag in ("v1", image.digest):
        server.on(f"{name}/manifests/{tag}", Answer(image.manifest))
    for digest, data in image.blobs.items():
        server.on(f"{name}/blobs/{digest}", Answer(data))


def test_upstream_images_come_from_their_registry(
    upstream: UpstreamSource, server: FaultServer
) -> None:
    image = image_maker.image(1000)
    publish(server, image, "/registry.k8s.io/v2/coredns/coredns")
    assert upstream.image(spec(), "amd64") == image.digest
    assert upstream.image(spec(amd64=image.digest), "amd64") == image.digest
    assert upstream.registries is upstream.registries
    entry = image_maker.describe(image.manifest, manifest.OCI_MANIFEST)
    entry["platform"] = {"os": "linux", "architecture": "amd64"}
    index = json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()
    server.on("/registry.k8s.io/v2/coredns/coredns/manifests/v1", Answer(index))
    assert upstream.index_of(image.digest) == ""
    assert upstream.image(spec(), "amd64") == image.digest
    assert upstream.index_of(image.digest) == digests.of_bytes(index)


def test_mirrors_of_a_registry_are_asked_first(
    upstream: UpstreamSource, server: FaultServer
) -> None:
    registries = {"registry.k8s.io": ("https://one.test", "https://two.test/hub/")}
    upstream.context = replace(upstream.context, sources=Sources(registries=registries))
    image = image_maker.image(1000)
    publish(server, image, "/two.test/v2/hub/coredns/coredns")
    assert upstream.image(spec(), "amd64") == image.digest
    assert server.count["/one.test/v2/coredns/coredns/manifests/v1"] == 1
    assert not any(path.startswith("/registry.k8s.io") for path in server.count)
    recorder = upstream.context.reporter
    assert isinstance(recorder, Recorder)
    (warning,) = [e for e in recorder.events if isinstance(e, Message) and e.level == "warning"]
    assert "mirror https://one.test of registry.k8s.io is passed over" in warning.text
    assert "404" in warning.text


def test_a_registry_is_asked_when_no_mirror_of_it_helps(
    upstream: UpstreamSource, server: FaultServer
) -> None:
    registries = {"registry.k8s.io": ("https://one.test",), "quay.io": ("https://two.test",)}
    upstream.context = replace(upstream.context, sources=Sources(registries=registries))
    image, other = image_maker.image(1000), image_maker.image(900, seed=5)
    publish(server, image, "/registry.k8s.io/v2/coredns/coredns")
    for _ in range(2):
        assert upstream.image(spec(), "amd64") == image.digest
    recorder = upstream.context.reporter
    assert isinstance(recorder, Recorder)
    levels = [e.level for e in recorder.events if isinstance(e, Message) and "passed" in e.text]
    assert levels == ["warning", "debug"]
    # A mirror that gives something else than what is pinned is not passed over: it lies.
    server.on(f"/one.test/v2/coredns/coredns/manifests/{other.digest}", Answer(image.manifest))
    with pytest.raises(IntegrityError, match="is not what it should be"):
        upstream.image(spec(amd64=other.digest), "amd64")


def test_upstream_is_available_when_both_servers_answer(
    upstream: UpstreamSource, server: FaultServer
) -> None:
    for url in PROBES:
        server.on(url.replace("https:/", ""), Answer(status=401))
    upstream.available()
    server.on(PROBES[1].replace("https:/", ""), Answer(status=502))
    with pytest.raises(NetworkError, match=r"registry\.k8s\.io"):
        upstream.available()


@pytest.mark.parametrize("how", [{"mirrors": ("https://m.test",)}, {"plain_http": True}])
def test_a_registry_that_others_stand_in_for_need_not_be_there(
    upstream: UpstreamSource, server: FaultServer, how: dict[str, Any]
) -> None:
    server.on(PROBES[0].replace("https:/", ""), Answer(status=401))
    server.on(PROBES[1].replace("https:/", ""), Answer(status=502))
    registries = (Registry(name="registry.k8s.io", **how),)
    upstream.context = replace(upstream.context, registries=registries)
    upstream.available()


def test_described_mirrors_are_asked_after_those_of_the_artifacts(
    tmp_path: Path, server: FaultServer
) -> None:
    """And both before the registry itself."""
    sources = Sources(registries={"registry.k8s.io": ("https://one.test",)})
    described = (Registry(name="registry.k8s.io", mirrors=("https://two.test/hub",)),)
    given = replace(context(tmp_path, None), sources=sources, registries=described)
    source = UpstreamSource(given)
    source.downloader = Downloader(given.store, given.reporter, Relay(server.url))
    image = image_maker.image(1000)
    publish(server, image, "/two.test/v2/hub/coredns/coredns")
    assert source.image(spec(), "amd64") == image.digest
    asked = [path for path in server.count if "manifests/v1" in path]
    assert asked == [
        f"/{at}/coredns/coredns/manifests/v1" for at in ("one.test/v2", "two.test/v2/hub")
    ]


@pytest.mark.parametrize("path", ["", "/omk"])
def test_a_mirror_has_the_same_layout_below_its_base(
    tmp_path: Path, server: FaultServer, path: str
) -> None:
    source = mirror(tmp_path, f"{server.url}{path}/")
    server.on(f"{path}/", Answer(b""))
    server.on(f"{path}{KUBELET}", Answer(BINARY))
    server.on(f"{path}{CONTAINERD}", Answer(ARCHIVE))
    image = image_maker.image(1000)
    publish(server, image, f"/v2{path}/registry.k8s.io/coredns/coredns")
    source.available()
    recorder = source.context.reporter
    assert isinstance(recorder, Recorder)
    assert [e.level for e in recorder.events if isinstance(e, Message)] == ["warning"]
    assert source.component(kubelet(), "amd64")["kubelet"].read_bytes() == BINARY
    assert source.component(containerd(), "amd64")["ctr"].read_bytes() == b"ctr"
    assert source.image(spec(), "amd64") == image.digest
    assert source.downloader is source.downloader


def test_a_plain_mirror_cannot_tell_its_own_digests(tmp_path: Path, server: FaultServer) -> None:
    source = mirror(tmp_path, server.url)
    server.on(KUBELET, Answer(BINARY))
    server.on(f"{KUBELET}.sha256", Answer(digests.of_bytes(BINARY)[7:].encode()))
    with pytest.raises(NetworkError, match="no digest"):
        source.file(replace(kubelet().downloads["amd64"], digest=""))


@pytest.mark.parametrize("where", [None, "http://127.0.0.1:9", "/nowhere"])
def test_a_mirror_that_is_not_there(tmp_path: Path, where: str | None) -> None:
    with pytest.raises(NetworkError) as caught:
        mirror(tmp_path, where).available()
    assert caught.value.hint


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    root = tmp_path / "mirror"
    for place, data in ((KUBELET, BINARY), (CONTAINERD, ARCHIVE)):
        path = Path(f"{root}{place}")
        path.parent.mkdir(parents=True)
        path.write_bytes(data)
    return root


def layout(root: Path, *images: tuple[str, image_maker.Image, str]) -> None:
    """Write an OCI layout the way this project's own store does."""
    store = Store(root)
    for ref, image, arch in images:
        store.set_ref(Ref(Kind.IMAGE, ref, arch, arch, image.put(store), 1, "upstream"))


def test_a_directory_mirror(tmp_path: Path, directory: Path) -> None:
    source = mirror(tmp_path, str(directory))
    source.available()
    assert source.component(kubelet(), "amd64")["kubelet"].read_bytes() == BINARY
    assert source.component(containerd(), "amd64")["ctr"].read_bytes() == b"ctr"
    amd, arm = image_maker.image(1000), image_maker.image(1000, seed=2, arch="arm64")
    layout(directory, ("x.io/other:1", arm, "amd64"), (REF, arm, "arm64"), (REF, amd, "amd64"))
    assert source.image(spec(), "amd64") == amd.digest
    assert source.image(spec(), "arm64") == arm.digest
    assert source.image(spec(amd64=amd.digest), "amd64") == amd.digest
    assert source.context.store.has(amd.layers[0])


def test_a_directory_mirror_with_an_index(tmp_path: Path, directory: Path) -> None:
    image = image_maker.image(1000)
    store = Store(directory)
    image.put(store)
    entry = image_maker.describe(image.manifest, "application/vnd.oci.image.manifest.v1+json")
    entry["platform"] = {"os": "linux", "architecture": "amd64"}
    index = json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()
    top = image_maker.describe(index, "application/vnd.oci.image.index.v1+json")
    top["annotations"] = {REF_NAME: REF}
    store.put_bytes(index)
    (directory / "oci" / "index.json").write_text(json.dumps({"manifests": [1, top]}))
    source = mirror(tmp_path, str(directory))
    assert source.image(spec(), "amd64") == image.digest
    with pytest.raises(NetworkError, match="does not have"):
        source.image(spec(), "arm64")


def test_what_a_directory_mirror_lacks_is_named(tmp_path: Path, directory: Path) -> None:
    source = mirror(tmp_path, str(directory))
    with pytest.raises(NetworkError, match=r"index\.json"):
        source.image(spec(), "amd64")
    layout(directory, (REF, image_maker.image(1000), "amd64"))
    (blob,) = (b for b in image_maker.image(1000).layers)
    (directory / "oci/blobs/sha256" / blob[7:]).unlink()
    with pytest.raises(NetworkError, match=blob[7:]):
        source.image(spec(), "amd64")
    shutil.rmtree(directory / "dl.k8s.io")
    with pytest.raises(NetworkError, match="kubelet") as caught:
        source.component(kubelet(), "amd64")
    assert caught.value.id == "OMK-I-247"


def test_what_a_directory_mirror_has_wrong_is_refused(tmp_path: Path, directory: Path) -> None:
    source = mirror(tmp_path, str(directory))
    Path(f"{directory}{KUBELET}").write_bytes(b"evil")
    with pytest.raises(IntegrityError):
        source.component(kubelet(), "amd64")
    image = image_maker.image(1000)
    layout(directory, (REF, image, "amd64"))
    path = directory / "oci/blobs/sha256" / image.digest[7:]
    path.chmod(0o644)
    path.write_bytes(image.manifest + b" ")
    with pytest.raises(IntegrityError, match="damaged") as caught:
        source.image(spec(), "amd64")
    assert caught.value.id == "OMK-I-248"
    assert source.context.store.digests() == ()


def test_a_directory_mirror_tells_digests_beside_its_files(tmp_path: Path, directory: Path) -> None:
    source = mirror(tmp_path, str(directory))
    download = replace(kubelet().downloads["amd64"], digest="")
    with pytest.raises(NetworkError, match="sha256"):
        source.file(download)
    Path(f"{directory}{KUBELET}.sha256").write_text(f"{digests.of_bytes(BINARY)[7:]}  kubelet\n")
    assert source.file(download).read_bytes() == BINARY
