"""The real limactl boots one machine, emulated, from an image made here: what no fake can show."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
import yaml

from ohmykube.providers.lima import events
from ohmykube.providers.lima.limactl import Limactl
from ohmykube.providers.lima.limactl_errors import LimactlError, Reason
from ohmykube.providers.lima.limactl_output import Status
from ohmykube.providers.lima.usernet import Usernet, UsernetDown, endpoint
from tests import lima_binary, lima_image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.lima_binary import RealLimactl

START_SECONDS = 900
EMULATED = {
    # /dev/kvm that is there and cannot be used must not be taken.
    "QEMU_SYSTEM_X86_64": "qemu-system-x86_64 -machine q35,vmport=off -accel tcg,thread=multi",
    "LIMA_USERNET_RESOLVE_IP_ADDRESS_TIMEOUT": "30",
}
pytestmark = pytest.mark.nightly


@pytest.fixture
def real() -> Iterator[RealLimactl]:
    if shutil.which("qemu-system-x86_64") is None:
        pytest.fail("qemu-system-x86 is not installed")
    with lima_binary.installed() as found:
        yield found


@pytest.fixture
def limactl(real: RealLimactl) -> Iterator[Limactl]:
    made = Limactl(real.scratch / "h", program=str(real.program), environ=EMULATED)
    yield made
    for one in made.list():
        made.delete(one.name, force=True)


def say(text: str) -> None:
    """Tell what a nightly log should hold."""
    sys.stderr.write(f"{text}\n")


def template(real: RealLimactl) -> str:
    image = lima_image.ensure().copied(real.scratch)
    return yaml.safe_dump(
        {
            "vmType": "qemu",
            "vmOpts": {"qemu": {"cpuType": {"x86_64": "max"}}},
            "plain": True,
            "images": [image.entry()],
            "cpus": 1,
            "memory": "768MiB",
            "disk": "4GiB",
            "mounts": [],
            "containerd": {"system": False, "user": False},
            "firmware": {"legacyBIOS": True},
            "user": {"name": "ops", "uid": 1000, "home": "/home/ops", "shell": "/bin/bash"},
            "networks": [{"lima": "user-v2"}],
        },
        sort_keys=False,
    )


def test_a_machine(
    real: RealLimactl, limactl: Limactl, eventually: Callable[[Callable[[], bool]], bool]
) -> None:
    def shell(*command: str) -> str:
        argv = limactl.shell_argv("b1", *command)
        done = subprocess.run(
            argv, env=limactl.environment, check=True, capture_output=True, text=True, timeout=120
        )
        return done.stdout.strip()

    limactl.create("b1", template(real))
    begun = time.monotonic()
    try:
        limactl.start("b1", timeout=START_SECONDS)
    except LimactlError:
        _show(limactl.home / "b1")
        raise
    say(f"ready after {time.monotonic() - begun:.0f} s")
    (found,) = limactl.list()
    assert found.status is Status.RUNNING
    assert found.ssh_port > 0
    last = events.last(found.directory)
    assert last is not None
    assert last.ready
    assert last.ssh_port == found.ssh_port

    assert shell("hostname") == "lima-b1"
    assert shell("sudo", "id", "-u") == "0"
    # What is told of user-v2: the first address is .1, and the card is not the one listed.
    usernet = Usernet(endpoint(limactl.home, "user-v2"))
    leases = dict(usernet.leases())
    say(f"leases {leases}, cards {usernet.cam()}, forwards {usernet.forwards()}")
    address = "192.168.104.1"
    card = leases[address]
    assert card in shell("ip", "link", "show", "eth0")
    assert card != found.networks[0].mac
    assert card in usernet.cam()
    forwards = {one.local: one.remote for one in usernet.forwards()}
    assert forwards[f"127.0.0.1:{found.ssh_port}"] == f"{address}:22"

    with pytest.raises(LimactlError) as caught:
        limactl.clone("b1", "b2")
    assert caught.value.reason is Reason.STILL_RUNNING
    limactl.stop("b1")
    (found,) = limactl.list()
    assert (found.status, found.ssh_port) == (Status.STOPPED, 0)
    with pytest.raises(UsernetDown):
        usernet.leases()
    limactl.delete("b1")
    assert limactl.list() == ()


def _show(directory: Path) -> None:
    for name in ("ha.stderr.log", "serial.log"):
        path = directory / name
        if path.is_file():
            say(f"--- {name}\n{path.read_text(errors='replace')[-3000:]}")
