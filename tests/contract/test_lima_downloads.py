"""The machine image from host to host, through the downloads of the fake and the real limactl.

The server of the image is on the loopback. What is made here never boots.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from ohmykube.errors import IntegrityError, Interrupted, NetworkError
from ohmykube.kit import architecture, files, interrupt, process
from ohmykube.kit.paths import Paths
from ohmykube.model.cluster import Cluster, Node, Role
from ohmykube.progress import NullReporter
from ohmykube.providers.base import Portable, ProviderContext
from ohmykube.providers.lima.download_cache import Download, locate
from ohmykube.providers.lima.external_calls import ExternalCalls
from ohmykube.providers.lima.lima_home import Home
from ohmykube.providers.lima.limactl import Limactl
from ohmykube.providers.lima.limactl_errors import LimactlError, Reason
from ohmykube.providers.lima.preflight import Host
from ohmykube.providers.lima.provider import LimaProvider
from ohmykube.providers.lima.version_workarounds import Quirk
from ohmykube.testing import fake_limactl
from ohmykube.testing.fake_limactl.in_process import InProcess
from tests import lima_binary, lima_image
from tests.image_server import ImageServer, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ohmykube.providers.lima.limactl import Runner
    from tests.lima_binary import RealLimactl

REAL = "real"
ALGORITHMS = ["sha256", "sha384", "sha512"]


@dataclass(frozen=True)
class Side:
    """A host: its home of Lima, its downloads, and its limactl."""

    directory: Path
    program: str
    run: Runner
    patch: pytest.MonkeyPatch

    @property
    def downloads(self) -> Path:
        """Where limactl keeps its downloads."""
        return locate({"XDG_CACHE_HOME": str(self.directory / "c")}, "linux")

    def provider(self, **options: object) -> LimaProvider:
        """Return the provider there; everything done from now on is done there."""
        self.patch.setenv("XDG_CACHE_HOME", str(self.directory / "c"))
        paths = Paths(
            state=self.directory / "s", data=self.directory / "d", cache=self.directory / "k"
        )
        cluster = Cluster(
            name="dev",
            kubernetes_version="1.36.3",
            provider="lima",
            nodes=(Node(name="cp1", role=Role.CONTROL_PLANE),),
            provider_options=options,
        )
        return LimaProvider(
            ProviderContext(paths=paths, reporter=NullReporter(), cluster=cluster),
            home=Home(self.directory / "h"),
            host=Host(system="linux", uid=1000, architecture=architecture.host()),
            external=ExternalCalls(program=self.program, run=self.run),
        )

    def limactl(self) -> Limactl:
        """Return a limactl over the home there."""
        return Limactl(self.directory / "h", program=self.program, run=self.run)


@dataclass(frozen=True)
class Sides:
    """Two hosts, and the server that only the first of them reaches."""

    here: Side
    there: Side
    server: ImageServer
    image: bytes

    def digest(self, algorithm: str = "sha256") -> str:
        """Return the digest of the image."""
        return f"{algorithm}:{hashlib.new(algorithm, self.image).hexdigest()}"

    def serve(self, name: str = "a.qcow2", algorithm: str = "sha256") -> dict[str, object]:
        """Serve the image; return the options of a cluster that boots from it."""
        self.server.files[name] = self.image
        return {"image": self.server.url(name), "digest": self.digest(algorithm)}


class AsOwner:
    """Runs the real limactl after all that root made was given to its user."""

    def __init__(self, real: RealLimactl, directory: Path) -> None:
        self._real = real
        self._directory = directory

    def __call__(
        self,
        argv: Sequence[str],
        *,
        timeout: float,
        input: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        check: bool = True,
    ) -> process.Result:
        self._real.own(self._directory)
        return process.run(argv, timeout=timeout, input=input, env=env, cwd=cwd, check=check)


@pytest.fixture(params=["fake-2.0.3", "fake-2.2.0", REAL])
def sides(
    request: pytest.FixtureRequest, real_limactl: RealLimactl | str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Sides]:
    if request.param == REAL:
        found = lima_binary.must_be_real(real_limactl)
        root = Path(tempfile.mkdtemp(prefix="t", dir=found.scratch))
        root.chmod(0o755)
        image = lima_image.blank(root).read_bytes()

        def side(name: str) -> Side:
            directory = root / name
            directory.mkdir()
            return Side(directory, str(found.program), AsOwner(found, directory), monkeypatch)
    else:
        root = Path(tempfile.mkdtemp(prefix="l"))
        profile = {"FAKE_LIMA_PROFILE": request.param.removeprefix("fake-")}
        program = str(fake_limactl.install(root / "bin", profile))
        image = b"not booted " * 50_000

        def side(name: str) -> Side:
            (root / name).mkdir()
            return Side(root / name, program, InProcess(profile), monkeypatch)

    with serving() as server:
        yield Sides(side("a"), side("b"), server, image)
    for name in ("a", "b"):
        fake_limactl.reap(root / name / "h")
    shutil.rmtree(root)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_from_a_server_to_a_host_without_one(sides: Sides, algorithm: str, tmp_path: Path) -> None:
    options = sides.serve(algorithm=algorithm)
    one = sides.here.provider(**options)
    assert isinstance(one, Portable)
    assert one.base_version() == sides.digest(algorithm).partition(":")[2][:16]
    assert not one.has_base()
    one.export_base(tmp_path / "a.tar")
    assert one.has_base()
    assert sides.server.asked == ["GET /a.qcow2"]
    assert sides.here.limactl().list() == ()
    assert not (sides.here.directory / "h/_omk/f").exists()
    sides.server.stop()

    two = sides.there.provider(**options)
    assert (two.base_version(), two.has_base()) == (one.base_version(), False)
    two.import_base(tmp_path / "a.tar")
    assert two.has_base()
    entries = sides.there.limactl().create("made", two._creator.text_to_fetch())
    assert any("Using cache" in entry.message for entry in entries)
    assert [found.name for found in sides.there.limactl().list()] == ["made"]
    assert sides.server.asked == ["GET /a.qcow2"]
    two.export_base(tmp_path / "b.tar")
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def test_what_limactl_leaves_is_what_we_leave(sides: Sides, tmp_path: Path) -> None:
    options = sides.serve()
    sides.here.provider(**options).export_base(tmp_path / "a.tar")
    sides.there.provider(**options).import_base(tmp_path / "a.tar")
    told = {}
    for side in (sides.here, sides.there):
        place = Download(side.downloads, str(options["image"])).directory
        told[side] = {p.name: (p.read_bytes(), p.stat().st_mode) for p in place.iterdir()}
        assert place.stat().st_mode & 0o777 == 0o700
        assert place.parent.stat().st_mode & 0o777 == 0o700
    theirs, ours = told[sides.here], told[sides.there]
    # The date and the kind are what only the server can tell; they are for files without a digest.
    assert set(theirs) - set(ours) == {"time", "type"}
    assert ours == {name: theirs[name] for name in ours}


def test_a_wrong_byte_is_refused(sides: Sides, tmp_path: Path) -> None:
    options = sides.serve()
    sides.here.provider(**options).export_base(tmp_path / "a.tar")
    data = bytearray((tmp_path / "a.tar").read_bytes())
    data[512 + len(sides.image) // 2] ^= 1
    (tmp_path / "a.tar").write_bytes(data)
    sides.server.stop()
    two = sides.there.provider(**options)
    with pytest.raises(IntegrityError, match="cannot be trusted"):
        two.import_base(tmp_path / "a.tar")
    assert not two.has_base()
    with pytest.raises(LimactlError) as caught:
        sides.there.limactl().create("made", two._creator.text_to_fetch())
    assert caught.value.reason is Reason.DOWNLOAD


def test_a_kernel_and_an_initrd_come_along(sides: Sides, tmp_path: Path) -> None:
    files = {"image": sides.image, "kernel": b"kernel " * 1000, "initrd": b"initrd"}
    entry: dict[str, object] = {}
    for role, data in files.items():
        sides.server.files[role] = data
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        part = {"location": sides.server.url(role), "digest": digest}
        entry |= part if role == "image" else {role: part}
    template = tmp_path / "template.yaml"
    template.write_text(yaml.safe_dump({"images": [entry], "firmware": {"legacyBIOS": True}}))
    one = sides.here.provider(template=str(template))
    one.export_base(tmp_path / "a.tar")
    assert sorted(sides.server.asked) == ["GET /image", "GET /initrd", "GET /kernel"]
    sides.server.stop()
    two = sides.there.provider(template=str(template))
    two.import_base(tmp_path / "a.tar")
    sides.there.limactl().create("made", two._creator.text_to_fetch())
    assert len(sides.server.asked) == 3


def test_another_image_than_its_digest_says(sides: Sides, tmp_path: Path) -> None:
    options = sides.serve()
    sides.server.files["a.qcow2"] = b"evil"
    one = sides.here.provider(**options)
    with pytest.raises(IntegrityError) as caught:
        one.export_base(tmp_path / "a.tar")
    assert caught.value.id == "OMK-P-576"
    assert "expected digest" in (caught.value.why or "")
    assert "spec.provider.options" in (caught.value.hint or "")
    assert not one.has_base()
    assert not (sides.here.directory / "h/_omk/f").exists()


def test_what_an_older_description_left_is_named(sides: Sides, tmp_path: Path) -> None:
    """limactl refuses for ever what it has under another digest; what is brought replaces it."""
    options = sides.serve()
    sides.here.provider(**options).export_base(tmp_path / "a.tar")
    new = sides.image + b"\0" * 512
    sides.server.files["a.qcow2"] = new
    newer = {**options, "digest": f"sha256:{hashlib.sha256(new).hexdigest()}"}
    one = sides.here.provider(**newer)
    with pytest.raises(IntegrityError) as caught:
        one.export_base(tmp_path / "b.tar")
    place = Download(sides.here.downloads, str(options["image"])).directory
    assert caught.value.hint == f"rm -r {place}  (then the same command again)"

    two = sides.there.provider(**newer)
    two.export_base(tmp_path / "b.tar")
    one = sides.here.provider(**newer)
    one.import_base(tmp_path / "b.tar")
    sides.server.stop()
    sides.here.limactl().create("made", one._creator.text_to_fetch())


def test_limactl_waits_while_we_write(
    sides: Sides, eventually: Callable[[Callable[[], bool]], bool]
) -> None:
    options = sides.serve()
    sides.server.stop()
    two = sides.there.provider(**options)
    place = Download(sides.there.downloads, str(options["image"]))
    files.ensure_directory(place.directory)
    waiting = f":{place.directory.stat().st_ino} "

    def blocked() -> bool:
        lines = Path("/proc/locks").read_text().splitlines()
        return any("->" in line and "FLOCK" in line and waiting in line for line in lines)

    with ThreadPoolExecutor(1) as pool:
        with place.filling(str(options["digest"])) as stream:
            text = two._creator.text_to_fetch()
            made = pool.submit(sides.there.limactl().create, "made", text)
            assert eventually(blocked)
            stream.write(sides.image)
        assert made.result(60)
    assert sides.server.asked == []


def test_stopped_while_it_downloads(sides: Sides, tmp_path: Path) -> None:
    options = sides.serve()
    here = sides.here
    if isinstance(here.run, InProcess):
        here = replace(here, run=process.run)  # only a process can be stopped
    one = here.provider(**options)
    sides.server.stalls.set()
    with ThreadPoolExecutor(1) as pool:
        export = pool.submit(one.export_base, tmp_path / "a.tar")
        assert sides.server.stalled.wait(30)
        interrupt.requested.set()
        with pytest.raises(Interrupted):
            export.result(60)
    sides.server.stalls.clear()
    interrupt.requested.clear()
    place = Download(here.downloads, str(options["image"])).directory
    assert not [path.name for path in place.iterdir() if path.name.startswith("data")]
    assert not (here.directory / "h/_omk/f").exists()
    one.export_base(tmp_path / "a.tar")
    assert sides.server.asked == ["GET /a.qcow2"] * 2


@pytest.mark.parametrize("lost", ["server", "file"])
def test_an_image_that_cannot_be_had(sides: Sides, tmp_path: Path, lost: str) -> None:
    options = sides.serve()
    if lost == "server":
        sides.server.stop()
    sides.server.files.clear()
    with pytest.raises(NetworkError) as caught:
        sides.here.provider(**options).export_base(tmp_path / "a.tar")
    assert str(options["image"]) in (caught.value.why or "")
    assert not (sides.here.directory / "h/_omk/f").exists()


def test_without_a_digest_limactl_asks_when_it_can(sides: Sides) -> None:
    """So nothing without a digest is good for a host that may ask nobody."""
    options = sides.serve()
    del options["digest"]
    one = sides.here.provider(**options, allowUnverifiedImage=True)
    assert one.base_version() == ""
    (left,) = one.own_parts()
    assert (left.name, left.here) == (f"machine image {options['image']} without a digest", False)
    text = one._creator.text_to_fetch()
    sides.here.limactl().create("made", text)
    sides.here.limactl().create("again", text)
    assert sides.server.asked == ["GET /a.qcow2", "HEAD /a.qcow2"]
    sides.server.stop()
    limactl = sides.here.limactl()
    fails = Quirk.DIGESTLESS_NEEDS_SERVER.of(limactl.version())
    with pytest.raises(LimactlError) if fails else contextlib.nullcontext():
        limactl.create("offline", text)
