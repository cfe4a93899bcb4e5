"""Files of the user for nodes, and patches for kubeadm: their entries, and the text behind them."""

from __future__ import annotations

import copy
import hashlib
import posixpath
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from ohmykube.config.problems import closest, echo, echo_path
from ohmykube.kit import yaml_errors
from ohmykube.model.cluster import NodeFile

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable, Mapping, Sequence

    from ohmykube.config.problems import Path, Problem
    from ohmykube.config.yaml_source import Source

LARGEST_BYTES = 1 << 18
DEFAULT_MODE = "0600"
PATCH_TARGETS = (
    "corednsdeployment",
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubeletconfiguration",
)
"""What kubeadm lays patches over (its option ``--patches``)."""
OURS = (
    ("/etc/kubernetes/manifests", "kubeadm writes there"),
    ("/etc/kubernetes/pki", "kubeadm makes the certificates of the cluster there"),
    ("/etc/kubernetes/tmp", "kubeadm writes there"),
    ("/etc/kubernetes/ohmykube-patches", "use spec.kubeadm.patches"),
    ("/var/lib/etcd", "it is etcd's"),
    ("/var/lib/containerd", "it is containerd's"),
    ("/var/lib/kubelet", "it is the kubelet's"),
    ("/var/lib/ohmykube", "it is ohmykube's"),
    ("/etc/containerd", "the role containerd writes there"),
    ("/etc/systemd/system/kubelet.service.d", "use spec.kubeadm"),
    ("/etc/systemd/system/kubelet.service", "use spec.kubeadm"),
    ("/etc/systemd/system/containerd.service", "the role containerd writes it"),
    *((f"/{name}", "it does not outlive a boot") for name in ("dev", "proc", "run", "sys")),
)
"""Where others write, so that a file would be in the way or be lost."""
_OWN_CONFIG = re.compile(r"/etc/kubernetes/[^/]+\.(conf|yaml)")
_PATCH = re.compile(
    rf"({'|'.join(PATCH_TARGETS)})[A-Za-z0-9-]*(\+(strategic|merge|json))?\.(json|yaml)"
)
_MODE = re.compile(r"0?[0-7]{3}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry as it stands in the document; its form is right."""

    name: str
    """The path of a file, or the name of a patch."""
    mode: str = DEFAULT_MODE
    content: str | None = None
    source: str | None = None
    """Path of a local file."""
    sha256: str | None = None
    """Of the text; a record has nothing else of it."""


def file_entry(value: Any, *, desired: bool) -> Entry:
    """Return an entry of ``files``; raises ValueError with what is wrong with it."""
    entry = _entry(value, "path", ("mode", "content", "source", "sha256"), desired=desired)
    path = entry.name
    if not path.startswith("/") or posixpath.normpath(path) != path or not path.isprintable():
        raise ValueError(f"must have a path that is absolute and has no ., .. or //: {echo(path)}")
    if desired:
        for owned, why in OURS:
            if path == owned or path.startswith(f"{owned}/"):
                raise ValueError(f"must not be {echo(path)}: {why}")
        if _OWN_CONFIG.fullmatch(path):
            raise ValueError(f"must not be {echo(path)}: kubeadm keeps its own files there")
    return entry


def patch_entry(value: Any, *, desired: bool) -> Entry:
    """Return an entry of ``patches``; raises ValueError with what is wrong with it."""
    entry = _entry(value, "name", ("content", "source", "sha256"), desired=desired)
    if not _PATCH.fullmatch(entry.name):
        targets = ", ".join(PATCH_TARGETS)
        rule = f"TARGET[SUFFIX][+strategic|+merge|+json].yaml with one of the targets {targets}"
        raise ValueError(f"must have a name of the form {rule}; got {echo(entry.name)}")
    return entry


def _entry(value: Any, key: str, others: Sequence[str], *, desired: bool) -> Entry:
    known = (key, *others)
    if not isinstance(value, dict):
        raise ValueError(f"must be a mapping with {key} and content or source, got {echo(value)}")  # noqa: TRY004 - pydantic wants ValueError
    for field, found in value.items():
        if field not in known:
            raise ValueError(f"has an unknown field {echo(field)}{closest(str(field), known)}")
        if not isinstance(found, str):
            raise ValueError(f"must have text as {field}, got {echo(found)}; quote it")  # noqa: TRY004 - as above
    if not value.get(key):
        raise ValueError(f"must have {key}")
    if desired and ("content" in value) is ("source" in value):
        raise ValueError("must have content, or source (a local file), and not both")
    if not desired and not {"content", "source", "sha256"} & {*value}:
        raise ValueError("must have content, source or sha256")
    if not _MODE.fullmatch(value.get("mode", DEFAULT_MODE)):
        raise ValueError(f'must have a mode such as "0600", got {echo(value["mode"])}')
    return Entry(name=value[key], **{name: value[name] for name in others if name in value})


def with_contents(
    document: Mapping[str, Any], contents: Mapping[str, str]
) -> tuple[dict[str, Any], list[str]]:
    """Return a recorded document with the texts of its files, and the names of those without one.

    Args:
        document: as ``document.to_document`` makes it.
        contents: texts by their sha256.
    """
    result = copy.deepcopy(dict(document))
    spec = result.get("spec", {})
    groups = [group for groups in spec.get("nodes", {}).values() for group in _listed(groups)]
    entries = [entry for group in groups for entry in group.get("files", ())]
    missing = []
    for entry in [*entries, *spec.get("kubeadm", {}).get("patches", ())]:
        if entry["sha256"] in contents:
            entry["content"] = contents[entry["sha256"]]
        else:
            missing.append(str(entry.get("path") or entry.get("name")))
    return result, list(dict.fromkeys(missing))


def _listed(groups: Any) -> list[Any]:
    return groups if isinstance(groups, list) else [groups]


class Reader:
    """Reads what entries name; collects what is wrong."""

    def __init__(
        self,
        source: Source,
        base: pathlib.Path,
        locate: Callable[[str, pathlib.Path], pathlib.Path],
    ) -> None:
        """Take the document, and how paths in it are found from the directory ``base``."""
        self._source = source
        self._base = base
        self._locate = locate
        self.problems: list[Problem] = []

    def files(self, entries: Sequence[Entry], path: Path) -> tuple[NodeFile, ...]:
        """Return the files of a group of nodes; ``path`` is that of the list."""
        for name, times in Counter(entry.name for entry in entries).items():
            if times > 1:
                self._add(path, f"has {echo(name)} {times} times")
        return tuple(self._read(entry, (*path, n)) for n, entry in enumerate(entries))

    def patches(self, entries: Sequence[Entry], path: Path) -> tuple[NodeFile, ...]:
        """Return kubeadm's patches, each of which must be YAML."""
        found = self.files(entries, path)
        for number, one in enumerate(found):
            try:
                list(yaml.compose_all(one.content or ""))
            except yaml.YAMLError as error:
                why = yaml_errors.one_line(error, one.content or "")
                self._add((*path, number), f"must be YAML or JSON: {why}")
        return found

    def _add(self, path: Path, text: str) -> None:
        self.problems.append(self._source.problem(path, text))

    def _read(self, entry: Entry, path: Path) -> NodeFile:
        content = entry.content
        if entry.source is not None:
            content = self._local(entry.source, (*path, "source"))
        found = entry.sha256 or ""
        if content is not None:
            found = hashlib.sha256(content.encode()).hexdigest()
            if entry.sha256 and entry.sha256 != found:
                self._add(path, f"has the sha256 {found}, not {echo(entry.sha256)}")
        mode = entry.mode.zfill(4)
        return NodeFile(path=entry.name, mode=mode, sha256=found, content=content)

    def _local(self, text: str, path: Path) -> str:
        place = self._locate(text, self._base)
        try:
            with place.open("rb") as stream:
                data = stream.read(LARGEST_BYTES + 1)
            if len(data) > LARGEST_BYTES:
                self._add(path, f"must have at most {LARGEST_BYTES >> 10} KiB: {echo_path(place)}")
            return data.decode()
        except OSError as error:
            self._add(path, f"cannot be read: {echo_path(place)}: {error.strerror}")
        except UnicodeDecodeError:
            self._add(path, f"must be UTF-8 text: {echo_path(place)}")
        return ""
