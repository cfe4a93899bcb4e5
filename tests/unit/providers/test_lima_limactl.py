"""How limactl is run and what its words are taken for; what it does is in the contract suite."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ohmykube.errors import PrerequisiteError, ResourceError
from ohmykube.kit import process
from ohmykube.providers.lima.limactl import Limactl
from ohmykube.providers.lima.limactl_errors import LimactlError, Reason, failure, reason_of
from ohmykube.providers.lima.limactl_output import Malformed, Network, lines
from ohmykube.providers.lima.version_workarounds import Quirk, Version
from ohmykube.testing import fake_limactl
from ohmykube.testing.fake_limactl.in_process import InProcess

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

TEMPLATE = "images: [{{location: {image}}}]\nnetworks: [{{lima: user-v2}}]\nplain: true\n"


class Scripted:
    """Answers each call with the next result, and keeps what it was asked."""

    def __init__(self, *answers: tuple[int, str, str]) -> None:
        self.answers = list(answers)
        self.calls: list[Sequence[str]] = []
        self.env: Mapping[str, str] = {}
        self.cwd: list[Path] = []

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
        assert timeout > 0
        assert not check
        assert cwd is not None
        assert list(cwd.iterdir()) == []
        self.calls.append(argv)
        self.env = env or {}
        self.cwd.append(cwd)
        code, out, err = self.answers.pop(0)
        return process.Result(tuple(argv), code, out, err)


def answering(*answers: tuple[int, str, str]) -> tuple[Limactl, Scripted]:
    run = Scripted(*answers)
    return Limactl(Path("/nowhere/lima"), run=run, environ={"EXTRA": "1"}), run


@pytest.fixture
def fake() -> Iterator[Limactl]:
    with tempfile.TemporaryDirectory(prefix="l") as directory:  # short: sockets lie in it
        home = Path(directory) / "h"
        yield Limactl(home, run=InProcess(), start_margin=0.5)
        fake_limactl.reap(home)


def template(directory: Path) -> str:
    image = directory / "image"
    image.touch()
    return TEMPLATE.format(image=image)


def test_it_talks_to_no_terminal_and_in_its_own_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMA_INSTANCE", "other")
    monkeypatch.setenv("LIMA_HOME", "/other")
    limactl, run = answering((0, "", ""))
    limactl.list()
    assert run.calls == [["limactl", "--tty=false", "--log-format=json", "list", "--json"]]
    assert (run.env["LIMA_HOME"], run.env["EXTRA"]) == ("/nowhere/lima", "1")
    assert "LIMA_INSTANCE" not in run.env
    assert not run.cwd[0].exists()


def test_the_version_is_asked_once() -> None:
    limactl, run = answering((0, "limactl version 2.0.3\n", ""))
    assert (str(limactl.version()), str(limactl.version())) == ("2.0.3", "2.0.3")
    assert len(run.calls) == 1


@pytest.mark.parametrize("words", ["", "limactl 2.0", "colima version 1\n"])
def test_another_program_of_that_name(words: str) -> None:
    limactl, _ = answering((0, words, ""))
    with pytest.raises(LimactlError) as caught:
        limactl.version()
    assert (caught.value.reason, caught.value.id) == (Reason.UNREADABLE, "OMK-P-414")


def test_not_installed(tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteError) as caught:
        Limactl(tmp_path, program="limactl-that-is-not-there").list()
    assert caught.value.id == "OMK-P-402"
    assert "lima-vm.io" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("code", "stderr"),
    [
        (2, "panic: must not run as the root user\n"),
        (1, "limactl: must not run as the root user\n"),
    ],
)
def test_root(code: int, stderr: str) -> None:
    limactl, _ = answering((code, "", stderr))
    with pytest.raises(PrerequisiteError, match="root") as caught:
        limactl.list()
    assert caught.value.id == "OMK-P-401"


def test_no_space(fake: Limactl, tmp_path: Path) -> None:
    fake_limactl.plant(fake.home, "no-space@a", "no-space@d")
    with pytest.raises(ResourceError, match="create a") as caught:
        fake.create("a", template(tmp_path))
    assert caught.value.id == "OMK-P-413"
    with pytest.raises(ResourceError):
        fake.disk_create("d", 1 << 30)


def test_a_hung_start_is_ended(tmp_path: Path) -> None:
    directory = tmp_path / "bin"
    program = str(fake_limactl.install(directory, {"FAKE_LIMA_FAULTS": "start-hang"}))
    limactl = Limactl(tmp_path / "h", program=program, start_margin=0.2)
    limactl.create("a", template(tmp_path))
    begun = time.monotonic()
    with pytest.raises(LimactlError, match="hung") as caught:
        limactl.start("a", timeout=0.3)
    assert time.monotonic() - begun < 60  # it would hang for ever
    assert (caught.value.reason, caught.value.id) == (Reason.HUNG, "OMK-P-412")


def test_a_killed_call_says_so(fake: Limactl, tmp_path: Path) -> None:
    fake_limactl.plant(fake.home, "half-dir@a")
    with pytest.raises(LimactlError) as caught:
        fake.create("a", template(tmp_path))
    assert (caught.value.code, caught.value.reason) == (-9, Reason.OTHER)
    assert (caught.value.why or "").startswith("it was killed")
    assert fake.half_made() == ("a",)


@pytest.mark.parametrize(
    "text",
    [
        "not json",
        "[]",
        '{"name": 1, "status": "Running", "dir": "/x"}',
        '{"name": "a", "status": "Dreaming", "dir": "/x"}',
        '{"name": "a", "status": "Running"}',
        '{"name": "a", "status": "Running", "dir": "/x", "cpus": true}',
        '{"name": "a", "status": "Running", "dir": "/x", "network": [1]}',
        '{"name": "a", "status": "Running", "dir": "/x", "config": []}',
        '{"name": "a", "status": "Running", "dir": "/x", "network": [{"vzNAT": "yes"}]}',
    ],
)
def test_answers_of_another_shape_are_no_guess(text: str) -> None:
    limactl, _ = answering((0, text + "\n", ""))
    with pytest.raises(LimactlError, match="list the instances") as caught:
        limactl.list()
    assert caught.value.reason is Reason.UNREADABLE


def test_keys_of_a_newer_version_are_ignored() -> None:
    limactl, _ = answering((0, '{"name":"a","status":"Stopped","dir":"/x","new":{}}\n\n', ""))
    assert [one.name for one in limactl.list()] == ["a"]


def test_info() -> None:
    answer = (
        '{"version": "2.2.0", "limaHome": "/x", "vmTypes": ["qemu", "vz"],\n'
        ' "guestAgents": {"x86_64": {"location": "/y"}}, "identityFile": "/x/_config/user"}'
    )
    limactl, _ = answering((0, answer, ""), (0, "[1]", ""), (0, "{", ""))
    info = limactl.info()
    assert (info.version, info.home, info.vm_types) == ("2.2.0", Path("/x"), ("qemu", "vz"))
    assert (info.guest_agents, info.identity_file) == (("x86_64",), "/x/_config/user")
    for _ in range(2):
        with pytest.raises(LimactlError) as caught:
            limactl.info()
        assert caught.value.reason is Reason.UNREADABLE


def test_a_broken_networks_file(fake: Limactl) -> None:
    fake.network_list()
    path = fake.home / "_config" / "networks.yaml"
    limactl = Limactl(fake.home, run=Scripted((0, "", ""), (0, "limactl version 2.0.3\n", "")))
    path.write_text("networks: [")
    with pytest.raises(LimactlError) as caught:
        limactl.network_list()
    assert str(path) in (caught.value.why or "")


def test_a_listing_that_fails_otherwise() -> None:
    failed = (1, "", '{"level":"fatal","msg":"disk on fire"}\n')
    limactl, _ = answering(failed, failed)
    for names in ((), ("a",)):
        with pytest.raises(LimactlError) as caught:
            limactl.list(*names)
        assert caught.value.why == "disk on fire"


def test_a_disk_of_a_running_machine_cannot_be_unlocked(fake: Limactl, tmp_path: Path) -> None:
    fake.disk_create("d", 1 << 30)
    fake.create("a", template(tmp_path) + "additionalDisks: [{name: d}]\n")
    fake.start("a", timeout=20)
    assert [one.instance for one in fake.disk_list()] == ["a"]
    for action in (fake.disk_unlock, fake.disk_delete):
        with pytest.raises(LimactlError) as caught:
            action("d")
        assert caught.value.reason is Reason.IN_USE
    with pytest.raises(LimactlError) as caught:
        fake.disk_resize("d", 2 << 30)
    assert caught.value.reason is Reason.IN_USE
    fake.stop("a", force=True)
    fake.disk_unlock("d")
    assert [one.instance for one in fake.disk_list()] == [""]


def test_shell_goes_to_the_root_directory_of_the_guest() -> None:
    limactl, _ = answering()
    assert limactl.shell_argv("a", "id", "-u")[-5:] == ["--workdir", "/", "a", "id", "-u"]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("instance `a` already exists (`/x/a`)", Reason.EXISTS),
        ("instance `a` not found", Reason.ABSENT),
        (
            "expected status `Running`, got `Stopped` (maybe use `limactl stop -f`?)",
            Reason.NOT_RUNNING,
        ),
        ("expected status `Stopped`, got `Running`", Reason.STILL_RUNNING),
        ("did not receive an event with the `running` status", Reason.NOT_READY),
        ("degraded, status={Running:true Degraded:true}", Reason.NOT_READY),
        ("host agent process has exited: exit status 2", Reason.AGENT_DIED),
        ("exiting, status={Running:false Exiting:true} (hint: see ...)", Reason.AGENT_DIED),
        ('failed to stop usernet "user-v2": Get "http://lima/services"', Reason.NETWORK_DEAD),
        ("instance `h` directory `/x/h` exists but its `lima.yaml` could not", Reason.HALF_MADE),
        ("unable to load instance h: open /x/h/lima.yaml: no such file", Reason.HALF_MADE),
        ("something new", Reason.OTHER),
    ],
)
def test_words_of_newer_versions(words: str, reason: Reason) -> None:
    assert reason_of(words) is reason


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("disk `a` already exists", "limactl list"),
        ("disk `a` does not exist", "limactl list"),
        ("unable to load instance h", "ls $LIMA_HOME  (which directory has no lima.yaml?)"),
        ("expected status `Running`, got `Stopped`", "limactl list"),
        ("cannot edit a running instance", "stop the machine first"),
        ("instance is protected to prohibit accidental removal", "limactl unprotect NAME"),
        ('identifier "-" must match ^[A-Za-z0-9]', None),
        ("must be less than UNIX_PATH_MAX=108 characters", "use a shorter home for Lima"),
        ("shrinking the disk is not supported", "a disk can only grow"),
        ("cannot delete disk `a` in use by instance `b`", "limactl disk list"),
        ("failed to run [ssh-keygen -t ed25519]", "run the same command again"),
        ('failed to read ssh public key "/h/_config/user.pub": open', "run the same command again"),
        ("expected digest sha256:a, got sha256:b", "check the digest of the image"),
        ("failed to download https://x/y", "check the location of the image and its digest"),
        ("degraded, status={Running:true}", None),
        ("failed to stop usernet", "ohmykube start  (restarts the network)"),
        ("host agent process has exited", "look into ha.stderr.log of the instance"),
        ("failed to unmarshal YAML", None),
        ("something new", None),
    ],
)
def test_each_refusal_says_what_to_type_next(words: str, hint: str | None) -> None:
    log = json.dumps({"level": "fatal", "msg": words})
    error = failure("do it", process.Result(("limactl",), 1, "", log), timed_out=False)
    assert (error.message, error.why, error.hint) == ("limactl could not do it", words, hint)


def test_a_limactl_that_hung_is_called_again() -> None:
    error = failure("do it", process.Result(("limactl",), -9, "", ""), timed_out=True)
    assert error.message == "limactl hung and could not do it"
    assert error.hint == "run the same command again"


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("2.0.3", (2, 0, 3)),
        ("v2.2.0\n", (2, 2, 0)),
        ("2.2.0-153-g183a60d", (2, 2, 0)),
        ("2.2.0-rc.1", (2, 2, -1)),
        ("183a60d", None),
    ],
)
def test_versions(text: str, numbers: tuple[int, int, int] | None) -> None:
    assert Version.parse(text).numbers == numbers


def test_quirks_by_version() -> None:
    def has(quirk: Quirk, text: str) -> bool:
        return quirk.of(Version.parse(text))

    assert has(Quirk.HALF_MADE_BREAKS_LIST, "2.1.4")
    assert has(Quirk.HALF_MADE_BREAKS_LIST, "2.2.0-rc.1")
    assert not has(Quirk.HALF_MADE_BREAKS_LIST, "2.2.0")
    assert has(Quirk.HALF_MADE_BREAKS_LIST, "183a60d"), "an unknown version is worked around"
    assert has(Quirk.STARTING_ABSENT_CREATES, "9.0.0")
    assert len(set(Quirk)) == len(Quirk.__members__), "two quirks in one line"
    assert Quirk.ROOT_PANICS.what


def test_a_network_may_be_nameless() -> None:
    (raw,) = lines('{"mode":"user-v2","gateway":"192.168.104.1","netmask":"255.255.255.0"}')
    assert Network.parse(raw, "user-v2").name == "user-v2"
    with pytest.raises(Malformed, match="mode"):
        Network.parse({"mode": 1})
