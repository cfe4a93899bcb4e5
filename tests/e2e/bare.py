"""Machines without Kubernetes that somebody else made: for the ways in that do not create any."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ohmykube.kit import process
from ohmykube.kit.paths import Paths
from ohmykube.model.machine import MachineSpec
from ohmykube.progress import NullReporter
from ohmykube.providers.base import ProviderContext
from ohmykube.providers.nspawn.provider import NspawnProvider
from tests import quick_sshd

if TYPE_CHECKING:
    from ohmykube.model.machine import Machine

SECOND = {4: ("10.99.0.", "/24"), 6: ("fd00:99::a:", "/64 nodad")}
"""What addresses of the second network begin with, and what comes behind them."""
LEFT = Path(__file__).with_name("left.sh").read_text()


def nspawn(home: Path, cache: Path) -> NspawnProvider:
    """Return who makes the system containers of a home."""
    paths = Paths(state=home / "state", data=home / "data", cache=cache)
    return NspawnProvider(ProviderContext(paths=paths, reporter=NullReporter()))


@dataclass
class Bare:
    """Nodes in a network of their own, which only a process inside that namespace reaches."""

    name: str
    home: Path
    cache: Path
    machines: dict[str, Machine] = field(default_factory=dict)
    _second: str = ""

    @property
    def provider(self) -> NspawnProvider:
        """Return who made them."""
        return nspawn(self.home, self.cache)

    @property
    def inside(self) -> list[str]:
        """Return the start of a command line that runs in the nodes' network."""
        return ["nsenter", f"--net=/run/netns/omk-{self.name}"]

    @property
    def files(self) -> Path:
        """Return the directory with the user's key and the host keys."""
        return self.home / "data" / "nspawn" / self.name

    @property
    def key(self) -> Path:
        """Return the private key that root of each node accepts."""
        return self.files / "id_ed25519"

    def make(self, *nodes: str) -> None:
        """Make nodes; each has 2 CPUs and 3 GiB at most."""
        provider = self.provider
        for node in nodes:
            spec = MachineSpec(cluster=self.name, node=node, cpus=2.0, memory_mib=3072)
            self.machines[node] = provider.create(spec)
            self.run(node, quick_sshd.SCRIPT)

    def second_network(self, version: int = 4) -> None:
        """Give each node a second card, ``eth1``; by the first one they no longer meet.

        Its network is of one IP family, by ``version``; that of IPv6 leads out, and has addresses
        of IPv4 beside it.
        """
        outer = f"omk-{self.name}"
        self._second, how = SECOND[version]
        self._ip(outer, "link add name br1 type bridge")
        self._ip(outer, f"address add {self._second}1{how} dev br1")
        self._ip(outer, "link set dev br1 up")
        for node in self.machines:
            number, inner = self.address(node).rpartition(".")[2], f"omk-{self.name}.{node}"
            self._ip(outer, f"link add name w{number} type veth peer name eth1 netns {inner}")
            self._ip(outer, f"link set dev w{number} master br1 up")
            self._ip(outer, f"link set dev v{number} type bridge_slave isolated on")
            self._ip(inner, f"address add {self.second_address(node)}{how} dev eth1")
            self._ip(inner, "link set dev eth1 up")
            if version == 6:
                self._ip(inner, f"address add {SECOND[4][0]}{number}/24 dev eth1")
                self._ip(inner, f"-6 route add default via {self._second}1 dev eth1")

    def second_address(self, node: str) -> str:
        """Return a node's address in the second network."""
        return self._second + self.address(node).rpartition(".")[2]

    @staticmethod
    def _ip(netns: str, command: str) -> None:
        process.run(["ip", "-n", netns, *command.split()], timeout=30)

    def remove(self) -> None:
        """Remove all of them."""
        provider = self.provider
        for machine in provider.list(self.name):
            provider.delete(self.name, machine.node)

    def address(self, node: str) -> str:
        """Return a node's address."""
        return self.machines[node].address

    def host_key(self, node: str) -> str:
        """Return a node's public host key, type and base64."""
        for line in (self.files / "known_hosts").read_text().splitlines():
            address, _, key = line.partition(" ")
            if address == self.address(node):
                return key
        raise LookupError(node)

    def run(self, node: str, script: str) -> str:
        """Run a shell script on a node as root; raises CommandFailed, which shows its output."""
        options = [
            *("-F", "none", "-i", str(self.key), "-o", "BatchMode=yes", "-o", "LogLevel=ERROR"),
            *("-o", f"UserKnownHostsFile={self.files / 'known_hosts'}"),
            *("-o", "KexAlgorithms=-sntrup761*"),
        ]
        argv = [*self.inside, "ssh", *options, f"root@{self.address(node)}", "sh", "-s"]
        return process.run(
            argv, input=script, timeout=120, env={**os.environ, "LC_ALL": "C.UTF-8"}
        ).stdout

    def left(self, node: str) -> list[str]:
        """Return what of Kubernetes is on a node."""
        return self.run(node, LEFT).split("\n")[:-1]
