"""LIMA_HOME of the fake limactl: the same directories and files as the real one's."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ohmykube.kit import plain_yaml
from ohmykube.testing.fake_limactl import lima_yaml
from ohmykube.testing.fake_limactl.faults import Fault, happens
from ohmykube.testing.fake_limactl.log import Fatal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ohmykube.testing.fake_limactl.log import LimactlLog
    from ohmykube.testing.fake_limactl.profile import Profile

_NAME = re.compile(r"^[A-Za-z0-9]+(?:[._-](?:[A-Za-z0-9]+))*$")
_LONGEST_SOCKET = "ssh.sock.1234567890123456"
_UNIX_PATH_MAX = 108
_NETWORKS = {
    "user-v2": {"mode": "user-v2", "gateway": "192.168.104.1", "netmask": "255.255.255.0"},
    "shared": {
        "mode": "shared",
        "gateway": "192.168.105.1",
        "dhcpEnd": "192.168.105.254",
        "netmask": "255.255.255.0",
    },
    "bridged": {"mode": "bridged", "interface": "en0"},
    "host": {
        "mode": "host",
        "gateway": "192.168.106.1",
        "dhcpEnd": "192.168.106.254",
        "netmask": "255.255.255.0",
    },
}


def live_pid(path: Path) -> int:
    """Return the process that a pid file names while it lives, else 0."""
    try:
        pid = int(path.read_text())
        os.kill(pid, 0)
    except (OSError, ValueError):
        return 0
    # A child that was not waited for is no process any more.
    with contextlib.suppress(OSError):
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return 0 if state == "Z" else pid
    return pid


@dataclass(slots=True)
class Inspected:
    """One instance as the files say it is."""

    name: str
    directory: Path
    config: dict[str, Any] | None
    host_agent: int = 0
    driver: int = 0
    errors: list[str] = field(default_factory=list)

    @property
    def status(self) -> str:
        """What `list` calls it."""
        if self.config is None:
            return ""
        alive = (self.host_agent > 0, self.driver > 0)
        return {(True, True): "Running", (False, False): "Stopped"}.get(alive, "Broken")

    @property
    def networks(self) -> list[str]:
        """The names of its Lima networks."""
        return [n["lima"] for n in (self.config or {}).get("networks", []) if n.get("lima")]


class Home:
    """The files, and what belongs to a call: the profile, the output and the faults."""

    def __init__(
        self,
        root: Path,
        profile: Profile,
        output: LimactlLog,
        environ: Mapping[str, str],
        *,
        cwd: Path,
    ) -> None:
        self.cwd = cwd
        self.root = root
        self.profile = profile
        self.output = output
        self.environ = environ

    def fault(self, fault: Fault, name: str = "") -> bool:
        """Tell whether a fault happens now."""
        return happens(fault, name, self.root, self.environ)

    def seconds(self, variable: str, default: float) -> float:
        """Return a duration from the environment."""
        return float(self.environ.get(variable) or default)

    # --- instances

    def directory(self, name: str) -> Path:
        """Return the directory of an instance."""
        return self.root / name

    def names(self) -> list[str]:
        """Return the names of all directories that may be instances."""
        if not self.root.is_dir():
            return []
        return sorted(p.name for p in self.root.iterdir() if p.is_dir() and p.name[0] not in "._")

    def half_made(self) -> list[Path]:
        """Return the missing lima.yaml files."""
        paths = [self.directory(name) / "lima.yaml" for name in self.names()]
        return [path for path in paths if not path.exists()]

    def trip(self, prefix: str = "") -> None:
        """Fail over a half-made directory where this version does."""
        missing = self.half_made()
        if missing and self.profile.half_made_breaks:
            what = prefix.format(name=missing[0].parent.name)
            raise Fatal(f"{what}open {missing[0]}: no such file or directory")

    def check_name(self, name: str, what: str) -> None:
        """Raise Fatal for a name that limactl refuses."""
        if not _NAME.match(name) or len(name) > 76:
            quote = self.profile.quote
            raise Fatal(f"{what}identifier {quote(name)} must match {_NAME.pattern}")

    def check_length(self, name: str) -> None:
        """Raise Fatal when a socket of the instance would have too long a path."""
        path = self.directory(name) / _LONGEST_SOCKET
        if len(str(path)) >= _UNIX_PATH_MAX:
            quote = self.profile.quote
            raise Fatal(
                f"instance name {quote(name)} too long: {quote(path)} must be less than "
                f"UNIX_PATH_MAX={_UNIX_PATH_MAX} characters, but is {len(str(path))}"
            )

    def inspect(self, name: str) -> Inspected | None:
        """Look at one instance; None when it has no lima.yaml."""
        directory = self.directory(name)
        try:
            text = (directory / "lima.yaml").read_text()
        except (FileNotFoundError, NotADirectoryError):
            return None
        found = Inspected(name, directory, None)
        try:
            raw = lima_yaml.read(text, f'main file "{directory / "lima.yaml"}"')
            lima_yaml.check(raw, list(self.networks()))
            found.config = lima_yaml.filled(raw, directory)
        except Fatal as error:
            found.errors.append(str(error))
            return found
        found.host_agent = live_pid(directory / "ha.pid")
        found.driver = live_pid(directory / "qemu.pid")
        if found.status == "Broken":
            found.errors.append("one of host agent and driver is running, the other is not")
        return found

    def existing(self, name: str) -> Inspected:
        """Return an instance; raises Fatal without one."""
        found = self.inspect(name)
        if found is None:
            path = self.directory(name) / "lima.yaml"
            raise Fatal(f"open {path}: no such file or directory")
        return found

    def ssh_port(self, found: Inspected) -> int:
        """Return the port of ssh as `list` shows it, 0 when it does not."""
        if found.status != "Running" and not self.profile.port_when_stopped:
            return 0
        try:
            text = (found.directory / "ssh.config").read_text()
        except FileNotFoundError:
            return 0
        return int(re.search(r"^\s*Port (\d+)$", text, re.M)[1])  # type: ignore[index]

    def listed(self, found: Inspected) -> dict[str, Any]:
        """Return the object that `list --json` prints."""
        config = found.config
        entry: dict[str, Any] = {
            "name": found.name,
            "hostname": f"lima-{re.sub('[._]', '-', found.name)}",
            "status": found.status,
            "dir": str(found.directory),
            "vmType": config["vmType"] if config else "",
            "arch": config["arch"] if config else "",
        }
        if config:
            entry["cpus"] = config["cpus"]
            entry["memory"] = lima_yaml.size(config["memory"])
            entry["disk"] = lima_yaml.size(config["disk"])
            if config.get("networks"):
                entry["network"] = config["networks"]
            if config.get("additionalDisks"):
                entry["additionalDisks"] = config["additionalDisks"]
            if port := self.ssh_port(found):
                entry["sshLocalPort"] = port
            entry["sshConfigFile"] = str(found.directory / "ssh.config")
            if found.host_agent:
                entry["hostAgentPID"] = found.host_agent
            if found.driver:
                entry["driverPID"] = found.driver
        if found.errors:
            entry["errors"] = []  # their text is lost on the way
        if config:
            entry |= {"config": config, "sshAddress": "127.0.0.1"}
        entry["protected"] = (found.directory / "protected").exists()
        entry["limaVersion"] = self._lima_version(found) if config else ""
        return entry | {
            "HostOS": "linux",
            "HostArch": config["arch"] if config else "x86_64",
            "LimaHome": str(self.root),
            "IdentityFile": str(self.root / "_config" / "user"),
        }

    @staticmethod
    def _lima_version(found: Inspected) -> str:
        with contextlib.suppress(FileNotFoundError):
            return (found.directory / "lima-version").read_text().strip()
        return ""

    # --- networks

    @property
    def networks_file(self) -> Path:
        """Where the networks are."""
        return self.root / "_config" / "networks.yaml"

    def networks(self) -> dict[str, dict[str, str]]:
        """Return the networks; the file is made with the default ones when absent."""
        if not self.networks_file.exists():
            self.write_networks(_NETWORKS)
        networks: dict[str, dict[str, str]] = plain_yaml.load(self.networks_file.read_text())[
            "networks"
        ]
        return networks

    def write_networks(self, networks: Mapping[str, Mapping[str, str]]) -> None:
        """Replace the networks, without any lock as the real one."""
        self.networks_file.parent.mkdir(parents=True, exist_ok=True)
        head = {"paths": {"varRun": "/private/var/run/lima"}, "group": "everyone"}
        text = yaml.safe_dump({**head, "networks": dict(networks)}, sort_keys=False)
        # One write: whoever reads it meanwhile finds the old or the new one.
        descriptor, fresh = tempfile.mkstemp(dir=self.networks_file.parent, prefix=".networks")
        with os.fdopen(descriptor, "w") as stream:
            stream.write(text)
        Path(fresh).replace(self.networks_file)
