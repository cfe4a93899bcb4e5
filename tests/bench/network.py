"""Throughput out of a cluster and into it, against a plain link and the programs alone.

A host, what it reaches, and a cluster of one node are namespaces (``tests.internet``); a pod is one
behind the node, as a CNI plugin makes it: a veth pair, routed, masqueraded on its way out.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ohmykube.kit import paths
from ohmykube.model.exposure import ExposedPort
from ohmykube.model.machine import MachineSpec
from ohmykube.model.networks import IPV4
from ohmykube.model.outside import Outside
from ohmykube.progress import NullReporter
from ohmykube.providers.base import ProviderContext
from ohmykube.providers.nspawn import layout, uplink_rules
from ohmykube.providers.nspawn.provider import NspawnProvider
from tests import internet

if TYPE_CHECKING:
    from collections.abc import Iterator

    from figures import Figures

    from tests.internet import Internet

LIMITS = {"out_goal_to_out": 1.0, "in_goal_to_in": 1.0}
GOAL_GBIT, GOAL_OF_PASTA = 2.0, 0.8
"""What must be reached, or this part of what pasta alone does, whichever is less."""
SECONDS = 3
PORT = 5201
POD = "10.244.0.10"


@dataclass(frozen=True)
class Bench:
    """The namespaces of one run."""

    world: Internet
    provider: NspawnProvider
    cluster: str
    pod: str
    alone: str
    """A namespace without a link, for programs without a cluster."""


@contextlib.contextmanager
def made(place: Path) -> Iterator[Bench]:
    """Make all of it, and remove it."""
    if missing := [name for name in ("iperf3", "pasta", "slirp4netns") if not shutil.which(name)]:
        raise SystemExit(
            f"not installed: {', '.join(missing)}: apt-get install iperf3 passt slirp4netns"
        )
    mark = uuid.uuid4().hex[:6]
    cluster, node = f"bench-{mark}", "cp1"
    pod, alone = f"omk-bench-pod-{mark}", f"omk-bench-alone-{mark}"
    places = paths.Paths(
        state=place / "state", data=place / "data", cache=paths.from_environment().cache
    )
    provider = NspawnProvider(ProviderContext(paths=places, reporter=NullReporter()))
    provider.prepare()
    with internet.made() as world, contextlib.ExitStack() as ends:
        ends.callback(provider.delete, cluster, node)
        spec = MachineSpec(cluster=cluster, node=node)
        internet.inside(world.host, lambda: provider.create(spec))
        everything = Outside(everything=True)
        internet.inside(world.host, lambda: provider.open_outside(cluster, everything))
        for name in (pod, alone):
            _run("ip", "netns", "add", name)
            ends.callback(_run, "ip", "netns", "delete", name)
            _run("ip", "-n", name, "link", "set", "lo", "up")
        _connect_pod(layout.node_netns(cluster, node), pod)
        yield Bench(world, provider, cluster, pod, alone)


def _connect_pod(node: str, pod: str) -> None:
    mtu = str(layout.MTU)
    pair = ("mtu", mtu, "type", "veth", "peer", "name", "eth0", "mtu", mtu, "netns", pod)
    _run("ip", "-n", node, "link", "add", "pod0", *pair)
    _run("ip", "-n", node, "link", "set", "pod0", "up")
    _run("ip", "-n", node, "route", "add", POD, "dev", "pod0")
    _run("ip", "-n", node, "address", "add", "10.244.0.1/32", "dev", "pod0")
    _run("ip", "-n", pod, "address", "add", f"{POD}/32", "dev", "eth0")
    _run("ip", "-n", pod, "link", "set", "eth0", "up")
    _run("ip", "-n", pod, "route", "add", "10.244.0.1", "dev", "eth0")
    _run("ip", "-n", pod, "route", "add", "default", "via", "10.244.0.1")
    _run(*_within(node), "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
    chain = "add chain ip pods out { type nat hook postrouting priority 100; }"
    rule = f'add rule ip pods out oifname "eth0" ip saddr {POD} masquerade'
    _run(*_within(node), "nft", f"add table ip pods; {chain}; {rule}")


def measure(figures: Figures, bench: Bench) -> None:
    """One round of all ways."""
    world = bench.world
    out = {"veth": _gbit(world.beyond, world.host, internet.SITE)}
    for program, argv in _programs(bench.alone).items():
        with _running(world.host, argv):
            out[program] = _gbit(world.beyond, bench.alone, internet.SITE)
    out[""] = _gbit(world.beyond, bench.pod, internet.SITE)
    into = _into(bench)
    for direction, found in (("out", out), ("in", into)):
        for way, gbit in found.items():
            figures.add(f"{direction}_{way or 'ours'}_gbit", gbit)
            if way:
                figures.add(f"{direction}_to_{way}", found[""] / gbit)
        goal = min(GOAL_GBIT, GOAL_OF_PASTA * found["pasta"])
        figures.add(f"{direction}_goal_to_{direction}", goal / found[""])


def _into(bench: Bench) -> dict[str, float]:
    world = bench.world
    found = {"veth": _gbit(world.host, world.beyond, "192.0.2.1")}
    for program, argv in _programs(bench.alone, into=True).items():
        with _running(world.host, argv):
            found[program] = _gbit(bench.alone, world.host, "127.0.0.1")
    wanted = ExposedPort(POD, PORT)
    places = internet.inside(world.host, lambda: bench.provider.publish(bench.cluster, [wanted]))
    address, _, port = places[wanted].rpartition(":")
    found[""] = _gbit(bench.pod, world.host, address, int(port))
    internet.inside(world.host, lambda: bench.provider.publish(bench.cluster, []))
    return found


def _programs(alone: str, *, into: bool = False) -> dict[str, list[str]]:
    """Return the command lines of the programs on a namespace without anything else."""
    netns = Path("/run/netns") / alone
    pasta = uplink_rules.pasta_argv("pasta", netns)
    if not into:
        return {
            "pasta": pasta,
            "slirp4netns": uplink_rules.slirp_argv("slirp4netns", netns, (IPV4,)),
        }
    pasta[pasta.index("--tcp-ports") + 1] = str(PORT)
    return {"pasta": pasta}


@contextlib.contextmanager
def _running(host: str, argv: list[str]) -> Iterator[None]:
    """Run a program that gives a namespace a way to a host, once that is there."""
    alone = Path(next(word for word in argv if word.startswith("/run/netns/"))).name
    with subprocess.Popen([*_within(host), *argv], stderr=subprocess.DEVNULL) as child:
        try:
            while layout.UPLINK not in _run("ip", "-n", alone, "route", "show", "default"):
                if child.poll() is not None:
                    raise SystemExit(f"{argv} ended with {child.returncode}")
            queue = ("txqueuelen", str(uplink_rules.PACKETS_WAITING))
            _run("ip", "-n", alone, "link", "set", "dev", layout.UPLINK, *queue)
            yield
        finally:
            child.terminate()
            child.wait()


def _gbit(server: str, client: str, address: str, port: int = PORT) -> float:
    """Return what one connection carries between two namespaces, in Gbit/s as it arrives."""
    argv = [*_within(server), "iperf3", "--server", "--one-off", "--forceflush"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as serving:
        assert serving.stdout is not None
        next(line for line in serving.stdout if "listening" in line)
        words = ("--client", address, "--port", str(port), "--time", str(SECONDS), "--json")
        told = json.loads(_run(*_within(client), "iperf3", *words))
        serving.stdout.read()
    return float(told["end"]["sum_received"]["bits_per_second"]) / 1e9


def _within(netns: str) -> tuple[str, str]:
    return ("nsenter", f"--net=/run/netns/{netns}")


def _run(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout
