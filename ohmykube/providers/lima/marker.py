"""Whose an instance is: a file on the instance itself, and a claim while it is being made.

limactl makes an instance's directory, so the mark cannot be there first. A claim is written before,
under the home's lock and only where there is no such directory; the mark replaces it. A copy of an
instance carries the mark of its original, so a mark also names its instance.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import yaml

from ohmykube.kit import files, plain_yaml
from ohmykube.model import names

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ohmykube.providers.lima.lima_home import Home

FILE = "ohmykube.yaml"
"""limactl keeps ``*.yaml`` through ``clone``, ``rename`` and ``factory-reset``."""
SCHEMA = 1
TEMPLATE = "template"
"""The role of an instance that is only there to be cloned; it belongs to no cluster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Marker:
    """What an instance of ours carries."""

    instance: str
    """The instance it was written for; another one here means a copy."""
    cluster: str
    """Empty for a template."""
    node: str
    role: str = ""
    """``control-plane`` or ``worker``; empty when not known."""
    id: str
    """Random; stands in the instance's own machine template as well."""
    origin: str = ""
    """The id of the instance that this one is a clone of."""
    network: str = ""
    address: str = ""
    """Its address in the cluster's network, from its first start on."""
    mac: str = ""
    """The address of its card there."""
    routable: str = ""
    """Its address in the host's own network, where it has one."""
    complete: bool = False
    """Its first start was seen to its end."""
    schema: int = SCHEMA


def read(directory: Path) -> Marker | None:
    """Return the mark of an instance; None for one without, or with one that is not ours."""
    return _parse(_load(directory / FILE))


def read_claim(home: Home, instance: str) -> Marker | None:
    """Return the claim on an instance; None when there is none."""
    return _parse(_load(home.claims / f"{instance}.yaml"))


def _load(path: Path) -> object:
    try:
        return plain_yaml.load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None


def _parse(content: object) -> Marker | None:
    if not isinstance(content, dict):
        return None
    known = {f.name for f in fields(Marker)}
    values: Mapping[str, Any] = {key: value for key, value in content.items() if key in known}
    try:
        found = Marker(**values)
    except TypeError:
        return None
    texts = (getattr(found, f.name) for f in fields(Marker) if f.type == "str")
    # A newer schema is left to the version that knows it.
    if found.schema != SCHEMA or values.get("complete", False) not in (True, False):
        return None
    if not all(isinstance(text, str) for text in texts):
        return None
    of_machine = names.is_name(found.cluster.removeprefix(names.HIDDEN))
    of_machine = of_machine and names.is_name(found.node)
    return found if of_machine or (not found.cluster and found.node == TEMPLATE) else None


def write(directory: Path, marker: Marker) -> None:
    """Put the mark on an instance, in one step."""
    files.write(directory / FILE, _text(marker))


def claim(home: Home, marker: Marker) -> None:
    """Announce an instance that is about to be made; the home is held alone and it is not there."""
    files.ensure_directory(home.claims)
    files.write(home.claims / f"{marker.instance}.yaml", _text(marker))


def drop_claim(home: Home, instance: str) -> None:
    """Take the claim back; none is fine."""
    (home.claims / f"{instance}.yaml").unlink(missing_ok=True)


def _text(marker: Marker) -> str:
    # JSON is YAML whose every string is quoted: no name of a node turns into a number.
    return "# Written by ohmykube: whose this machine is. Do not edit.\n" + json.dumps(
        asdict(marker), indent=1
    )


def signature(id: str) -> str:
    """Return the comment that an instance's machine template begins with."""
    return f"# ohmykube {id}"


def owner(home: Home, instance: str) -> Marker | None:
    """Return whose the directory of an instance is; None for a foreign or absent one.

    A claim holds for a directory only that has no machine template yet, or one that carries the
    claim's id, or, of a clone, its original's.
    """
    directory = home.directory(instance)
    if not directory.is_dir() or directory.is_symlink():
        return None
    found = read(directory)
    if found is not None and found.instance == instance:
        return found
    claimed = read_claim(home, instance)
    if claimed is None or claimed.instance != instance:
        return None
    try:
        text = (directory / "lima.yaml").read_text(errors="replace")
    except OSError:
        text = ""
    ids = [id for id in (claimed.id, claimed.origin) if id]
    ours = not text or any(signature(id) in text for id in ids)
    return replace(claimed, complete=False) if ours else None


def owned(home: Home) -> dict[str, Marker]:
    """Return all instances of ours, by name, the half-made ones included."""
    if not home.root.is_dir():
        return {}
    found = {}
    for entry in sorted(home.root.iterdir()):
        if entry.name.startswith((".", "_")):
            continue
        whose = owner(home, entry.name)
        if whose is not None:
            found[entry.name] = whose
    return found
