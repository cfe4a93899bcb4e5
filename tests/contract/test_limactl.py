"""One suite for the fake limactl and the real one: all that needs no machine to boot.

Each test runs against the fake as 2.0.3 and as 2.2.0 and against the real 2.0.3, through the same
tier of the provider. Where versions differ the table of quirks says how.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from ohmykube.errors import PrerequisiteError
from ohmykube.providers.lima.limactl import Limactl
from ohmykube.providers.lima.limactl_errors import LimactlError, Reason
from ohmykube.providers.lima.limactl_output import Status
from ohmykube.providers.lima.version_workarounds import Quirk, Version
from ohmykube.testing import fake_limactl
from ohmykube.testing.fake_limactl.in_process import InProcess
from tests import lima_binary, lima_image

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lima_binary import RealLimactl

GIB = 1 << 30
REAL = "real"
KINDS = ["fake-2.0.3", "fake-2.2.0", REAL]


@dataclass
class Seam:
    """A limactl with a home and an image of its own."""

    limactl: Limactl
    image: Path
    directory: Path
    real: RealLimactl | None

    def template(self, **changes: object) -> str:
        """Return a machine template that needs nothing from anywhere."""
        template = {
            "vmType": "qemu",
            "plain": True,
            "images": [{"location": str(self.image), "arch": "x86_64"}],
            "cpus": 1,
            "memory": "512MiB",
            "disk": "1GiB",
            "mounts": [],
            "containerd": {"system": False, "user": False},
            "firmware": {"legacyBIOS": True},
            "user": {"name": "ops", "uid": 1000, "home": "/home/ops", "shell": "/bin/bash"},
            "networks": [{"lima": "user-v2"}],
        }
        return yaml.safe_dump({**template, **changes}, sort_keys=False)

    def write(self, text: str) -> Path:
        """Put a file where the user of limactl may read it."""
        path = self.directory / "template.yaml"
        path.write_text(text)
        return path

    def has(self, quirk: Quirk) -> bool:
        """Tell whether this limactl has a quirk."""
        return quirk.of(self.limactl.version())

    def half_made(self, name: str) -> Path:
        """Leave a directory as a killed `create` does."""
        path = self.limactl.home / name
        path.mkdir()
        if self.real:
            self.real.own(path)
        return path

    def refused(self, reason: Reason) -> contextlib.AbstractContextManager[object]:
        """Expect a refusal."""
        return _refused(reason)


@contextlib.contextmanager
def _refused(reason: Reason) -> Iterator[None]:
    with pytest.raises(LimactlError) as caught:
        yield
    assert caught.value.reason is reason, (caught.value.reason, caught.value.why)
    assert caught.value.why


@pytest.fixture(params=KINDS)
def seam(
    request: pytest.FixtureRequest, real_limactl: RealLimactl | str, tmp_path: Path
) -> Iterator[Seam]:
    """Give each of the three."""
    if request.param == REAL:
        program = lima_binary.must_be_real(real_limactl)
        # Below a short path, owned by the user that limactl runs as.
        directory = Path(tempfile.mkdtemp(prefix="t", dir=program.scratch))
        directory.chmod(0o755)
        image = lima_image.blank(directory)
        program.own(directory)
        yield Seam(
            Limactl(directory / "h", program=str(program.program)), image, directory, program
        )
        shutil.rmtree(directory)
        return
    profile = {"FAKE_LIMA_PROFILE": request.param.removeprefix("fake-")}
    program_path = fake_limactl.install(tmp_path / "bin", profile)
    image = tmp_path / "blank.qcow2"
    image.write_bytes(b"blank")
    home = Path(tempfile.mkdtemp(prefix="l"))
    # Its own process only where the test runs it itself: that takes most of the time.
    limactl = Limactl(home / "h", program=str(program_path), run=InProcess(profile))
    yield Seam(limactl, image, tmp_path, None)
    fake_limactl.reap(home / "h")
    shutil.rmtree(home)


def test_version(seam: Seam) -> None:
    version = seam.limactl.version()
    assert version.at_least(2, 0)
    if seam.real and "OHMYKUBE_REAL_LIMACTL" not in os.environ:
        assert str(version) == lima_binary.VERSION


def test_a_home_that_is_not_there_is_empty(seam: Seam) -> None:
    assert seam.limactl.list() == ()
    assert seam.limactl.half_made() == ()
    assert seam.limactl.disk_list() == ()
    seam.limactl.delete("absent")


def test_create_and_list(seam: Seam) -> None:
    seam.limactl.create("a-cp-1", seam.template(cpus=2))
    (found,) = seam.limactl.list()
    assert (found.name, found.hostname, found.status) == ("a-cp-1", "lima-a-cp-1", Status.STOPPED)
    assert (found.cpus, found.memory, found.disk) == (2, GIB // 2, GIB)
    assert found.directory == seam.limactl.home / "a-cp-1"
    assert found.ssh_config == found.directory / "ssh.config"
    assert (found.ssh_port, found.host_agent_pid, found.driver_pid) == (0, 0, 0)
    assert not found.has_errors
    assert not found.protected
    assert Version.parse(found.lima_version) == seam.limactl.version()
    assert [one.network for one in found.networks] == ["user-v2"]
    assert found.config["plain"] is True
    assert found.config["user"]["name"] == "ops"
    assert (found.directory / "lima.yaml").is_file()


def test_listed_by_name(seam: Seam) -> None:
    for name in ("b", "a"):
        seam.limactl.create(name, seam.template())
    assert [one.name for one in seam.limactl.list()] == ["a", "b"]
    assert [one.name for one in seam.limactl.list("b", "absent")] == ["b"]
    assert seam.limactl.list("absent") == ()


def test_create_twice(seam: Seam) -> None:
    seam.limactl.create("a", seam.template())
    with seam.refused(Reason.EXISTS):
        seam.limactl.create("a", seam.template(cpus=2))
    assert seam.limactl.list()[0].cpus == 1


@pytest.mark.parametrize("name", ["a/b", "a b", "-a", ".a", "a..b"])
def test_bad_names(seam: Seam, name: str) -> None:
    with seam.refused(Reason.BAD_NAME):
        seam.limactl.create(name, seam.template())
    assert seam.limactl.list() == ()


def test_a_name_whose_socket_has_too_long_a_path(seam: Seam) -> None:
    length = 108 - 26 - len(str(seam.limactl.home)) - 1
    seam.limactl.create("a" * (length - 1), seam.template())
    with seam.refused(Reason.TOO_LONG):
        seam.limactl.create("b" * length, seam.template())
    with seam.refused(Reason.TOO_LONG):
        seam.limactl.clone("a" * (length - 1), "c" * length)
    assert len(seam.limactl.list()) == 1


def test_an_absent_image(seam: Seam) -> None:
    images = [{"location": str(seam.directory / "absent.qcow2"), "arch": "x86_64"}]
    with seam.refused(Reason.DOWNLOAD):
        seam.limactl.create("a", seam.template(images=images))
    left = [one.name for one in seam.limactl.list()]
    assert left == (["a"] if seam.has(Quirk.FAILED_CREATE_LEAVES_DIRECTORY) else [])


def test_the_digest_of_the_image_is_checked(seam: Seam) -> None:
    right = hashlib.sha256(seam.image.read_bytes()).hexdigest()
    image = {"location": str(seam.image), "arch": "x86_64"}
    seam.limactl.create("a", seam.template(images=[{**image, "digest": f"sha256:{right}"}]))
    wrong = "0" * 64
    with seam.refused(Reason.DIGEST):
        seam.limactl.create("b", seam.template(images=[{**image, "digest": f"sha256:{wrong}"}]))
    with seam.refused(Reason.BAD_TEMPLATE):
        seam.limactl.create("c", seam.template(images=[{**image, "digest": "sha256:12"}]))


@pytest.mark.parametrize(
    "text",
    ["images: [", "[]", "images: []", "cpus: x", "memory: much", "networks: [{lima: absent}]"],
)
def test_bad_templates(seam: Seam, text: str) -> None:
    whole = text if text.startswith(("images", "[")) else f"{seam.template()}{text}\n"
    if text.partition(":")[0] in ("cpus", "memory", "networks"):
        key = text.partition(":")[0]
        whole = seam.template(**{key: yaml.safe_load(text)[key]})
    with seam.refused(Reason.BAD_TEMPLATE):
        seam.limactl.create("a", whole)
    assert seam.limactl.list() == ()
    assert seam.limactl.half_made() == ()


def test_an_unknown_field_is_only_a_warning(seam: Seam) -> None:
    told = seam.limactl.create("a", seam.template(cpsu=2))
    assert any(one.level == "warning" and "cpsu" in one.detail for one in told)
    assert "cpsu" not in seam.limactl.list()[0].config


def test_validate(seam: Seam) -> None:
    assert seam.limactl.validate(seam.write(seam.template()))[-1].level == "info"
    told = seam.limactl.validate(seam.write(seam.template(cpsu=2)))
    assert any("cpsu" in one.detail for one in told)
    with seam.refused(Reason.BAD_TEMPLATE):
        seam.limactl.validate(seam.write("vmType: qemu\n"))
    with pytest.raises(LimactlError):
        seam.limactl.validate(seam.directory / "absent.yaml")


def test_edit(seam: Seam) -> None:
    seam.limactl.create("a", seam.template())
    seam.limactl.edit("a", ".cpus = 2", '.memory = "600MiB"', '.disk = "2GiB"')
    (found,) = seam.limactl.list()
    assert (found.cpus, found.memory, found.disk) == (2, 600 << 20, 2 * GIB)
    told = seam.limactl.edit("a", ".cpsu = 3")
    assert any("cpsu" in one.detail for one in told)
    with seam.refused(Reason.ABSENT):
        seam.limactl.edit("b", ".cpus = 2")


@pytest.mark.parametrize(
    ("expression", "reason"),
    [('.disk = "100MiB"', Reason.SHRINK), ('.memory = "much"', Reason.BAD_TEMPLATE)],
)
def test_a_refused_edit_changes_nothing(
    seam: Seam, expression: str, reason: Reason, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    seam.limactl.create("a", seam.template())
    before = (seam.limactl.home / "a" / "lima.yaml").read_bytes()
    with seam.refused(reason):
        seam.limactl.edit("a", expression)
    assert (seam.limactl.home / "a" / "lima.yaml").read_bytes() == before
    assert not (tmp_path / "lima.REJECTED.yaml").exists()


def test_clone(seam: Seam) -> None:
    seam.limactl.create("gold", seam.template())
    mark = seam.limactl.home / "gold" / "mark.yaml"
    mark.write_text("ours: true\n")
    if seam.real:
        seam.real.own(mark)
    seam.limactl.protect("gold")
    seam.limactl.clone("gold", "a", '.memory = "600MiB"')
    copy, gold = seam.limactl.list()
    assert (copy.name, copy.memory, gold.memory) == ("a", 600 << 20, GIB // 2)
    assert (copy.protected, gold.protected) == (False, True)
    assert copy.networks[0].mac != gold.networks[0].mac
    assert (copy.directory / "mark.yaml").read_text() == "ours: true\n"
    with seam.refused(Reason.EXISTS):
        seam.limactl.clone("gold", "a")
    with seam.refused(Reason.ABSENT):
        seam.limactl.clone("absent", "b")
    with seam.refused(Reason.BAD_NAME):
        seam.limactl.clone("gold", "b/c")


def test_a_clone_stays_when_its_changes_are_refused(seam: Seam) -> None:
    seam.limactl.create("gold", seam.template())
    with seam.refused(Reason.SHRINK):
        seam.limactl.clone("gold", "a", '.disk = "100MiB"')
    assert [(one.name, one.disk) for one in seam.limactl.list()] == [("a", GIB), ("gold", GIB)]


def test_delete(seam: Seam) -> None:
    for name in ("a", "b", "c"):
        seam.limactl.create(name, seam.template())
    seam.limactl.delete("a", "absent")
    seam.limactl.delete("b", force=True)
    assert [one.name for one in seam.limactl.list()] == ["c"]


def test_protection(seam: Seam) -> None:
    seam.limactl.create("a", seam.template())
    seam.limactl.protect("a")
    assert seam.limactl.list()[0].protected
    with seam.refused(Reason.PROTECTED):
        seam.limactl.delete("a", force=True)
    seam.limactl.unprotect("a")
    seam.limactl.delete("a")
    with seam.refused(Reason.ABSENT):
        seam.limactl.protect("a")


def test_stop_what_does_not_run(seam: Seam) -> None:
    seam.limactl.create("a", seam.template())
    with seam.refused(Reason.NOT_RUNNING):
        seam.limactl.stop("a")
    seam.limactl.stop("a", force=True)
    with seam.refused(Reason.ABSENT):
        seam.limactl.stop("absent")


def test_start_makes_no_machine_of_a_wrong_name(seam: Seam) -> None:
    with seam.refused(Reason.ABSENT):
        seam.limactl.start("typo", timeout=60)
    assert seam.limactl.list() == ()


def test_a_half_made_directory_does_not_hide_the_others(seam: Seam) -> None:
    seam.limactl.create("a", seam.template())
    half = seam.half_made("half")
    assert [one.name for one in seam.limactl.list()] == ["a"]
    assert seam.limactl.half_made() == ("half",)
    half.rmdir()
    assert seam.limactl.half_made() == ()


def test_only_a_half_made_directory(seam: Seam) -> None:
    seam.limactl.create("a", seam.template())
    seam.limactl.delete("a")
    seam.half_made("half")
    assert seam.limactl.list() == ()
    with pytest.raises(LimactlError) as caught:
        seam.limactl.delete("half", force=True)
    assert caught.value.reason in (Reason.HALF_MADE, Reason.ABSENT)
    with seam.refused(Reason.EXISTS):
        seam.limactl.create("half", seam.template())


def test_work_is_done_beside_a_half_made_directory(seam: Seam) -> None:
    seam.limactl.create("a", seam.template())
    seam.half_made("half")
    if seam.has(Quirk.FINISHED_WORK_FAILS):
        with seam.refused(Reason.ABSENT):
            seam.limactl.delete("a")
    else:
        seam.limactl.delete("a")
    assert seam.limactl.list() == ()


def test_an_unreadable_template_is_shown_as_such(seam: Seam) -> None:
    seam.limactl.create("a", seam.template())
    (seam.limactl.home / "a" / "lima.yaml").write_text("cpus: [")
    (found,) = seam.limactl.list()
    assert (found.status, found.config, found.has_errors) == (Status.UNKNOWN, {}, True)
    with seam.refused(Reason.STILL_RUNNING):
        seam.limactl.delete("a")
    seam.limactl.delete("a", force=True)
    assert seam.limactl.list() == ()


def test_shell_without_a_machine(seam: Seam) -> None:
    def code(name: str) -> int:
        argv = seam.limactl.shell_argv(name, "true")
        return subprocess.run(
            argv, env=seam.limactl.environment, check=False, capture_output=True, timeout=60
        ).returncode

    seam.limactl.create("a", seam.template())
    assert code("a") == (0 if seam.has(Quirk.SHELL_ON_STOPPED_SUCCEEDS) else 1)
    assert code("absent") == 1


def test_disks(seam: Seam) -> None:
    seam.limactl.disk_create("d1", GIB)
    seam.limactl.disk_create("d2", 1500 << 20, kind="raw")
    found = {one.name: one for one in seam.limactl.disk_list()}
    assert {name: one.size for name, one in found.items()} == {"d1": GIB, "d2": 1500 << 20}
    assert found["d2"].format == "qcow2", Quirk.DISK_FORMAT_IGNORED
    assert found["d1"].directory == seam.limactl.home / "_disks" / "d1"
    assert found["d1"].instance == ""
    with seam.refused(Reason.EXISTS):
        seam.limactl.disk_create("d1", GIB)
    with seam.refused(Reason.BAD_NAME):
        seam.limactl.disk_create("a/b", GIB)
    seam.limactl.disk_resize("d1", 2 * GIB)
    with seam.refused(Reason.SHRINK):
        seam.limactl.disk_resize("d1", GIB)
    with seam.refused(Reason.ABSENT):
        seam.limactl.disk_resize("absent", GIB)
    seam.limactl.disk_unlock("d1")
    seam.limactl.disk_delete("d1")
    seam.limactl.disk_delete("absent")
    assert [one.name for one in seam.limactl.disk_list()] == ["d2"]


def test_a_disk_of_an_instance_is_not_deleted_silently(seam: Seam) -> None:
    seam.limactl.disk_create("d1", GIB)
    seam.limactl.create("a", seam.template(additionalDisks=[{"name": "d1", "format": False}]))
    with seam.refused(Reason.IN_USE):
        seam.limactl.disk_delete("d1")
    assert [one.name for one in seam.limactl.disk_list()] == ["d1"]
    seam.limactl.disk_delete("d1", force=True)
    assert seam.limactl.disk_list() == ()


def test_networks(seam: Seam) -> None:
    usual = {one.name: one.mode for one in seam.limactl.network_list()}
    assert usual["user-v2"] == "user-v2"
    seam.limactl.network_create("omk-a", "192.168.231.1/24")
    found = {one.name: one for one in seam.limactl.network_list()}
    assert found.keys() - usual.keys() == {"omk-a"}
    ours = found["omk-a"]
    assert (ours.mode, ours.gateway, ours.netmask) == ("user-v2", "192.168.231.1", "255.255.255.0")
    with seam.refused(Reason.EXISTS):
        seam.limactl.network_create("omk-a", "192.168.232.1/24")
    with pytest.raises(LimactlError, match="create the network omk-b"):
        seam.limactl.network_create("omk-b", "300.1.1.1/24")
    seam.limactl.create("a", seam.template(networks=[{"lima": "omk-a"}]))
    assert seam.limactl.list()[0].networks[0].network == "omk-a"
    seam.limactl.network_delete("omk-a")
    seam.limactl.network_delete("omk-a")
    assert {one.name for one in seam.limactl.network_list()} == usual.keys()


def test_info_needs_the_templates_of_lima(seam: Seam) -> None:
    if seam.real and "OHMYKUBE_REAL_LIMACTL" in os.environ:
        assert seam.limactl.info().version
        return
    with pytest.raises(LimactlError, match="tell about itself"):
        seam.limactl.info()


def _key(seam: Seam) -> None:
    directory = seam.limactl.home / "_config"
    directory.mkdir(parents=True)
    path = str(directory / "user")
    argv = ["ssh-keygen", "-t", "ed25519", "-q", "-N", "", "-C", "lima", "-f", path]
    subprocess.run(argv, check=True, timeout=60, stdin=subprocess.DEVNULL)
    if seam.real:
        seam.real.own(seam.limactl.home)


def _create_at_once(seam: Seam, names: list[str]) -> list[LimactlError | None]:
    def create(name: str) -> LimactlError | None:
        try:
            seam.limactl.create(name, seam.template())
        except LimactlError as error:
            return error
        return None

    with ThreadPoolExecutor(len(names)) as pool:
        return list(pool.map(create, names))


def test_first_creates_at_once_with_a_key(seam: Seam) -> None:
    _key(seam)
    names = ["a", "b", "c", "d"]
    assert _create_at_once(seam, names) == [None] * 4
    assert [one.name for one in seam.limactl.list()] == names


def test_first_creates_at_once_without_a_key(seam: Seam) -> None:
    if seam.real is None:
        fake_limactl.plant(seam.limactl.home, "keygen-race@b")
    failed = [error for error in _create_at_once(seam, ["a", "b", "c", "d"]) if error]
    assert [error.reason for error in failed] == [Reason.KEY_RACE] * len(failed)
    assert len(failed) < 4, "nobody won"
    assert seam.real or failed


def test_root_is_refused(seam: Seam, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if seam.real:
        if os.geteuid() != 0:
            pytest.skip("not root")
        limactl = Limactl(tmp_path, program=str(seam.real.program.parent / "bin" / "limactl"))
    else:
        monkeypatch.setenv("FAKE_LIMA_AS_ROOT", "1")
        limactl = Limactl(tmp_path, run=InProcess())
    with pytest.raises(PrerequisiteError, match="root") as caught:
        limactl.version()
    assert caught.value.id == "OMK-P-401"


def test_options_that_it_does_not_know(seam: Seam) -> None:
    seam.limactl.create("a", seam.template())
    with pytest.raises(LimactlError) as caught:
        seam.limactl.protect("--bogus")
    assert "unknown flag: --bogus" in (caught.value.why or "")
