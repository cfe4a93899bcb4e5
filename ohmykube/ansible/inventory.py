"""Inventory text from variables: every value goes through a YAML serialiser, every string unsafe.

Ansible evaluates templates in inventory files, so a node label ``{{ lookup('pipe', …) }}`` would be
a command on this machine. Strings are therefore tagged ``!unsafe``, keys of mappings too; only
variable and group names, which are ours, are not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import jinja2
import yaml

from ohmykube.ansible.proxy_variables import proxy_vars
from ohmykube.ansible.variables import (
    CONTROL_PLANE_GROUP,
    WORKER_GROUP,
    Vars,
    group_of,
    group_vars,
    host_vars,
)
from ohmykube.errors import ConfigError, ProviderError
from ohmykube.kit import files, paths
from ohmykube.kit.secret import Secret
from ohmykube.model import names
from ohmykube.model.cluster import Role

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ohmykube.ansible.variables import CacheAccess, NodeTraits
    from ohmykube.model.artifact import ArtifactLock
    from ohmykube.model.cluster import Cluster, Node
    from ohmykube.model.machine import Machine

TEMPLATE = "hosts.yml.j2"
INVENTORY_FILE = "hosts.yml"
SECRETS_FILE = "group_vars/k8s_cluster/secrets.yml"
HIDDEN_FILE = "hidden.json"
"""The values that are secret in that, a list of texts."""

_SHORTEST_SECRET = 8
"""In characters: shorter files of the user are none, and to hide them would garble all output."""
_VARIABLE = re.compile(r"[a-z][a-z0-9_]*")
_STR_TAG = "tag:yaml.org,2002:str"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostEntry:
    """One host of the inventory."""

    name: str
    group: str
    """``kube_control_plane`` or ``kube_node``."""
    variables: Vars = field(default_factory=dict)


class _Dumper(yaml.SafeDumper):
    """Block style, keys in their order, no anchors, strings tagged ``!unsafe``."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _represent_str(dumper: _Dumper, value: str) -> yaml.ScalarNode:
    # Ansible resolves what stands behind !unsafe as if it had no quotes: '1.10' would become a
    # number. Text that looks like another type cannot hold a template: quotes alone keep it text.
    plain = dumper.resolve(yaml.ScalarNode, value, (True, False))  # type: ignore[no-untyped-call]
    tag = "!unsafe" if plain == _STR_TAG else _STR_TAG
    return dumper.represent_scalar(tag, value, style='"')


def _represent_secret(_dumper: _Dumper, _value: Secret) -> yaml.ScalarNode:
    raise TypeError("a Secret is not written into an inventory; it belongs into the secrets file")


_Dumper.add_representer(str, _represent_str)
_Dumper.add_multi_representer(str, _represent_str)
_Dumper.add_representer(Secret, _represent_secret)
_Dumper.add_multi_representer(Mapping, _Dumper.represent_dict)  # type: ignore[type-abstract]
_Dumper.add_multi_representer(tuple, _Dumper.represent_list)


def to_yaml(value: object) -> str:
    """Return block-style YAML of plain data without a final newline; one scalar is one line."""
    text: str = yaml.dump(
        value,
        Dumper=_Dumper,
        default_flow_style=False,
        sort_keys=False,
        allow_unicode=True,
        width=1 << 30,
    )
    return text.rstrip("\n")


def variables_to_yaml(variables: Vars) -> str:
    """Return YAML of variables: names plain, values as ``to_yaml``; ``{}`` when there are none."""
    if not variables:
        return "{}"
    parts = []
    for name, value in variables.items():
        if not _VARIABLE.fullmatch(name):
            raise ValueError(f"{name!r} is no variable name")
        nested = isinstance(value, Mapping | list | tuple) and bool(value)
        text = to_yaml(value).removesuffix("\n...")
        parts.append(f"{name}:\n{_indent(text)}" if nested else f"{name}: {text}")
    return "\n".join(parts)


def _indent(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.split("\n"))


def check_name(name: str) -> None:
    """Raise ConfigError unless ``name`` is a DNS name that Ansible takes as a plain host name."""
    if not names.is_host_name(name) or name in names.RESERVED:
        raise ConfigError(
            f"{name!r} cannot be the name of a node",
            why=f"a node name is {names.RULE_OF_HOST}, "
            f"and none of {', '.join(sorted(names.RESERVED))}",
            hint="ohmykube config validate",
            id="OMK-C-181",
        )


def render(hosts: Sequence[HostEntry], shared: Vars) -> str:
    """Return the inventory text.

    Args:
        hosts: every node, control planes in the order in which they are set up.
        shared: variables of the group ``k8s_cluster``; no secrets.

    Raises:
        ConfigError: a host name is not a DNS label.
        TypeError: a value is a Secret or no plain data.
    """
    for host in hosts:
        check_name(host.name)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(paths.inventory_templates()),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - YAML, not HTML; values are serialised
    )
    environment.filters["variables"] = variables_to_yaml
    return environment.get_template(TEMPLATE).render(
        control_planes=[host for host in hosts if host.group == CONTROL_PLANE_GROUP],
        workers=[host for host in hosts if host.group == WORKER_GROUP],
        group_vars=shared,
    )


def compose(
    *,
    cluster: Cluster,
    lock: ArtifactLock | None,
    machines: Mapping[str, Machine],
    access: CacheAccess | None,
    ssh_config: Path | None,
    node_traits: NodeTraits,
    cert_sans: Sequence[str] = (),
    before: Cluster | None = None,
) -> tuple[list[HostEntry], Vars]:
    """Return the hosts of a cluster and the variables that they share.

    Args:
        cluster: its nodes become the hosts, control planes in the order of the cluster.
        lock: the resolved artifacts, or None for the roles' defaults.
        machines: by node name, one for each node of the cluster.
        access: the host's artifact server, or None.
        ssh_config: OpenSSH client configuration with a ``Host`` entry for each node; None
            leaves the connection to the caller.
        node_traits: what is special about the machines.
        cert_sans: names and addresses by which the API server is reached from outside.
        before: the cluster as it was described before; what its nodes had more of is taken away.

    Raises:
        ProviderError: a node has no machine, or a machine no address.
    """
    wanted = [(node, machine_of(cluster, node, machines)) for node in cluster.nodes]
    shared = group_vars(
        cluster,
        lock,
        access,
        node_traits=node_traits,
        cert_sans=cert_sans,
    )
    planes = [machine for node, machine in wanted if node.role is Role.CONTROL_PLANE]
    by_name = {machine.node: machine.address for machine in planes}
    had = before is not None and before.proxy is not None
    shared |= proxy_vars(cluster.proxy, cluster.network, by_name, had=had)
    known = {node.name: node for node in before.nodes} if before is not None else {}
    hosts = [
        HostEntry(
            name=node.name,
            group=group_of(node.role),
            variables=host_vars(
                node,
                machine,
                ssh_config,
                lock,
                access,
                control_planes=planes,
                before=known.get(node.name),
            ),
        )
        for node, machine in wanted
    ]
    return hosts, shared


def machine_of(cluster: Cluster, node: Node, machines: Mapping[str, Machine]) -> Machine:
    """Return the machine of a node; raises ProviderError when it has none."""
    if node.name not in machines:
        raise ProviderError(
            f'node "{node.name}" has no machine',
            hint=f"ohmykube status {cluster.name}",
            id="OMK-P-015",
        )
    return machines[node.name]


def write(directory: Path, hosts: Sequence[HostEntry], shared: Vars) -> Path:
    """Write an inventory and, apart from it, its secrets; return the path to pass as ``-i``.

    Secrets among the group variables go into a file of their own, which Ansible reads because it
    lies below ``group_vars`` beside the inventory; the inventory itself can be shown to anybody.

    Args:
        directory: made when absent; all files in it are 0600.
        hosts: every node, control planes in the order in which they are set up.
        shared: variables of all of them.

    Raises: as ``render``; ResourceError, PermissionDenied, LockedError.
    """
    secrets: Vars = {}
    public: Vars = {}
    hidden: list[str] = []
    for name, value in shared.items():
        if found := [*_secrets_in(value)]:
            secrets[name] = revealed(value)
            hidden += found
        else:
            public[name] = value
    target = directory / INVENTORY_FILE
    secrets_file = directory / SECRETS_FILE
    text = render(hosts, public)
    files.ensure_directory(secrets_file.parent)
    files.write(secrets_file, variables_to_yaml(secrets) + "\n")
    files.write(directory / HIDDEN_FILE, json.dumps(hidden))
    files.write(target, text)
    return target


def _secrets_in(value: object) -> Iterator[str]:
    if isinstance(value, Secret):
        yield value.reveal()
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _secrets_in(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _secrets_in(one)


def revealed(value: object) -> object:
    """Return plain data with its secrets, at whatever depth, as they are."""
    if isinstance(value, Secret):
        return value.reveal()
    if isinstance(value, Mapping):
        return {key: revealed(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [revealed(one) for one in value]
    return value


def secrets_of(inventory: Path) -> tuple[str, ...]:
    """Return the secret values that ``write`` put beside an inventory, to hide them in output."""
    file = inventory.parent / HIDDEN_FILE
    if not file.is_file():
        return ()
    return tuple(one for one in json.loads(file.read_text()) if len(one) >= _SHORTEST_SECRET)
