"""Reads the older format ``ohmykube.dev/v1alpha1`` and turns it into v1.

What has a meaning is converted and then checked by the rules of v1; problems name the field of the
older file. What has none here is listed in warnings. Unknown keys, which the older format took in
silence, are problems.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from ohmykube.config import fields
from ohmykube.config.problems import Path, closest, dotted
from ohmykube.config.yaml_source import Source

if TYPE_CHECKING:
    from collections.abc import Mapping

API_VERSION = "ohmykube.dev/v1alpha1"

_KNOWN: Mapping[str, tuple[str, ...]] = {
    "": ("apiVersion", "kind", "metadata", "spec", "status"),
    "metadata": ("name", "labels", "annotations"),
    "spec": (
        "kubernetesVersion", "provider", "updateSystem", "networking", "storage", "nodes", "addons",
    ),
    "spec.networking": ("proxyMode", "cni", "podSubnet", "serviceSubnet", "loadbalancer"),
    "spec.storage": ("csi",),
    "spec.nodes": ("master", "workers"),
    "group": ("replica", "groupid", "template", "resources", "metadata", "customInit"),
    "group.resources": ("cpu", "memory", "storage"),
    "group.metadata": ("labels", "annotations", "taints"),
    "taint": ("key", "value", "effect"),
}  # fmt: skip
"""Keys of each mapping in the older format."""

_MEANINGLESS = {
    ("metadata", "labels"): "clusters have no labels",
    ("metadata", "annotations"): "clusters have no annotations",
    ("spec", "updateSystem"): "nodes are not upgraded when they are made",
    ("spec", "networking", "loadbalancer"): "no load balancer is installed",
    ("spec", "addons"): "add-ons are not installed from the cluster file",
    ("status",): "the state of machines is asked of the machines",
}


def is_ours(data: dict[str, Any]) -> bool:
    """Tell whether a document is in the older format."""
    return data.get("apiVersion") == API_VERSION


def convert(source: Source) -> tuple[Source, list[str]]:
    """Return the document in v1 form, and a warning for each thing that has no meaning."""
    converter = _Converter(source)
    converter.run()
    return converter.new, converter.warnings


class _Converter:
    def __init__(self, old: Source) -> None:
        self.old = old
        self.new = Source(
            label=old.label,
            data={"apiVersion": fields.API_VERSION},
            problems=list(old.problems),
        )
        self.warnings: list[str] = []

    def run(self) -> None:
        self._move(("kind",), ("kind",))
        for form in _KNOWN:
            if not form.startswith(("group", "taint")):
                self._only_known(tuple(form.split(".")) if form else (), form)
        for old, new in (
            (("metadata", "name"), ("metadata", "name")),
            (("spec", "kubernetesVersion"), ("spec", "kubernetes", "version")),
            (("spec", "networking", "cni"), ("spec", "network", "cni")),
            (("spec", "networking", "podSubnet"), ("spec", "network", "podCIDR")),
            (("spec", "networking", "serviceSubnet"), ("spec", "network", "serviceCIDR")),
        ):
            self._move(old, new)
        self._provider()
        self._proxy_mode()
        self._groups("master", "controlPlane")
        self._groups("workers", "workers")
        for path, why in _MEANINGLESS.items():
            if self._get(path) not in (None, False, "", [], {}):
                self._warn(path, why)
        if self._get(("spec", "storage", "csi")) not in (None, "", "none"):
            self._warn(("spec", "storage", "csi"), "no storage driver is installed")

    def _get(self, path: Path) -> Any:
        value: Any = self.old.data
        for part in path:
            try:
                value = value[part]
            except (KeyError, IndexError, TypeError):
                return None
        return value

    def _warn(self, path: Path, why: str) -> None:
        text = f"{dotted(path)} has no effect: {why}"
        if text not in self.warnings:
            self.warnings.append(text)

    def _put(self, old: Path, new: Path, value: object) -> None:
        """Set a value of the new document, remembering where it stood in the older one."""
        parent: Any = self.new.data
        for part in new[:-1]:
            parent = parent.setdefault(part, {}) if isinstance(part, str) else parent[part]
        parent[new[-1]] = value
        self.new.renamed[new] = old
        for path, line in self.old.lines.items():
            if path[: len(old)] == old:
                self.new.lines[*new, *path[len(old) :]] = line
        for path, text in self.old.written.items():
            if path[: len(old)] == old:
                self.new.written[*new, *path[len(old) :]] = text

    def _move(self, old: Path, new: Path) -> None:
        value = self._get(old)
        if value is not None:
            self._put(old, new, value)

    def _only_known(self, path: Path, form: str) -> dict[str, Any]:
        """Return the mapping at ``path``; say what is unknown in it, or that it is none."""
        found = self._get(path) if path else self.old.data
        if found is None:
            return {}
        if not isinstance(found, dict):
            self.new.problems.append(self.old.problem(path, "must be a mapping"))
            return {}
        for key in found:
            if key not in _KNOWN[form]:
                text = f"is not a known field{closest(key, _KNOWN[form])}"
                self.new.problems.append(self.old.problem((*path, key), text))
        return found

    def _provider(self) -> None:
        path: Path = ("spec", "provider")
        name = self._get(path)
        if name == "lima":
            self._warn(path, "the provider is chosen by what this host can do (auto)")
        elif name is not None:
            self._put(path, ("spec", "provider", "name"), name)

    def _proxy_mode(self) -> None:
        path: Path = ("spec", "networking", "proxyMode")
        mode = self._get(path)
        if mode == "ipvs":
            self._warn(path, "ipvs is deprecated in Kubernetes, iptables is used")
        elif mode is not None:
            self._put(path, ("spec", "network", "proxyMode"), mode)

    # -- nodes -----------------------------------------------------------------------------------

    def _groups(self, old_key: str, new_key: str) -> None:
        path: Path = ("spec", "nodes", old_key)
        groups = self._get(path)
        if groups is None:
            return
        new: Path = ("spec", "nodes", new_key)
        if not isinstance(groups, list):
            self.new.problems.append(self.old.problem(path, "must be a list of groups"))
            return
        self._put(path, new, [{} for _ in groups])
        for index in range(len(groups)):
            self._group((*path, index), (*new, index))
        if not groups and new_key == "workers":
            self._put(path, new, {"count": 0})

    def _group(self, old: Path, new: Path) -> None:
        self._only_known(old, "group")
        resources = self._only_known((*old, "resources"), "group.resources")
        metadata = self._only_known((*old, "metadata"), "group.metadata")
        self._move((*old, "replica"), (*new, "count"))
        self._move((*old, "resources", "memory"), (*new, "memory"))
        self._move((*old, "resources", "storage"), (*new, "disk"))
        self._move((*old, "metadata", "labels"), (*new, "labels"))
        if resources.get("cpu") is not None:
            self._put((*old, "resources", "cpu"), (*new, "cpus"), _number(resources["cpu"]))
        if metadata.get("taints"):
            self._taints((*old, "metadata", "taints"), (*new, "taints"))
        if self._get((*old, "template")):
            self._warn((*old, "template"), "the provider chooses the system of its machines")
        if metadata.get("annotations"):
            self._warn((*old, "metadata", "annotations"), "nodes get no annotations")
        if self._get((*old, "customInit")):
            self._warn((*old, "customInit"), "hooks and files are a matter for a playbook")

    def _taints(self, old: Path, new: Path) -> None:
        taints = self._get(old)
        if not isinstance(taints, list):
            self._put(old, new, taints)
            return
        texts: list[object] = []
        for index in range(len(taints)):
            found = self._only_known((*old, index), "taint")
            if found:
                value = f"={found['value']}" if found.get("value") not in (None, "") else ""
                texts.append(f"{found.get('key')}{value}:{found.get('effect')}")
        self._put(old, new, texts)


def _number(text: object) -> object:
    """The older format had text here: ``cpu: "2"``."""
    if isinstance(text, str):
        with contextlib.suppress(ValueError):
            return float(text)
    return text
