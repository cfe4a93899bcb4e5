"""In which fields two clusters differ, by the paths of ``cluster.yaml``.

The documents are compared, not the models: a field that is added to the schema is compared from
its first day, and what a change of it means stands beside its definition.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ohmykube.config import document, schema_paths
from ohmykube.config.problems import dotted
from ohmykube.model import trust

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ohmykube.config.mutability import Mutability
    from ohmykube.config.schema_paths import FieldPath
    from ohmykube.model.cluster import Cluster, Mount, Node

_NODES = ("spec", "nodes")
_ADDONS = ("spec", "addons")
MOUNTS = ("spec", "mounts")
_TRUST = ("spec", "trust")
_REGISTRIES = ("spec", "registries")
_NAME = ("metadata", "name")
_UNORDERED = {("spec", "network", "certSANs")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One value that differs."""

    path: FieldPath
    """The field."""
    inside: tuple[str, ...] = ()
    """Keys from the field down to the value, in a field that is a mapping."""
    old: Any
    new: Any
    """JSON data; None when there is no value."""

    @property
    def field(self) -> str:
        """The place as it is written for people."""
        return dotted((*self.path, *self.inside))

    @property
    def mutability(self) -> Mutability | None:
        """What a change of the field means."""
        return schema_paths.fields()[self.path]


def of_clusters(before: Cluster, after: Cluster) -> Iterator[Difference]:
    """Return in what two clusters differ beside their names, nodes with mounts, and add-ons."""
    old, new = document.to_document(before), document.to_document(after)
    for path in schema_paths.fields():
        if path[:2] not in (_NODES, _ADDONS, MOUNTS, _TRUST, _REGISTRIES) and path != _NAME:
            yield from _of_field(path, _value(old, path), _value(new, path))
    yield from _of_sets(_TRUST, *(map(trust.described, one.trust) for one in (before, after)))
    told = [_registries(had, one) for had, one in ((old, before), (new, after))]
    yield from _of_field(_REGISTRIES, *told)


def _registries(documented: Mapping[str, Any], cluster: Cluster) -> dict[str, Any]:
    """Return what a document says of registries, their certificates told for people."""
    found = {name: dict(one) for name, one in (_value(documented, _REGISTRIES) or {}).items()}
    for registry in cluster.registries:
        if registry.ca:
            found[registry.name]["ca"] = sorted(map(trust.described, registry.ca))
    return found


def of_nodes(before: Node, after: Node) -> Iterator[Difference]:
    """Return in what two nodes of one role differ beside their names."""
    old, new = document.node_document(before), document.node_document(after)
    base = (*_NODES, document.FIELD[after.role])
    for path in schema_paths.fields():
        if path[: len(base)] == base and path[-1] != "name":
            below = path[len(base) :]
            yield from _of_field(path, _value(old, below), _value(new, below))
    yield from _of_sets(MOUNTS, *(map(_mount_text, node.mounts) for node in (before, after)))


def _of_sets(path: FieldPath, old: Iterable[str], new: Iterable[str]) -> Iterator[Difference]:
    """Return what one of two sets has, told for people, and the other has not."""
    had, wanted = set(old), set(new)
    if had != wanted:
        gone, come = sorted(had - wanted), sorted(wanted - had)
        yield Difference(path=path, old=gone or None, new=come or None)


def _mount_text(mount: Mount) -> str:
    """Return a mount for people, what is of interest first."""
    return f"{mount.node}{' (read only)' if mount.read_only else ''} from {mount.host}"


def of_mappings(path: FieldPath, old: Any, new: Any) -> Iterator[Difference]:
    """Return in what two mappings differ that stand at the same place of two documents."""
    return _of_field(path, old, new)


def _of_field(path: FieldPath, old: Any, new: Any) -> Iterator[Difference]:
    if path in _UNORDERED and set(old or ()) == set(new or ()):
        return
    if isinstance(old, Mapping) or isinstance(new, Mapping):
        old, new = old or {}, new or {}  # a mapping that is not there is an empty one
    for inside, was, is_now in _leaves(old, new, ()):
        yield Difference(path=path, inside=inside, old=was, new=is_now)


def _leaves(
    old: Any, new: Any, inside: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """Go down as far as both sides are mappings."""
    if not (isinstance(old, Mapping) and isinstance(new, Mapping)):
        if not _same(old, new):
            yield inside, old, new
        return
    for key in dict.fromkeys((*old, *new)):
        here = (*inside, key)
        if key in old and key in new:
            yield from _leaves(old[key], new[key], here)
        else:
            yield here, old.get(key), new.get(key)


def _same(old: Any, new: Any) -> bool:
    """Compare JSON data: true is not 1, and 1 is 1.0."""
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(_same, old, new))
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return old.keys() == new.keys() and all(_same(old[key], new[key]) for key in old)
    return bool(old == new) and isinstance(old, bool) == isinstance(new, bool)


def _value(data: Any, path: tuple[str, ...]) -> Any:
    for part in path:
        if not isinstance(data, Mapping) or part not in data:
            return None
        data = data[part]
    return data
