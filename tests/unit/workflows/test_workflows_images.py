"""Images on nodes that are directories: ssh and ctr are small programs, all else is ours."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ohmykube.cache import oci, repack
from ohmykube.cache.store import Store
from ohmykube.config import load as config
from ohmykube.errors import (
    ConfigError,
    IntegrityError,
    Interrupted,
    NetworkError,
    NodeError,
    NotFoundError,
    PrerequisiteError,
    UnreachableError,
    UsageError,
)
from ohmykube.kit import architecture, interrupt, paths, process
from ohmykube.progress import ItemProgress, NodeProgress
from ohmykube.providers import ssh_config
from ohmykube.state import layout
from ohmykube.steps.context import Services
from ohmykube.steps.import_images import Origin
from ohmykube.steps.serve import token
from ohmykube.testing.reporter import RecordingReporter
from ohmykube.workflows import images, session
from ohmykube.workflows.images import LoadOptions
from ohmykube.workflows.power import stop
from tests import image_maker
from tests.registry_double import Registry
from tests.unit.workflows.begun_run import begin

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.linux

PROGRAMS = Path(__file__).parents[2] / "data" / "node_programs"
APP = "docker.io/library/app:dev"
ARCH = architecture.host()
HOSTS = '[host."http://127.0.0.1:5055".header]\nAuthorization = ["Bearer {token}"]\n'


class Estate:
    """The cluster ``dev`` with nodes cp1, w1 and w2, each a directory."""

    def __init__(self, root: Path, registries: dict[str, Any] | None = None) -> None:
        self.root = root
        self.services = Services(paths=paths.from_environment(), reporter=RecordingReporter())
        spec = {
            "provider": {"name": "fake"},
            "nodes": {"workers": {"count": 2}},
            "registries": registries or {},
        }
        cluster = config.from_document({"metadata": {"name": "dev"}, "spec": spec})
        with session.working(self.services, cluster) as ctx:
            targets = {node: machine.ssh for node, machine in begin(ctx).items() if machine.ssh}
            text = ssh_config.render(targets, layout.control_directory(ctx.directory))
            (ctx.directory / layout.SSH_CONFIG).write_text(text)
            self.token = token(ctx.directory).reveal()
        self.nodes = sorted(targets)
        for node in self.nodes:
            self.attach(node)
        self.store = Store(self.services.paths.cache)

    def attach(self, node: str) -> None:
        """Let the node's containerd ask us."""
        hosts = self.root / node / "certs.d" / "_default" / "hosts.toml"
        hosts.parent.mkdir(parents=True, exist_ok=True)
        hosts.write_text(HOSTS.format(token=self.token))

    def detach(self, node: str) -> None:
        (self.root / node / "certs.d" / "_default" / "hosts.toml").unlink()

    def state(self, node: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.root / node / "images.json").read_text())
        return found

    def archive(self, image: image_maker.Image, name: str = APP) -> str:
        path = self.root / f"{len(list(self.root.iterdir()))}.tar"
        path.write_bytes(image_maker.oci_archive(image, name))
        return str(path)

    def load(self, *sources: str, **options: Any) -> images.DeliveryResult:
        return images.load(self.services, "dev", LoadOptions(sources=sources, **options))


@pytest.fixture
def node_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root, own = tmp_path / "nodes", tmp_path / "bin"
    root.mkdir()
    own.mkdir()
    # The interpreter itself: what PATH calls python3 may be a script that looks for one.
    (own / "python3").symlink_to(Path(sys.executable).resolve())
    monkeypatch.setenv("PATH", f"{PROGRAMS}:{own}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_NODES", str(root))
    return root


@pytest.fixture
def estate(node_directories: Path) -> Estate:
    return Estate(node_directories)


def picture(*sizes: int, seed: int = 1) -> image_maker.Image:
    return image_maker.image(*sizes, seed=seed, arch=ARCH)


def size_of(image: image_maker.Image) -> int:
    return len(image.manifest) + sum(map(len, image.blobs.values()))


def test_an_image_gets_to_every_node_once(estate: Estate) -> None:
    image = picture(20_000, 300)
    path = estate.archive(image)
    result = estate.load(path)
    assert result.failure is None
    assert [(n.node, n.way, n.sent, n.delivered) for n in result.nodes] == [
        (node, "pull", size_of(image), [APP]) for node in estate.nodes
    ]
    assert [(ref.name, ref.digest, ref.source) for ref in result.images] == [
        (APP, image.digest, "load")
    ]
    exact = f"docker.io/library/app@{image.digest}"
    for node in estate.nodes:
        found = estate.state(node)["images"]
        assert set(found) == {APP, exact}
        assert all("io.cri-containerd.pinned=pinned" in one["labels"] for one in found.values())
    again = estate.load(path)
    assert [(n.way, n.sent, n.skipped) for n in again.nodes] == [("none", 0, size_of(image))] * 3


def test_progress_is_told_in_bytes(estate: Estate) -> None:
    image = picture(20_000)
    estate.load(estate.archive(image), nodes=("w1",))
    reporter = estate.services.reporter
    assert isinstance(reporter, RecordingReporter)
    last = [event for event in reporter.of(ItemProgress) if event.unit == "bytes"][-1]
    assert (last.item, last.done, last.total) == ("w1", size_of(image), size_of(image))
    assert [event.activity for event in reporter.of(NodeProgress)][-1] == "1 new, pulled"


def test_layers_are_repacked_for_several_nodes_and_not_for_one(estate: Estate) -> None:
    image = picture(repack.WORTH + 50_000)
    path = estate.archive(image)
    estate.load(path, nodes=("w1",))
    assert repack.known(estate.store) == {}
    result = estate.load(path)
    digest = repack.known(estate.store)[image.digest]
    size = oci.image_size(estate.store, digest) + len(image.manifest)
    assert [(n.node, n.way, n.sent) for n in result.nodes] == [
        ("cp1", "pull", size), ("w1", "none", 0), ("w2", "pull", size),
    ]  # fmt: skip
    exact = f"docker.io/library/app@{image.digest}"
    assert all(set(estate.state(node)["images"]) == {APP, exact} for node in estate.nodes)
    reporter = estate.services.reporter
    assert isinstance(reporter, RecordingReporter)
    items = [event.item for event in reporter.of(ItemProgress) if event.activity == "repacked"]
    assert items == ["1 image", "1 image"]


def test_only_chosen_nodes_are_touched(estate: Estate) -> None:
    result = estate.load(estate.archive(picture(2000)), nodes=("w2",))
    assert [node.node for node in result.nodes] == ["w2"]
    assert not (estate.root / "w1" / "images.json").exists()
    with pytest.raises(NotFoundError, match='no node "w9"') as caught:
        estate.load(estate.archive(picture(2000)), nodes=("w9",))
    assert caught.value.hint == "ohmykube status"


def test_a_changed_image_takes_the_place_of_the_old_one(estate: Estate) -> None:
    base = picture(20_000)
    changed = image_maker.with_layer(base, 500, 9)
    estate.load(estate.archive(base), nodes=("w1",))
    (node,) = estate.load(estate.archive(changed), nodes=("w1",)).nodes
    assert node.sent == size_of(changed) - len(base.blobs[base.layers[0]])
    assert set(estate.state("w1")["images"]) == {APP, f"docker.io/library/app@{changed.digest}"}


def test_a_node_that_is_down_stops_no_other(estate: Estate) -> None:
    (estate.root / "w1").rename(estate.root / "away")
    result = estate.load(estate.archive(picture(2000)))
    assert [node.error is None for node in result.nodes] == [True, False, True]
    failure = result.failure
    assert isinstance(failure, NodeError)
    assert failure.message == "1 of 3 nodes did not get the images"
    assert "w1" in (failure.why or "")


def test_a_full_node_stops_no_other_and_is_not_tried_again(estate: Estate) -> None:
    (estate.root / "w2" / "full").touch()
    result = estate.load(estate.archive(picture(2000)))
    assert [node.error is None for node in result.nodes] == [True, True, False]
    assert "no space left" in (result.nodes[2].error.why or "")  # type: ignore[union-attr]
    (only,) = estate.load(estate.archive(picture(2000)), nodes=("w2",)).nodes
    assert only.error is not None
    assert images.DeliveryResult(cluster="dev", images=(), nodes=(only,)).failure is only.error


def test_when_no_node_answers_that_is_the_error(estate: Estate) -> None:
    for node in estate.nodes:
        (estate.root / node).rename(estate.root / f"away-{node}")
    with pytest.raises(UnreachableError):
        estate.load(estate.archive(picture(2000)))


def test_nodes_that_are_stopped_or_were_never_reached(estate: Estate) -> None:
    stop(estate.services, "dev")
    with pytest.raises(UnreachableError, match="is stopped"):
        estate.load(estate.archive(picture(2000)))
    (estate.services.state.directory("dev") / layout.SSH_CONFIG).unlink()
    with pytest.raises(NotFoundError, match="never reached"):
        estate.load(estate.archive(picture(2000)))
    with pytest.raises(NotFoundError, match='no cluster "other"'):
        images.load(estate.services, "other", LoadOptions(sources=("x",)))


@pytest.mark.parametrize("why", ["sshd refuses the tunnel", "containerd does not ask us"])
def test_what_cannot_be_pulled_is_streamed(estate: Estate, why: str) -> None:
    for node in estate.nodes:
        if "sshd" in why:
            (estate.root / node / "no-forwarding").touch()
        else:
            estate.detach(node)
    base = picture(20_000)
    result = estate.load(estate.archive(base), nodes=("w1",))
    assert [(n.way, n.why) for n in result.nodes] == [("stream", why)]
    changed = image_maker.with_layer(base, 500, 9)
    (node,) = estate.load(estate.archive(changed), nodes=("w1",)).nodes
    assert (node.error, node.sent < 20_000) == (None, True)
    assert estate.state("w1")["images"][APP]["digest"] == changed.digest


def test_a_damaged_blob_is_not_sent(estate: Estate) -> None:
    image = picture(20_000)
    estate.load(estate.archive(image), nodes=("w1",))
    blob = estate.store.path(image.layers[0])
    data = bytearray(blob.read_bytes())
    data[100] ^= 1
    blob.unlink()
    blob.write_bytes(data)
    path = estate.archive(image)
    (node,) = estate.load(path, nodes=("w2",)).nodes
    assert isinstance(node.error, IntegrityError)
    assert not (estate.root / "w2" / "images.json").exists()
    # It is in quarantine now, so the same archive heals the cache.
    assert estate.load(path, nodes=("w2",)).failure is None


def test_sources_of_every_kind(estate: Estate, tmp_path: Path) -> None:
    made = {name: picture(2000, seed=n) for n, name in enumerate(("file", "layout", "stdin"))}
    root = tmp_path / "layout"
    full = {name: f"docker.io/library/{name}:1" for name in made}
    for name, data in image_maker.oci_files(made["layout"], full["layout"]).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    stdin = io.BufferedReader(io.BytesIO(image_maker.oci_archive(made["stdin"])))  # type: ignore[arg-type]
    sources = (estate.archive(made["file"], full["file"]), str(root))
    result = estate.load(*sources, nodes=("w1",))
    named = estate.load("-", reference="stdin:1", stdin=stdin, nodes=("w1",))
    refs = {ref.name: ref.digest for ref in (*result.images, *named.images)}
    assert refs == {full[name]: image.digest for name, image in made.items()}
    assert set(full.values()) <= estate.state("w1")["images"].keys()


def program(estate: Estate, name: str, image: str, script: str) -> None:
    """Install a fake docker, podman or nerdctl that has one image."""
    path = estate.root.parent / "bin" / name
    path.write_text(
        f'#!/bin/sh\n[ "$1 $2" = "image inspect" ] && {{ [ "$5" = {image} ] && exit 0;'
        f' echo "Error: No such image: $5" >&2; exit 1; }}\n{script}\n'
    )
    path.chmod(0o755)


@pytest.fixture
def programs(estate: Estate, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Nothing but fakes and coreutils are on PATH: this host may have a docker."""
    own = estate.root.parent / "bin"
    for name in ("sh", "env", "uname", "cat", "head", "grep", "sed", "setpriv"):
        (own / name).symlink_to(str(process.which(name)))
    monkeypatch.setenv("PATH", f"{PROGRAMS}:{own}")
    return lambda name, image, script: program(estate, name, image, script)


def test_the_first_program_that_has_the_image_is_asked(estate: Estate, programs: Callable) -> None:
    image = picture(2000)
    path = estate.archive(image)
    programs("docker", "other", "exit 1")
    programs("podman", "app:dev", f'[ "$*" = "save app:dev" ] && exec cat {path}')
    assert estate.load("app:dev", nodes=("w1",)).images[0].digest == image.digest
    with pytest.raises(NotFoundError, match="no image app:dev on this host"):
        estate.load("app:dev", origin=Origin.DOCKER)
    with pytest.raises(PrerequisiteError, match="no container engine could be asked") as caught:
        estate.load("app:dev", origin=Origin.NERDCTL)
    assert "not installed: nerdctl" in (caught.value.why or "")


def test_a_program_that_fails_in_the_middle(estate: Estate, programs: Callable) -> None:
    path = estate.archive(picture(200_000))
    programs("docker", "app:dev", f"head -c 5000 {path}; echo lost the daemon >&2; exit 1")
    with pytest.raises(NotFoundError, match="docker did not save the image") as caught:
        estate.load("app:dev")
    assert "lost the daemon" in (caught.value.why or "")
    assert list(estate.store.refs()) == []
    assert not list(estate.store.ingest.glob("archive-*"))


def test_a_program_whose_archive_is_refused_is_ended(estate: Estate, programs: Callable) -> None:
    programs("docker", "app:dev", "while :; do echo rubbish; done")
    with pytest.raises(IntegrityError, match="not an image archive"):
        estate.load("app:dev")


def test_a_daemon_that_is_not_there(estate: Estate, programs: Callable) -> None:
    programs("docker", "x", "exit 1")
    broken = estate.root.parent / "bin" / "docker"
    broken.write_text("#!/bin/sh\necho Cannot connect to the Docker daemon >&2\nexit 1\n")
    with pytest.raises(PrerequisiteError) as caught:
        estate.load("app:dev")
    assert "docker: Cannot connect" in (caught.value.why or "")


@pytest.mark.parametrize("source", ["./absent", "absent.tar", "/absent/app", "--all", "UPPER"])
def test_sources_that_are_none(estate: Estate, source: str) -> None:
    with pytest.raises((NotFoundError, UsageError)):
        estate.load(source)


def test_an_empty_source_is_named(
    estate: Estate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a shell makes it of a variable that is not set; it is not this directory either."""
    (tmp_path / "oci-layout").write_text("{}")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="one SRC is empty"):
        estate.load("")


def test_sources_that_do_not_go_together(estate: Estate) -> None:
    for sources, reference in (((), ""), (("a", "a"), ""), (("a", "b"), "x:1")):
        with pytest.raises(UsageError):
            estate.load(*sources, reference=reference)


def test_an_image_for_other_nodes_is_refused_before_any_is_touched(estate: Estate) -> None:
    other = "arm64" if ARCH == "amd64" else "amd64"
    path = estate.archive(image_maker.image(2000, arch=other))
    with pytest.raises(NotFoundError, match="has no image for linux"):
        estate.load(path)
    assert not (estate.root / "w1" / "images.json").exists()


def test_a_node_of_another_architecture_is_told_alone(
    estate: Estate, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = estate.root.parent / "strange"
    own.mkdir()
    (own / "uname").write_text(
        '#!/bin/sh\ncase $FAKE_NODE in */w1) echo riscv64 ;; *) exec /bin/uname "$@" ;; esac\n'
    )
    (own / "uname").chmod(0o755)
    monkeypatch.setenv("PATH", f"{PROGRAMS}:{own}:{os.environ['PATH']}")
    result = estate.load(estate.archive(picture(2000)))
    assert [node.error is None for node in result.nodes] == [True, False, True]
    assert "which is linux/riscv64" in result.nodes[1].error.message  # type: ignore[union-attr]


def test_list_tells_who_has_what(estate: Estate) -> None:
    image = picture(2000)
    estate.load(estate.archive(image), nodes=("cp1", "w1"))
    estate.load(estate.archive(image_maker.with_layer(image, 100, 3)), nodes=("w1",))
    (estate.root / "w2").rename(estate.root / "away")
    found = images.list_images(estate.services, "dev")
    assert found.nodes == ("cp1", "w1")
    assert set(found.lost) == {"w2"}
    assert [row.reference for row in found.images] == [APP, APP]
    rows = {row.nodes: (row.lacking, row.broken, row.pinned, row.size) for row in found.images}
    assert rows == {
        ("cp1",): (("w1",), (), True, "1.0 KiB"),
        ("w1",): (("cp1",), (), True, "1.0 KiB"),
    }
    (estate.root / "w1" / "images.json").write_text("not json")
    assert set(images.list_images(estate.services, "dev").lost) == {"w1", "w2"}


def test_pull_refuses_what_is_no_name_and_tells_what_cannot_be_had(estate: Estate) -> None:
    with pytest.raises(UsageError):
        images.pull(estate.services, "dev", ["UPPER"])
    with pytest.raises(NetworkError):
        images.pull(estate.services, "dev", ["127.0.0.1:1/app:1"])
    assert not (estate.root / "w1" / "images.json").exists()


def test_pull_asks_a_registry_as_the_cluster_describes_it(
    node_directories: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a mirror, its login and plain HTTP; logins that are not needed may be missing."""
    monkeypatch.setenv("PULL_SECRET", "p@ss:w/ö%20")
    auth = {"username": "me", "passwordEnv": "PULL_SECRET"}
    image = picture(2000)
    with Registry() as server:
        server.add("team/app", "1", image)
        server.want_login("me", "p@ss:w/ö%20")
        place = server.url.partition("://")[2]
        registries = {
            place: {"plainHTTP": True, "auth": auth},
            "reg.invalid": {"mirrors": [server.url], "fallback": False},
            "other.invalid": {"auth": {**auth, "passwordEnv": "PULL_NOT_SET"}},
        }
        estate = Estate(node_directories, registries)
        found = images.pull(estate.services, "dev", ["reg.invalid/team/app:1"])
        assert found.failure is None
        assert [ref.digest for ref in found.images] == [image.digest]
        assert "reg.invalid/team/app:1" in estate.state("w1")["images"]
        monkeypatch.delenv("PULL_SECRET")
        with pytest.raises(ConfigError, match="logins") as caught:
            images.pull(estate.services, "dev", ["reg.invalid/team/app:1"])
        assert caught.value.id == "OMK-C-640"


def test_a_stop_is_no_failure_of_a_node(estate: Estate) -> None:
    path = estate.archive(picture(2000))
    estate.load(path, nodes=("w1",))
    interrupt.requested.set()
    with pytest.raises(Interrupted):
        estate.load(path)
