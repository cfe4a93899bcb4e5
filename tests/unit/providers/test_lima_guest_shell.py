"""The few commands in a guest, and what is done to a disk."""

from __future__ import annotations

import json
import os
import stat
from typing import TYPE_CHECKING

import pytest

from ohmykube.errors import NotFoundError, ProviderError
from ohmykube.model.machine import MachineSpec, SshTarget
from ohmykube.progress import Message
from ohmykube.providers.base import NewTemplate
from ohmykube.providers.lima import boot_log, events, guest_shell, templates
from tests.lima_world import world

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

TARGET = SshTarget(address="127.0.0.1", user="omk", port=1, ephemeral_host_key=True)
SPEC = MachineSpec(cluster="dev", node="cp1", cpus=1, memory_mib=512)


def program(directory: Path, name: str, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a program first on PATH."""
    path = directory / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{code}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{path.parent}:{os.environ['PATH']}")


def test_a_command_runs_as_root_over_the_generated_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, "ssh", 'cat "$2"; shift 7; echo "$@"', monkeypatch)
    told = guest_shell.run(TARGET, ["date", "+%s and $HOME"])
    assert "StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n" in told
    assert told.splitlines()[-1].endswith("-- sudo -n -- date '+%s and $HOME'")


def test_a_command_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "ssh", "echo no route >&2; exit 255", monkeypatch)
    with pytest.raises(ProviderError) as caught:
        guest_shell.run(TARGET, ["date"])
    assert (caught.value.id, caught.value.why) == ("OMK-P-541", "no route")


def test_a_clock_that_is_right_is_left_alone() -> None:
    asked = []

    def answer(_target: SshTarget, argv: Sequence[str], /) -> str:
        asked.append(list(argv))
        return "1000\n"

    assert guest_shell.set_clock(answer, TARGET, lambda: 1001.5) == 0.0
    assert guest_shell.set_clock(answer, TARGET, lambda: 4600.0) == 3600.0
    assert asked[-1] == ["date", "--set", "@4600"]
    with pytest.raises(ProviderError) as caught:
        guest_shell.set_clock(lambda _t, _a: "noon", TARGET)
    assert caught.value.id == "OMK-P-542"


@pytest.mark.parametrize(
    ("told", "address"),
    [
        (
            '[{"addr_info": [{"scope": "link", "local": "x"}, {"scope": "global", "local": "y"}]}]',
            "y",
        ),
        ("[]", ""),
        ("not json", ""),
        ("{}", ""),
    ],
)
def test_the_address_of_a_card(told: str, address: str) -> None:
    assert guest_shell.address_on(lambda _t, _a: told, TARGET, "lima0") == address


def test_a_routable_node_has_the_address_of_its_second_card() -> None:
    with world() as place:
        cluster = place.cluster(routable=True)
        made = place.provider(cluster).create(SPEC)
        assert made.address == "192.0.2.7"
        assert list(place.provider(cluster).list("dev")) == [made]
        assert place.provider(cluster).api_endpoint("dev", made.address, 6443) == (
            made.address,
            6443,
        )
        (instance,) = place.limactl.list("dev.cp1")
        assert instance.networks[1].socket == "/var/run/socket_vmnet"
        place.guests.card = "[]"
        with pytest.raises(ProviderError) as caught:
            place.provider(cluster).create(MachineSpec(cluster="dev", node="w1"))
        assert caught.value.id == "OMK-P-554"


def test_a_clock_that_cannot_be_asked_is_a_warning() -> None:
    with world() as place:
        place.provider().create(SPEC)
        place.guests.noon = True
        place.provider().start("dev", "cp1")
        (told,) = [e for e in place.reporter.of(Message) if e.level == "warning"]
        assert "the clock of node cp1 could not be looked at" in told.text


def test_a_disk_that_needs_another_is_made_to_stand_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    templates.flatten(tmp_path)
    (tmp_path / "diffdisk").touch()
    answer = json.dumps({"backing-filename": "x"})
    code = f"echo \"$@\" >>{tmp_path}/asked\nif [ $1 = info ]; then echo '{answer}'; fi"
    program(tmp_path, "qemu-img", code, monkeypatch)
    templates.flatten(tmp_path)
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked[1] == f"rebase -f qcow2 -b  {tmp_path / 'diffdisk'}"
    program(tmp_path, "qemu-img", "echo '{}'", monkeypatch)
    templates.flatten(tmp_path)
    program(tmp_path, "qemu-img", "echo broken >&2; exit 1", monkeypatch)
    with pytest.raises(ProviderError) as caught:
        templates.flatten(tmp_path)
    assert caught.value.id == "OMK-P-561"


def test_a_template_that_is_damaged_is_none() -> None:
    with world() as place:
        provider = place.provider()
        provider.create(MachineSpec(cluster="_build", node="worker"))
        new = NewTemplate(key="0" * 16, role="worker", summary="test")
        provider.freeze("_build", "worker", new)
        path = place.home.directory(templates.instance_of(new.key)) / templates._FILE
        good = path.read_text()
        for bad in (
            "{",
            "[]",
            good.replace('"schema": 1', '"schema": 2'),
            good.replace("0000", "1111"),
        ):
            path.write_text(bad)
            assert list(provider.templates()) == []
        with pytest.raises(NotFoundError):
            provider.create(MachineSpec(cluster="dev", node="cp1", template=new.key))
        path.write_text(good)
        small = MachineSpec(cluster="dev", node="cp1", disk_gib=1, template=new.key)
        with pytest.raises(Exception, match="cannot be smaller than the template's"):
            provider.create(small)
        assert "ubuntu" not in provider.template_basis()
        provider.remove_template(new.key)


def test_a_template_s_basis_does_not_depend_on_the_order_of_what_it_boots_from(
    tmp_path: Path,
) -> None:
    found = set()
    images = "images: [{location: /image.img, arch: x86_64}]\n"
    for texts in ((images, "cpus: 1\n"), ("cpus: 1\n", images), ("cpus: 2\n", images)):
        chosen = tmp_path / "lima.yaml"
        chosen.write_text("".join(texts))
        with world() as place:
            told = place.cluster(template=str(chosen), allowUnverifiedImage=True)
            found.add(place.provider(told).template_basis())
    assert len(found) == 2


def event(**more: object) -> events.HostAgentEvent:
    found = events.parse(json.dumps({"status": more}))
    assert found is not None
    return found


def test_what_a_machine_says(tmp_path: Path) -> None:
    assert boot_log.activity(event(errors=["a", "b"])) == "b"
    assert (
        boot_log.activity(event(cloudInitProgress={"logLine": "Cloud-init v. 1"}))
        == "Cloud-init v. 1"
    )
    assert boot_log.activity(event(running=True)) == "guest is up"
    assert boot_log.activity(event(sshLocalPort=1)) == "waiting for ssh of the guest"
    assert boot_log.activity(event()) == ""
    (tmp_path / "serial.log").write_text("one\ntwo\n")
    (tmp_path / "ha.stderr.log").touch()
    assert boot_log.last(tmp_path) == f"\n{tmp_path / 'serial.log'}:\none\ntwo"
