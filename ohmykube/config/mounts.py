"""``spec.mounts``, the form of its entries: directories and files of this host that nodes see."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

from ohmykube.config import node_files, values
from ohmykube.config.problems import closest, echo
from ohmykube.model.cluster import Role

MOST = 50
LONGEST = 4096
_KEYS = ("host", "node", "readOnly", "nodes")
ALL = "all"
ROLES = {"controlPlane": Role.CONTROL_PLANE, "workers": Role.WORKER}
_WORDS = (ALL, *ROLES)
_IDMAP = (
    "has idmap, which is not possible: nodes have the user ids of this host, so files keep their "
    "owners and root in a node is root there; use readOnly where that is too much"
)
OURS = (
    *node_files.OURS,
    *(
        (f"/{name}", "the node's own programs are there")
        for name in ("bin", "lib", "lib64", "sbin")
    ),
    *((f"/usr/{name}", "the node's own programs are there") for name in ("bin", "lib", "sbin")),
    ("/usr/local/bin", "ohmykube's programs are there"),
    ("/etc/kubernetes", "it is kubeadm's"),
    ("/etc/ssh", "nodes are reached by what is there"),
    ("/root", "nodes are reached by what is there"),
    ("/home/omk", "nodes are reached by what is there"),
    ("/etc/systemd", "the node is started by what is there"),
    ("/etc/cni", "it is the pod network's"),
    ("/opt/cni", "it is the pod network's"),
    ("/var/lib/cni", "it is the pod network's"),
    *((f"/{name}", "it is emptied") for name in ("tmp", "var/tmp")),
    *((f"/{name}", "it does not outlive a boot") for name in ("var/run", "var/lock")),
)
"""What neither a mount nor what is above or below it may hide."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry as it stands in the document; its form is right."""

    host: str
    node: str
    read_only: bool = False
    nodes: str | tuple[str, ...] = ALL
    """``all``, a field of ``spec.nodes``, or names."""


def entry(value: Any) -> Entry:
    """Return an entry; raises ValueError with what is wrong with it."""
    if not isinstance(value, dict):
        raise ValueError(f"must be a mapping with host and node, got {echo(value)}")  # noqa: TRY004 - pydantic wants ValueError
    for field in value:
        if field == "idmap":
            raise ValueError(_IDMAP)
        if field not in _KEYS:
            raise ValueError(f"has an unknown field {echo(field)}{closest(str(field), _KEYS)}")
    for field in ("host", "node"):
        found = value.get(field)
        if found is None or found == "":
            raise ValueError(f"must have {field}")
        if not isinstance(found, str):
            raise ValueError(f"must have text as {field}, got {echo(found)}; quote it")  # noqa: TRY004 - as above
        if len(found) > LONGEST or not found.isprintable():
            raise ValueError(
                f"must have a path of printable characters, at most {LONGEST}, as {field}"
            )
    read_only = value.get("readOnly", False)
    if not isinstance(read_only, bool):
        raise ValueError(f"must have true or false as readOnly, got {echo(read_only)}")  # noqa: TRY004 - as above
    return Entry(
        host=value["host"],
        node=_place(value["node"]),
        read_only=read_only,
        nodes=_selected(value.get("nodes", ALL)),
    )


def _place(text: str) -> str:
    """Return where a node sees it."""
    path = text.rstrip("/") or "/"
    if not path.startswith("/") or posixpath.normpath(path) != path:
        raise ValueError(
            f"must have a node path that is absolute and has no ., .. or //: {echo(text)}"
        )
    for owned, why in OURS:
        if is_within(path, owned):
            raise ValueError(f"must not be at {echo(text)} of a node: {why}")
        if is_within(owned, path):
            raise ValueError(f"must not be at {echo(text)} of a node, as it hides {owned}: {why}")
    return path


def _selected(value: Any) -> str | tuple[str, ...]:
    choice = f"must have {', '.join(_WORDS)} or a list of node names as nodes"
    if isinstance(value, str):
        if value in _WORDS:
            return value
        hint = closest(value, _WORDS) or f"; for one node write [{value}]"
        raise ValueError(f"{choice}, got {echo(value)}{hint}")
    if not isinstance(value, list) or not value:
        raise ValueError(f"{choice}, got {echo(value)}")
    for one in value:
        if not isinstance(one, str):
            raise ValueError(f"{choice}, got {echo(one)} in the list")  # noqa: TRY004 - as above
        if one in _WORDS:
            raise ValueError(f"{choice}: write {echo(one)} instead of the list")
        values.host_name(one)
    return tuple(dict.fromkeys(value))


def is_within(path: str, directory: str) -> bool:
    """Tell whether a path is a directory or something below it; both are absolute."""
    return path == directory or path.startswith(directory.rstrip("/") + "/")


MountEntry = Annotated[
    Entry,
    BeforeValidator(entry),
    WithJsonSchema(
        {
            "type": "object",
            "properties": {
                "host": {"type": "string"},
                "node": {"type": "string"},
                "readOnly": {"type": "boolean", "default": False},
                "nodes": {
                    "anyOf": [
                        {"type": "string", "enum": list(_WORDS)},
                        {"type": "array", "items": {"type": "string"}, "minItems": 1},
                    ],
                    "default": ALL,
                },
            },
            "required": ["host", "node"],
            "additionalProperties": False,
        }
    ),
]
TEXT = (
    "Directories and files of this host that nodes see: host (relative to this file), node (where "
    "a node sees it), readOnly, and nodes (all when not given; controlPlane, workers, or a list "
    "of names)."
)
