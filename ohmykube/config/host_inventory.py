"""Hosts from an Ansible inventory file, INI or YAML, for the provider ssh.

``ansible-inventory`` reads it, with ``group_vars`` and ``host_vars`` beside it: hosts, logins and
ports are those that Ansible would use. Only what says how to reach a host is taken (``TAKEN``), and
kubespray's ``ip`` for the address inside the cluster; ``containerd_takeover`` as well. All of it
stays data: no inventory script is run, no template evaluated, and no configuration of Ansible read.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import shlex
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ohmykube.config import yaml_source
from ohmykube.config.problems import echo
from ohmykube.errors import ConfigError
from ohmykube.kit import process, shell
from ohmykube.model import names
from ohmykube.model.cluster import Role

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Mapping

GROUP = {Role.CONTROL_PLANE: "kube_control_plane", Role.WORKER: "kube_node"}
"""The group of each role; kubespray's names."""

TAKEN = {
    "ansible_ssh_host": "address",
    "ansible_host": "address",
    "ansible_ssh_port": "port",
    "ansible_port": "port",
    "ansible_ssh_user": "user",
    "ansible_user": "user",
    "ansible_private_key_file": "identityFile",
    "ansible_ssh_private_key_file": "identityFile",
    "ansible_become": "become",
    "containerd_takeover": "containerdTakeover",
    "ip": "nodeIP",
}
"""Inventory variable to field of a host; of two for one field the later counts."""

_ARGUMENTS = ("ansible_ssh_common_args", "ansible_ssh_extra_args")
"""Arguments of ssh; a jump host among them is taken."""
_READERS = {
    "ANSIBLE_INVENTORY_ENABLED": "ini,yaml",
    "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true",
    "ANSIBLE_VARS_ENABLED": "host_group_vars",
    "ANSIBLE_NOCOLOR": "true",
    "ANSIBLE_DEPRECATION_WARNINGS": "false",
}
_SECONDS = 60
_TRUE = ("true", "yes", "on", "1")
_MOST_NAMED = 8
_REASON = re.compile(
    r"Failed to parse inventory with '(\w+)' plugin: (?:Failed to parse inventory: )?(.*)"
)


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
    yaml_source.read_text(path, label)  # says what is wrong with the file itself
    listed = _listed(path, label)
    variables: Mapping[str, Mapping[str, Any]] = listed.get("_meta", {}).get("hostvars", {})
    inventory = Inventory(label=label, hosts={})
    ignored: set[str] = set()
    members = {role: _members(listed, group) for role, group in GROUP.items()}
    if not members[Role.CONTROL_PLANE]:
        others = ", ".join(sorted(set(listed) - {"_meta", "all"})) or "none"
        inventory.problems.append(
            f"there is no host in group {GROUP[Role.CONTROL_PLANE]}; its groups: {others}"
        )
    both = [host for host in members[Role.WORKER] if host in members[Role.CONTROL_PLANE]]
    for role, hosts in members.items():
        inventory.hosts[role] = [
            _host(host, variables.get(host, {}), path, inventory, ignored)
            for host in hosts
            if role is Role.CONTROL_PLANE or host not in both
        ]
    if both:
        inventory.warnings.append(
            f"{', '.join(sorted(both))} is in both groups of {label} and becomes a control plane; "
            "spec.nodes.controlPlane.taints: [] lets control planes run workloads"
        )
    if ignored:
        known = sorted(ignored)
        more = f" and {len(known) - _MOST_NAMED} more" if len(known) > _MOST_NAMED else ""
        inventory.warnings.append(
            f"variables of {label} that are not used here: {', '.join(known[:_MOST_NAMED])}{more}"
        )
    return inventory


def _listed(path: pathlib.Path, label: str) -> dict[str, Any]:
    """Return what ``ansible-inventory --list`` says of a file."""
    argv = [sys.executable, "-m", "ansible", "inventory", "-i", str(path.absolute()), "--list"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    with tempfile.TemporaryDirectory(prefix="omk-inventory-") as directory:
        configuration = Path(directory) / "ansible.cfg"
        configuration.touch()
        env = {**kept, **_READERS, "ANSIBLE_CONFIG": str(configuration), "ANSIBLE_HOME": directory}
        try:
            done = process.run(argv, timeout=_SECONDS, env=env, cwd=path.absolute().parent)
        except process.CommandFailed as error:
            raise ConfigError(
                f"{label} is not an Ansible inventory",
                why=_reason(error.result.stderr, path),
                hint=f"ansible-inventory -i {shell.word(label)} --list",
                id="OMK-C-108",
            ) from error
    listed: dict[str, Any] = json.loads(done.stdout, object_hook=_plain)
    return listed


def _reason(text: str, path: pathlib.Path) -> str:
    """Return what the reader that suits the file says of it."""
    told = dict(_REASON.findall(text))
    reader = "yaml" if path.suffix in (".yml", ".yaml") else "ini"
    why = told.get(reader) or process.tail(text.replace(str(path.absolute()), path.name), 1)
    return " ".join(why.removeprefix("[ERROR]:").split())


def _plain(value: dict[str, Any]) -> Any:
    """Return text that Ansible marks as never to be evaluated as the text alone."""
    return value["__ansible_unsafe"] if list(value) == ["__ansible_unsafe"] else value


def _members(listed: Mapping[str, Any], group: str) -> list[str]:
    """Return the hosts of a group and of those below it; Ansible lets no group be its own child."""
    found = list(listed.get(group, {}).get("hosts", ()))
    for child in listed.get(group, {}).get("children", ()):
        found += _members(listed, child)
    return list(dict.fromkeys(found))


def _host(
    name: str,
    variables: Mapping[str, Any],
    path: pathlib.Path,
    inventory: Inventory,
    ignored: set[str],
) -> dict[str, Any]:
    entry: dict[str, Any] = {"address": name}
    entry |= {of_host: variables[key] for key, of_host in TAKEN.items() if key in variables}
    for key in _ARGUMENTS:
        if jump := _jump(str(variables.get(key, ""))):
            entry["jump"] = jump
        elif variables.get(key):
            ignored.add(key)
    ignored |= {key[:40] for key in variables if key not in (*TAKEN, *_ARGUMENTS)}
    _convert(entry, path)
    # kubelet writes names in lower case, and DNS does not tell cases apart.
    if names.is_host_name(name.lower()):
        entry["name"] = name.lower()
    elif not _is_address(name):
        inventory.problems.append(f"host {echo(name)} must have {names.RULE_OF_HOST}")
    return entry


def _convert(entry: dict[str, Any], path: pathlib.Path) -> None:
    """Give the values of a host the types and places that a cluster file has."""
    if str(entry.get("port", "")).isdecimal():
        entry["port"] = int(str(entry["port"])[:9])
    for switch in ("become", "containerdTakeover"):
        if switch in entry:
            entry[switch] = str(entry[switch]).lower() in _TRUE
    if isinstance(entry.get("identityFile"), str):
        text = entry["identityFile"]
        entry["identityFile"] = text if text.startswith("~") else str(path.parent / text)


def _jump(arguments: str) -> str:
    """Return the jump host in arguments of ssh that say nothing else; empty when they do."""
    try:
        words = shlex.split(arguments)
    except ValueError:
        return ""
    match words:
        case ["-J", jump]:
            return jump
        case ["-o", option] if option.startswith("ProxyJump="):
            return option.removeprefix("ProxyJump=")
        case [option] if option.startswith(("-oProxyJump=", "-J")):
            return option.removeprefix("-oProxyJump=").removeprefix("-J")
        case _:
            return ""


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
