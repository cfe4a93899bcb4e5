"""The verbs of the fake limactl that start, stop and enter instances."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TextIO

from ohmykube.testing.fake_limactl import instances, lima_yaml, usernet
from ohmykube.testing.fake_limactl.daemons import HostAgent, Stop, fork, wait
from ohmykube.testing.fake_limactl.faults import Fault
from ohmykube.testing.fake_limactl.lima_home import live_pid
from ohmykube.testing.fake_limactl.log import Ended, Fatal, Hung, now

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ohmykube.testing.fake_limactl.lima_home import Home, Inspected

_LIFE = 900.0
_DEFAULT = "template:default"


def start(home: Home, name: str, timeout: float) -> None:
    """`start`: the network, the host agent, then wait for its word."""
    quote = home.profile.quote
    found = home.inspect(name)
    if found is None:
        _start_absent(home, name)
        return
    home.output.info(f"Using the existing instance {quote(name)}")
    if found.config is None:
        raise Fatal(f"errors inspecting instance: [{found.errors[0]}]")
    if found.status == "Running":
        home.output.info(
            f"The instance {quote(name)} is already running. "
            f"Run `limactl shell {name}` to open the shell."
        )
        return
    if found.status == "Broken":
        raise Fatal(f"errors inspecting instance: [{found.errors[0]}]")
    home.trip()
    if home.fault(Fault.START_HANG, name):
        raise Hung
    _check_disks(home, found)
    stale = reconcile(home, starting=name)
    home.output.info(f"Starting the instance {quote(name)} with internal VM driver {quote('qemu')}")
    if stale & set(found.networks):
        _connects_too_early(home, found)
    if home.fault(Fault.START_FAILS, name):
        _agent_dies(found, "qemu failed")
    _boot(home, found, timeout)


def _start_absent(home: Home, name: str) -> None:
    home.check_name(name, "")
    home.output.info(
        f"Creating an instance {home.profile.quote(name)} from {_DEFAULT} "
        f"(Not from template:{name})"
    )
    home.output.warning(
        f"This form is deprecated. Use `limactl create --name={name} {_DEFAULT}` instead"
    )
    image = home.root / "_fake" / "default.qcow2"
    image.parent.mkdir(parents=True, exist_ok=True)
    image.touch()
    instances.create(home, name, f"images: [{{location: {json.dumps(str(image))}}}]\n", _DEFAULT)
    start(home, name, 600)


def _check_disks(home: Home, found: Inspected) -> None:
    backing = found.directory / "backing"
    if backing.exists() and not Path(backing.read_text().strip()).exists():
        _agent_dies(found, f"could not open backing file {backing.read_text().strip()}")
    for disk in (found.config or {}).get("additionalDisks", []):
        name = disk if isinstance(disk, str) else disk["name"]
        directory = home.root / "_disks" / name
        if not directory.is_dir():
            _agent_dies(found, f"could not load disk {name}")
        lock = directory / "in_use_by"
        if lock.is_symlink() and lock.readlink() != found.directory:
            _agent_dies(found, f"disk {name} is in use by {lock.readlink()}")
        lock.unlink(missing_ok=True)
        lock.symlink_to(found.directory)


def _agent_dies(found: Inspected, why: str) -> NoReturn:
    _log(found, why)
    raise Fatal("host agent process has exited: exit status 1")


def _log(found: Inspected, why: str) -> None:
    # limactl itself does not say why: that is in the log of the host agent only.
    entry = {"level": "fatal", "msg": why, "time": now()}
    (found.directory / "ha.stderr.log").write_text(json.dumps(entry) + "\n")


def _connects_too_early(home: Home, found: Inspected) -> NoReturn:
    # The sockets of a killed daemon were taken for those of the new one, which is up only now.
    card = usernet.Paths(home.root, found.networks[0]).card
    why = f"error calling fd_connect: fd_connect: dial unix {card}: connect: connection refused"
    _log(found, why)
    path = found.directory / "ha.stderr.log"
    raise Fatal(
        "exiting, status={Running:false Degraded:false Exiting:true Errors:[] SSHLocalPort:0 "
        f'CloudInitProgress:<nil>}} (hint: see "{path}")'
    )


def _boot(home: Home, found: Inspected, timeout: float) -> None:
    never = home.fault(Fault.START_TIMEOUT, found.name)
    degraded = home.fault(Fault.DEGRADED, found.name)
    life = home.seconds("FAKE_LIMA_LIFE_SECONDS", _LIFE)
    boot = None if never else home.seconds("FAKE_LIMA_BOOT_SECONDS", 0)
    agent = HostAgent(found.directory, boot=boot, degraded=degraded, life=life)
    stop = Stop(found.directory, life)
    log = found.directory / "ha.stdout.log"
    log.unlink(missing_ok=True)
    (found.directory / "boot_id").write_text(f"{uuid.uuid4()}\n")
    (found.directory / "ssh.config").write_text(
        f"Host lima-{found.name}\n"
        f'  IdentityFile "{home.root / "_config" / "user"}"\n'
        f"  User {(found.config or {})['user']['name']}\n"
        f'  ControlPath "{found.directory / "ssh.sock"}"\n'
        f"  Hostname 127.0.0.1\n  Port {agent.port}\n"
    )
    home.output.info(f"SSH Local Port: {agent.port}")
    keep = agent.listener.fileno()
    fork(lambda: agent.run(stop.listen()), found.directory, "ha", keep=keep)
    agent.listener.close()
    wait(lambda: live_pid(found.directory / "ha.pid") > 0, 5)
    _join(home, found, agent.port)
    if home.fault(Fault.PROVISION_FAILS, found.name):
        (found.directory / "provision-failed").touch()
    home.output.info('[hostagent] Waiting for the essential requirement 1 of 2: "ssh"')
    told = [] if never else _wait_for_word(found, timeout)
    if not told:
        running = home.profile.quote("running")
        raise Fatal(f"did not receive an event with the {running} status")
    if told[-1].get("degraded"):
        raise Fatal("degraded, status={Running:true Degraded:true}")
    home.output.info(
        f'READY. Run `ssh -F "{found.directory / "ssh.config"}" lima-{found.name}` '
        "to open the shell."
    )
    _after(home, found)


def _wait_for_word(found: Inspected, timeout: float) -> list[dict[str, object]]:
    path = found.directory / "ha.stdout.log"

    def said() -> list[dict[str, object]]:
        with contextlib.suppress(FileNotFoundError):
            lines = path.read_text().splitlines()
            states = [json.loads(line)["status"] for line in lines]
            return [one for one in states if one.get("running")]
        return []

    wait(lambda: bool(said()) or not live_pid(found.directory / "ha.pid"), timeout)
    return said()


def _join(home: Home, found: Inspected, port: int) -> None:
    for network in found.networks:
        if home.networks()[network]["mode"] == "user-v2":
            mac = lima_yaml.card_address(found.directory)
            body = {"mac": mac, "port": port, "name": found.name}
            usernet.ask(usernet.Paths(home.root, network), "/fake/join", body)
            return


def _after(home: Home, found: Inspected) -> None:
    if home.fault(Fault.HA_KILLED, found.name):
        os.kill(live_pid(found.directory / "ha.pid"), signal.SIGKILL)
        wait(lambda: not live_pid(found.directory / "ha.pid"), 5)
    if home.fault(Fault.GUEST_OFF, found.name):
        os.kill(live_pid(found.directory / "qemu.pid"), signal.SIGKILL)
        wait(lambda: not (found.directory / "ha.pid").exists(), 5)
    if found.networks and home.fault(Fault.USERNET_KILLED, found.name):
        daemon = live_pid(usernet.Paths(home.root, found.networks[0]).pid)
        os.kill(daemon, signal.SIGKILL)
        wait(lambda: not live_pid(usernet.Paths(home.root, found.networks[0]).pid), 5)


def reconcile(home: Home, *, starting: str = "") -> set[str]:
    """Run the daemons of the networks that running instances have, and stop the others.

    Returns the names of networks whose daemon had been killed.
    """
    active: set[str] = set()
    stale: set[str] = set()
    for name in home.names():
        found = home.inspect(name)
        if found is None:
            home.trip()
        elif found.status == "Running" or name == starting:
            active |= set(found.networks)
    for name, network in home.networks().items():
        if network["mode"] != "user-v2":
            continue
        paths = usernet.Paths(home.root, name)
        pid = live_pid(paths.pid)
        if name in active and not pid:
            if paths.pid.exists():
                stale.add(name)
            _start_network(home, paths, network)
        elif name not in active and pid:
            os.kill(pid, signal.SIGINT)
            wait(lambda pid=pid, paths=paths: live_pid(paths.pid) != pid, 60)  # type: ignore[misc]
    return stale


def _start_network(home: Home, paths: usernet.Paths, network: dict[str, str]) -> None:
    paths.directory.mkdir(parents=True, exist_ok=True)
    if paths.pid.exists():
        for path in (paths.endpoint, paths.card, paths.pid):
            path.unlink(missing_ok=True)
    leases = json.loads(paths.leases.read_text()) if paths.leases.exists() else {}
    state = usernet.State(network["gateway"], network["netmask"], leases)
    life = home.seconds("FAKE_LIMA_LIFE_SECONDS", _LIFE)
    stop = Stop(paths.directory, life)
    name = f"usernet.{paths.directory.name}"
    fork(lambda: usernet.run(paths, state, stop.listen()), paths.directory, name)
    if not wait(lambda: live_pid(paths.pid) > 0, 60):
        raise Fatal(f"network {paths.directory.name} did not come up")


def stop(home: Home, name: str, *, force: bool) -> None:
    """`stop`: by the power button, or by force."""
    quote = home.profile.quote
    found = home.existing(name)
    if force:
        _leave(home, found)
        instances.end(home, found)
        wait(lambda: not _alive(found), 5)
    else:
        if found.status != "Running":
            raise Fatal(
                f"expected status {quote('Running')}, got {quote(found.status)} "
                "(maybe use `limactl stop -f`?)"
            )
        home.output.info(f"Sending SIGINT to hostagent process {found.host_agent}")
        home.output.info("Waiting for the host agent and the driver processes to shut down")
        if home.fault(Fault.STOP_HANG, name):
            raise Fatal(f"did not receive an event with the {quote('exiting')} status")
        _leave(home, found)
        os.kill(found.host_agent, signal.SIGINT)
        wait(lambda: not _alive(found), 60)
        home.output.info("Waiting for the instance to shut down")
        home.output.info(f"The instance {name} has shut down")
    reconcile(home)


def _alive(found: Inspected) -> bool:
    paths = (found.directory / "ha.pid", found.directory / "qemu.pid")
    return any(live_pid(path) for path in paths)


def _leave(home: Home, found: Inspected) -> None:
    text = ""
    with contextlib.suppress(FileNotFoundError):
        text = (found.directory / "ssh.config").read_text()
    port = re.search(r"^\s*Port (\d+)$", text, re.M)
    for network in found.networks:
        if port:
            with contextlib.suppress(OSError):
                body = {"port": int(port[1])}
                usernet.ask(usernet.Paths(home.root, network), "/fake/leave", body)


def shell(home: Home, name: str, command: Sequence[str], out: TextIO) -> None:
    """`shell`: answer a few commands; none runs anywhere, for there is no guest."""
    quote = home.profile.quote
    found = home.inspect(name)
    if found is None:
        raise Fatal(
            f"instance {quote(name)} does not exist, "
            f"run `limactl create {name}` to create a new instance"
        )
    if found.status != "Running":
        if home.profile.stopped_shell_is_silent:
            return
        raise Fatal(
            f"instance {quote(name)} is stopped, run `limactl start {name}` to start the instance"
        )
    with (found.directory / "shell.log").open("a") as log:
        log.write(json.dumps(list(command)) + "\n")
    code = _guest(home, found, " ".join(command), out)
    if code:
        raise Ended(code)


def _guest(home: Home, found: Inspected, command: str, out: TextIO) -> int:
    if command.endswith("boot_id"):
        out.write((found.directory / "boot_id").read_text())
    elif command.startswith("ip -j -4 addr show"):
        address = _address(home, found)
        out.write(json.dumps([{"ifname": "eth0", "addr_info": [{"local": address}]}]) + "\n")
    elif command == "hostname":
        out.write(f"lima-{found.name}\n")
    elif command.startswith("cloud-init status"):
        failed = (found.directory / "provision-failed").exists()
        out.write(f"status: {'error' if failed else 'done'}\n")
        return int(failed)
    given = re.fullmatch(r".*\bexit (\d+)'?|false", command)
    return 0 if given is None else int(given[1] or 1)


def _address(home: Home, found: Inspected) -> str:
    for network in found.networks:
        with contextlib.suppress(OSError, ValueError):
            mac = lima_yaml.card_address(found.directory)
            answer = usernet.ask(
                usernet.Paths(home.root, network), "/fake/join", {"mac": mac, "port": 0}
            )
            return str(json.loads(answer)["address"])
    return "192.168.5.15"
