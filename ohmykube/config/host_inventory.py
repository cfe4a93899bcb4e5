"""Hosts from an Ansible inventory file, INI or YAML, for the provider ssh.

Only what says how to reach a host is taken: ``ansible_host``, ``ansible_port``, ``ansible_user``,
``ansible_ssh_private_key_file``, ``ansible_become``, and kubespray's ``ip`` for the address inside
the cluster; ``containerd_takeover`` as well. Everything is data; no template is evaluated and
Ansible is not asked.
"""

from __future__ import annotations

import ipaddress
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ohmykube.config import yaml_source
from ohmykube.config.problems import echo
from ohmykube.errors import ConfigError
from ohmykube.model import names
from ohmykube.model.cluster import Role

if TYPE_CHECKING:
    import pathlib

GROUP = {Role.CONTROL_PLANE: "kube_control_plane", Role.WORKER: "kube_node"}
"""The group of each role; kubespray's names."""

TAKEN = {
    "ansible_host": "address",
    "ansible_port": "port",
    "ansible_user": "user",
    "ansible_ssh_private_key_file": "identityFile",
    "ansible_become": "become",
    "containerd_takeover": "containerdTakeover",
    "ip": "nodeIP",
}
"""Inventory variable to field of a host."""

_TRUE = ("true", "yes", "on", "1")
_DEEPEST = 20


@dataclass(slots=True)
class _Group:
    hosts: dict[str, dict[str, Any]] = field(default_factory=dict)
    children: list[str] = field(default_factory=list)
    variables: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Inventory:
    """Hosts by role, each a document like an entry of ``hosts`` in a cluster file."""

    label: str
    hosts: dict[Role, list[dict[str, Any]]]
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def read(path: pathlib.Path, label: str) -> Inventory:
    """Read an inventory file, called ``label`` in messages.

    Raises:
        ConfigError: it cannot be read, or is neither INI nor YAML.
        PermissionDenied: it may not be read.
    """
    if path.suffix in (".yml", ".yaml"):
        groups = _from_yaml(yaml_source.read(path, label))
        problems: list[str] = []
    else:
        groups, problems = _from_ini(yaml_source.read_text(path, label))
    inventory = Inventory(label=label, hosts={}, problems=problems)
    ignored: set[str] = set()
    for role, name in GROUP.items():
        members = _members(groups, name, 0)
        inventory.hosts[role] = [
            _host(host, _variables(groups, host), path, inventory, ignored) for host in members
        ]
    both = set(_members(groups, GROUP[Role.CONTROL_PLANE], 0))
    both &= set(_members(groups, GROUP[Role.WORKER], 0))
    if both:
        inventory.hosts[Role.WORKER] = [
            host
            for host, name in zip(
                inventory.hosts[Role.WORKER], _members(groups, GROUP[Role.WORKER], 0), strict=True
            )
            if name not in both
        ]
        inventory.warnings.append(
            f"{', '.join(sorted(both))} is in both groups of {label} and becomes a control plane; "
            "spec.nodes.controlPlane.taints: [] lets control planes run workloads"
        )
    if ignored:
        known = ", ".join(sorted(ignored))
        inventory.warnings.append(f"variables of {label} that are not used here: {known}")
    return inventory


def _members(groups: dict[str, _Group], name: str, depth: int) -> list[str]:
    group = groups.get(name)
    if group is None or depth > _DEEPEST:
        return []
    found = list(group.hosts)
    for child in group.children:
        found += _members(groups, child, depth + 1)
    return list(dict.fromkeys(found))


def _variables(groups: dict[str, _Group], host: str) -> dict[str, Any]:
    """Group variables first, outer groups before inner ones, then the host's own."""
    result: dict[str, Any] = {}
    holding = [name for name in groups if name != "all" and host in _members(groups, name, 0)]
    holding.sort(key=lambda name: (-len(_members(groups, name, 0)), name))
    for name in ("all", *holding):
        result |= groups[name].variables if name in groups else {}
    for group in groups.values():
        result |= group.hosts.get(host, {})
    return result


def _host(
    name: str,
    variables: dict[str, Any],
    path: pathlib.Path,
    inventory: Inventory,
    ignored: set[str],
) -> dict[str, Any]:
    entry: dict[str, Any] = {"address": name}
    for key, value in variables.items():
        if key in TAKEN:
            entry[TAKEN[key]] = value
        else:
            ignored.add(key[:40])
    if "port" in entry and str(entry["port"]).isdecimal():
        entry["port"] = int(str(entry["port"])[:9])
    for switch in ("become", "containerdTakeover"):
        if switch in entry:
            entry[switch] = str(entry[switch]).lower() in _TRUE
    if isinstance(entry.get("identityFile"), str):
        text = entry["identityFile"]
        entry["identityFile"] = text if text.startswith("~") else str(path.parent / text)
    if names.is_name(name):
        entry["name"] = name
    elif not _is_address(name):
        inventory.problems.append(f"host {echo(name)} must have a name of {names.RULE}")
    return entry


def _is_address(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


def _from_ini(text: str) -> tuple[dict[str, _Group], list[str]]:
    groups: dict[str, _Group] = {}
    problems: list[str] = []
    section, kind = "ungrouped", "hosts"
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line[0] in "#;":
            continue
        if line.startswith("[") and line.endswith("]"):
            section, _colon, kind = line[1:-1].strip().partition(":")
            kind = kind or "hosts"
            groups.setdefault(section, _Group())
            continue
        group = groups.setdefault(section, _Group())
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            problems.append(f"line {number}: {error}")
            continue
        problem = _ini_line(group, kind, words, line)
        if problem:
            problems.append(f"line {number}: {problem}")
    return groups, problems


def _ini_line(group: _Group, kind: str, words: list[str], line: str) -> str:
    if kind == "children":
        group.children.append(words[0])
    elif kind == "vars":
        key, equals, value = line.partition("=")
        if not equals:
            return f"must be name=value, got {echo(line)}"
        group.variables[key.strip()] = value.strip().strip("'\"")
    elif kind == "hosts":
        if "[" in words[0]:
            return f"ranges of hosts are not supported, got {echo(words[0])}"
        variables = group.hosts.setdefault(words[0], {})
        for word in words[1:]:
            key, equals, value = word.partition("=")
            if not equals:
                return f"must be name=value, got {echo(word)}"
            variables[key] = value
    else:
        return f"a section ends in :vars or :children, got {echo(kind)}"
    return ""


def _from_yaml(source: yaml_source.Source) -> dict[str, _Group]:
    groups: dict[str, _Group] = {}
    waiting: list[tuple[str, Any]] = list(source.data.items())
    while waiting:
        name, body = waiting.pop(0)
        group = groups.setdefault(name, _Group())
        if body is None:
            continue
        if not isinstance(body, dict):
            raise _no_inventory(source.label, name)
        for part in ("hosts", "children", "vars"):
            if not isinstance(body.get(part) or {}, dict):
                raise _no_inventory(source.label, f"{name}.{part}")
        for host, variables in (body.get("hosts") or {}).items():
            if not isinstance(variables or {}, dict):
                raise _no_inventory(source.label, f"{name}.hosts.{host}")
            group.hosts.setdefault(host, {}).update(variables or {})
        group.variables |= body.get("vars") or {}
        children = body.get("children") or {}
        group.children += children
        waiting += children.items()
    return groups


def _no_inventory(label: str, place: str) -> ConfigError:
    return ConfigError(
        f"{label} is not an Ansible inventory",
        why=f"{echo(place)[1:-1]} must be a mapping",
        hint=f"ansible-inventory -i {label} --list",
        id="OMK-C-108",
    )
