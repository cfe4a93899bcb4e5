"""From a cluster file, flags, or a recorded document to a ``Cluster``.

All problems come in one ``ConfigError``. Nothing is printed: warnings are returned.
"""

from __future__ import annotations

import pathlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ohmykube.config.overrides import FLAGS, Overrides
from ohmykube.errors import ConfigError
from ohmykube.kit import entrypoints

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ohmykube.config.problems import Path, Problem
    from ohmykube.config.yaml_source import Source
    from ohmykube.model.cluster import Cluster

__all__ = [
    "Inspected",
    "Loaded",
    "Overrides",
    "from_document",
    "from_overrides",
    "inspect",
    "load",
    "load_document",
    "load_file",
    "load_text",
]  # fmt: skip

_PROVIDERS_GROUP = "ohmykube.providers"
_BUILT_IN_PROVIDERS = ("auto", "lima", "nspawn", "ssh")


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A checked cluster, and what the user should know about the file."""

    cluster: Cluster
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspected:
    """A cluster file with all that is wrong with it."""

    label: str
    cluster: Cluster | None
    """Of what is right in it, for further checks; None when nothing can be made of it."""
    problems: tuple[Problem, ...]
    warnings: tuple[str, ...]
    nodes_known: bool
    """The cluster has the nodes that the file means."""
    source: Source

    def refuse(self, more: Sequence[tuple[Path, str]] = ()) -> None:
        """Raise ConfigError for all problems, if there are any.

        Args:
            more: what other rooms found: where, and what is wrong.
        """
        from ohmykube.config import problems  # noqa: PLC0415 - for files that are wrong

        found = [*self.problems, *(self.source.problem(path, text) for path, text in more)]
        if found:
            raise problems.error(self.label, found)


def inspect(
    path: pathlib.Path | None,
    text: bytes = b"",
    label: str = "",
    overrides: Overrides | None = None,
) -> Inspected:
    """Read and check a cluster file, or ``text`` that is called ``label``; problems are returned.

    Raises:
        ConfigError: it cannot be read, or is not YAML.
        PermissionDenied: it may not be read.
    """
    from ohmykube.config import yaml_source  # noqa: PLC0415 - PyYAML only when a file is read

    source = yaml_source.parse(text, label) if path is None else yaml_source.read(path)
    base = pathlib.Path() if path is None else path.parent
    return _inspected(source, overrides or Overrides(), base, desired=True)


def load(path: pathlib.Path, overrides: Overrides | None = None) -> Loaded:
    """Read and check a cluster file, v1 or v1alpha1, with the values of flags put in first.

    Raises:
        ConfigError: it cannot be read or is wrong; ``problems`` has everything.
        PermissionDenied: it may not be read.
    """
    from ohmykube.config import yaml_source  # noqa: PLC0415 - PyYAML only when a file is read

    return _finish(yaml_source.read(path), overrides or Overrides(), path.parent)


def load_file(path: pathlib.Path, overrides: Overrides | None = None) -> Cluster:
    """Return the cluster alone; raises as ``load`` does."""
    return load(path, overrides).cluster


def load_text(text: str | bytes, label: str, overrides: Overrides | None = None) -> Loaded:
    """Read a cluster file from memory, such as standard input; raises ConfigError."""
    from ohmykube.config import yaml_source  # noqa: PLC0415 - PyYAML only when a file is read

    data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
    return _finish(yaml_source.parse(data, label), overrides or Overrides(), pathlib.Path())


def from_overrides(overrides: Overrides) -> Cluster:
    """Return the cluster that flags and defaults describe; raises ConfigError."""
    return from_document({}, overrides, label="the command line", desired=True)


def from_document(
    document: Mapping[str, Any],
    overrides: Overrides | None = None,
    *,
    label: str = "the document",
    desired: bool = False,
) -> Cluster:
    """Return the cluster of a document that ``to_document`` made; raises ConfigError.

    Args:
        document: it.
        overrides: values of flags.
        label: what the document is called in errors.
        desired: it is to be brought about, so its add-ons must be installed here. That of a record
            may name some that were uninstalled since.
    """
    return load_document(document, overrides, label=label, desired=desired).cluster


def load_document(
    document: Mapping[str, Any],
    overrides: Overrides | None = None,
    *,
    label: str = "the document",
    desired: bool = True,
) -> Loaded:
    """Return it together with what the user should know; takes and raises as ``from_document``."""
    from ohmykube.config import fields  # noqa: PLC0415 - pydantic only when something is checked
    from ohmykube.config.yaml_source import Source  # noqa: PLC0415 - as above

    data = {"apiVersion": fields.API_VERSION, "kind": fields.KIND, **document}
    source = Source(label=label, data=data)
    return _finish(source, overrides or Overrides(), pathlib.Path(), desired=desired)


def _finish(
    source: Source, overrides: Overrides, base: pathlib.Path, *, desired: bool = True
) -> Loaded:
    found = _inspected(source, overrides, base, desired=desired)
    found.refuse()
    if found.cluster is None:
        raise AssertionError("there is a problem where there is no cluster")
    return Loaded(cluster=found.cluster, warnings=found.warnings)


def _inspected(
    source: Source, overrides: Overrides, base: pathlib.Path, *, desired: bool
) -> Inspected:
    # pydantic only when something is checked
    from ohmykube.config import addon_changes, build, v1alpha1  # noqa: PLC0415

    warnings: list[str] = []
    if v1alpha1.is_ours(source.data):
        source, warnings = v1alpha1.convert(source)
    _apply(source, overrides)
    if overrides.addons:
        addon_changes.apply(source, overrides.addons)
    built = build.build(source, base, _providers(), check_addons=desired)
    return Inspected(
        label=source.label,
        cluster=built.cluster,
        problems=(*source.problems, *built.problems),
        warnings=(*warnings, *built.warnings),
        nodes_known=built.nodes_known,
        source=source,
    )


def _providers() -> tuple[str, ...]:
    return tuple(dict.fromkeys((*_BUILT_IN_PROVIDERS, *entrypoints.names(_PROVIDERS_GROUP))))


def _apply(source: Source, overrides: Overrides) -> None:
    """Put the values of flags into the document, where they are checked like the rest."""
    spec: Path = ("spec",)
    places: dict[str, Path] = {
        "name": ("metadata", "name"),
        "kubernetes_version": (*spec, "kubernetes", "version"),
        "provider": (*spec, "provider", "name"),
        "cni": (*spec, "network", "cni"),
        "proxy_mode": (*spec, "network", "proxyMode"),
        "mirror": (*spec, "artifacts", "mirror"),
        "sources": (*spec, "artifacts", "sources"),
        "template": (*spec, "template"),
    }
    for field, path in places.items():
        value = getattr(overrides, field)
        if value is not None:
            _put(source, path, list(value) if isinstance(value, tuple) else value, FLAGS[field])
    for key, field in (("controlPlane", "control_planes"), ("workers", "workers")):
        for group in _groups(source, key):
            value = getattr(overrides, field)
            if value is not None:
                _count(source, key, group, value, FLAGS[field])
            for size in ("cpus", "memory", "disk"):
                value = getattr(overrides, size)
                if value is not None:
                    _put(source, (*group, size), value, FLAGS[size])


def _groups(source: Source, key: str) -> list[Path]:
    nodes: Any = source.data.get("spec")
    nodes = nodes.get("nodes") if isinstance(nodes, dict) else None
    found = nodes.get(key) if isinstance(nodes, dict) else None
    path: Path = ("spec", "nodes", key)
    return [(*path, index) for index in range(len(found))] if isinstance(found, list) else [path]


def _count(source: Source, key: str, group: Path, value: int, flag: str) -> None:
    if len(_groups(source, key)) > 1:
        text = f"cannot be used with several groups in spec.nodes.{key}; change the file"
        raise ConfigError(f"{flag}: {text}", id="OMK-C-107", hint=f"edit {source.label}")
    _put(source, (*group, "count"), value, flag)


def _put(source: Source, path: Path, value: object, flag: str) -> None:
    parent: Any = source.data
    for part in path[:-1]:
        if isinstance(parent, dict) and parent.get(part) is None:
            parent[part] = {}
        try:
            parent = parent[part]
        except (TypeError, LookupError):
            return  # the file is wrong there, which is going to be said
    if isinstance(parent, dict):
        parent[path[-1]] = value
        source.flags[path] = flag
        source.written.pop(path, None)
