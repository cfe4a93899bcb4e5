"""What a host must have for a node, judged by its facts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.kit import architecture
from ohmykube.model.cluster import Role
from ohmykube.providers.base import Check, CheckStatus

if TYPE_CHECKING:
    from ohmykube.model.cluster import Node
    from ohmykube.providers.ssh.host_facts import Facts

PYTHON = (3, 8)
MEMORY_MIB = 1700
DISK_MIB = 6 << 10
CPUS = 2
TESTED = ("debian", "ubuntu")
KUBELET_PORT = 10250
CONTROL_PLANE_PORTS = (6443, 2379, 2380)

_INSTALL_PYTHON = {
    "apt-get": "apt-get install python3",
    "dnf": "dnf install python3",
    "yum": "yum install python3",
    "zypper": "zypper install python3",
    "pacman": "pacman -S python",
    "apk": "apk add python3",
}
"""By the program that installs packages on a host."""

OK, WARN, FAIL = CheckStatus.OK, CheckStatus.WARN, CheckStatus.FAIL


def checks_of(node: Node, facts: Facts, *, ours: bool, one_card: bool = False) -> list[Check]:
    """Return the checks of one host.

    Args:
        node: what is to run there.
        facts: what the host said.
        ours: it carries this node's marker, so what listens there may be the node itself.
        one_card: its addresses of both families have to be on one interface, as flannel has it.
    """
    checks = [
        _root(facts),
        _architecture(facts),
        _python(facts),
        _systemd(facts),
        _at_least("cpus", "CPUs", facts.number("cpus"), CPUS, ""),
        _at_least("memory", "memory", _mib(facts, "memory_kib"), MEMORY_MIB, " MiB"),
        _at_least("disk", "disk space below /var/lib", _mib(facts, "disk_kib"), DISK_MIB, " MiB"),
        _swap(facts),
        _module(facts, "overlay", FAIL),
        _module(facts, "br_netfilter", WARN),
        _system(facts),
        *([] if ours else [_ports(node, facts)]),
    ]
    if unrouted := facts.text("unrouted").split():
        checks.append(_unrouted(unrouted))
    wished = node.host.node_ip if node.host else None
    if wished:
        checks.append(_node_ip(facts, wished))
        if one_card and (cards := _apart(facts, wished)):
            fix = "name addresses of one interface as nodeIP, or give it one of the other family"
            checks.append(_check("node-card", "network interface", FAIL, cards, fix))
    return [_named(node.name, check) for check in checks]


def _named(node: str, check: Check) -> Check:
    return Check(
        id=f"{node}-{check.id}",
        title=f"{node}: {check.title}",
        status=check.status,
        evidence=check.evidence,
        fix=check.fix,
    )


def _check(id: str, title: str, status: CheckStatus, evidence: str, fix: str = "") -> Check:
    return Check(
        id=id, title=title, status=status, evidence=evidence, fix="" if status is OK else fix
    )


def _root(facts: Facts) -> Check:
    uid = facts.number("uid")
    evidence = "root" if uid == 0 else f"user id {uid} without root rights"
    fix = "set become: true for this host (sudo without a password), or user: root"
    return _check("root", "root rights", OK if uid == 0 else FAIL, evidence, fix)


def _architecture(facts: Facts) -> Check:
    found = facts.text("machine")
    known = found in architecture.KERNEL_NAMES.values()
    fix = f"use a machine with {' or '.join(architecture.KERNEL_NAMES.values())}"
    return _check("architecture", "architecture", OK if known else FAIL, found or "unknown", fix)


def _python(facts: Facts) -> Check:
    text = facts.text("python")
    found = tuple(int(part) for part in text.split(".") if part.isdecimal())
    evidence = f"Python {text}" if text else "there is no python3"
    fix = f"{_INSTALL_PYTHON.get(facts.text('packager'), 'install Python 3')}  (on that host)"
    return _check("python", "Python 3.8 or later", OK if found >= PYTHON else FAIL, evidence, fix)


def _systemd(facts: Facts) -> Check:
    runs = facts.text("systemd") == "yes"
    evidence = "runs" if runs else "is not the init system"
    fix = "use a machine that runs systemd"
    return _check("systemd", "systemd", OK if runs else FAIL, evidence, fix)


def _mib(facts: Facts, key: str) -> int | None:
    kib = facts.number(key)
    return None if kib is None else kib >> 10


def _at_least(id: str, title: str, found: int | None, wanted: int, unit: str) -> Check:
    if found is None:
        return _check(id, title, WARN, "could not be found out")
    evidence = f"{found}{unit}; {wanted}{unit} are wanted"
    return _check(id, title, OK if found >= wanted else WARN, evidence)


def _swap(facts: Facts) -> Check:
    swaps = facts.number("swaps") or 0
    evidence = f"{swaps} swap area(s) in use; the node role turns swap off" if swaps else "off"
    return _check("swap", "swap", WARN if swaps else OK, evidence)


def _module(facts: Facts, name: str, missing: CheckStatus) -> Check:
    there = facts.text(f"module_{name}") == "yes"
    evidence = "available" if there else "not in this kernel"
    title = f"kernel module {name}"
    fix = "install the kernel's full set of modules on that host"
    return _check(
        f"module-{name.replace('_', '-')}", title, OK if there else missing, evidence, fix
    )


def _system(facts: Facts) -> Check:
    found = facts.text("system").strip()
    known = found.split(" ")[0] in TESTED
    evidence = found or "unknown"
    if not known:
        evidence += f"; tested with {', '.join(TESTED)}"
    return _check("distribution", "distribution", OK if known else WARN, evidence)


def _ports(node: Node, facts: Facts) -> Check:
    needed = {KUBELET_PORT}
    if node.role is Role.CONTROL_PLANE:
        needed.update(CONTROL_PLANE_PORTS)
    taken = sorted(needed & facts.ports)
    evidence = f"in use: {', '.join(map(str, taken))}" if taken else "free"
    fix = "ss -ltnp  (on that host: what listens there? another cluster?)"
    return _check("ports", "ports of Kubernetes", FAIL if taken else OK, evidence, fix)


def _unrouted(services: list[str]) -> Check:
    """kube-proxy turns packets to services round only after the kernel has a way for them."""
    family = "-6" if ":" in services[0] else "-4"
    evidence = f"there is none to services, such as {services[0]}"
    fix = f"ip {family} route add default via GATEWAY  (on that host)"
    return _check("route", "route", FAIL, evidence, fix)


def _apart(facts: Facts, wished: str) -> str:
    """Say on which interfaces the addresses are; empty where it is the same one."""
    cards = {one: facts.card(one) for one in wished.split(",")}
    if "" in cards.values() or len(set(cards.values())) == 1:
        return ""
    places = " and ".join(f"{one} is on {card}" for one, card in cards.items())
    return f"{places}, and flannel wants one for both families"


def _node_ip(facts: Facts, wished: str) -> Check:
    absent = [one for one in wished.split(",") if one not in facts.addresses]
    there = not absent
    evidence = wished if there else f"{absent[0]} is none of {', '.join(facts.addresses) or 'none'}"
    fix = "set nodeIP to an address of that host, or leave it out"
    return _check("node-ip", "node address", OK if there else FAIL, evidence, fix)
