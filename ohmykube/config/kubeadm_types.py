"""The user's fields of kubeadm's configuration, held against the types that kubeadm has for them.

The types of each minor version of Kubernetes are data (``data/kubeadm-<minor>.json``), derived from
the Go modules that define them by ``tools/kubeadm_types.py``.
"""

from __future__ import annotations

import json
import re
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from ohmykube.config.problems import closest, echo

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ohmykube.config.problems import Path, Problem
    from ohmykube.config.yaml_source import Source

    Types = Mapping[str, Mapping[str, str]]

_BASE: Path = ("spec", "kubeadm")
_TIMEOUTS = "use spec.kubeadm.initConfiguration.timeouts.controlPlaneComponentHealthCheck"
_MOVED = {
    ("ClusterConfiguration", "useHyperKubeImage"): "kubeadm has no such images any more",
    ("APIServer", "timeoutForControlPlane"): _TIMEOUTS,
    ("DNS", "type"): "CoreDNS is the only one",
    ("JoinConfiguration", "discoveryTimeout"): "use timeouts.discovery",
    ("Discovery", "timeout"): "use spec.kubeadm.joinConfiguration.timeouts.discovery",
}
"""Fields of earlier forms, by type and name, and what became of them."""
_DURATION = re.compile(r"[-+]?(0|([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+")
_QUANTITY = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([EPTGMKk]i?|[munm]|[eE][-+]?[0-9]+)?")
_FORMS: Mapping[str, tuple[tuple[type, ...], str]] = {
    "string": ((str,), "text"),
    "bool": ((bool,), "true or false"),
    "int": ((int,), "a whole number"),
    "float": ((int, float), "a number"),
    "duration": ((str,), "a duration such as 30s, 5m0s or 1h"),
    "quantity": ((str, int), "an amount such as 500m or 1Gi"),
}


@cache
def types(minor: str) -> Types:
    """Return the types of a minor version: name to its fields, each with its type."""
    path = resources.files(__package__) / "data" / f"kubeadm-{minor}.json"
    found: Types = json.loads(path.read_text())["types"]
    return found


def problems(sections: Mapping[str, Any], version: str, source: Source) -> list[Problem]:
    """Return what kubeadm could not read.

    Args:
        sections: the user's document by its field in ``spec.kubeadm``, such as
            ``clusterConfiguration``.
        version: of Kubernetes.
        source: the file.
    """
    given = {section: document for section, document in sections.items() if document}
    if not given:
        return []
    checker = _Checker(types(".".join(version.split(".")[:2])), source)
    for section, document in given.items():
        checker.look(document, section[0].upper() + section[1:], (*_BASE, section))
    return checker.problems


class _Checker:
    def __init__(self, known: Types, source: Source) -> None:
        self._types = known
        self._source = source
        self.problems: list[Problem] = []

    def look(self, value: Any, wanted: str, path: Path) -> None:
        """Compare a value with a type; null is as good as nothing everywhere."""
        kind, _, inner = wanted.partition(" ")
        if value is None or wanted == "any":
            return
        if kind == "list":
            self._list(value, inner, path)
        elif kind == "map":
            self._map(value, inner, path)
        elif kind in _FORMS:
            self._scalar(value, kind, path)
        else:
            self._struct(value, kind, path)

    def _add(self, path: Path, text: str) -> None:
        self.problems.append(self._source.problem(path, text))

    def _struct(self, value: Any, name: str, path: Path) -> None:
        fields = self._types[name]
        if not isinstance(value, dict):
            self._add(path, f"must be a mapping, got {echo(value)}")
            return
        for key, below in value.items():
            here = (*path, key)
            if key in fields:
                self.look(below, fields[key], here)
            elif (name, key) in _MOVED:
                self._add(here, f"is not a field any more; {_MOVED[name, key]}")
            else:
                self._add(here, f"is not a field of {name}{closest(key, tuple(fields))}")

    def _list(self, value: Any, inner: str, path: Path) -> None:
        if isinstance(value, list):
            for index, entry in enumerate(value):
                self.look(entry, inner, (*path, index))
        elif isinstance(value, dict) and {*self._types.get(inner, ())} == {"name", "value"}:
            name, given = next(iter(value.items()), ("v", "4"))
            shown = json.dumps(given if isinstance(given, str) else str(given))
            example = f"- {{name: {name}, value: {shown}}}"
            self._add(path, f"must be a list of names and values, got a mapping; write: {example}")
        else:
            self._add(path, f"must be a list, got {echo(value)}")

    def _map(self, value: Any, inner: str, path: Path) -> None:
        if not isinstance(value, dict):
            self._add(path, f"must be a mapping, got {echo(value)}")
            return
        for key, below in value.items():
            self.look(below, inner, (*path, key))

    def _scalar(self, value: Any, kind: str, path: Path) -> None:
        accepted, told = _FORMS[kind]
        if isinstance(value, bool) is (kind == "bool") and isinstance(value, accepted):
            if not isinstance(value, str) or _well_formed(value, kind):
                return
        elif kind == "string" and isinstance(value, bool | int | float):
            written = self._source.written.get(path, echo(value))
            self._add(path, f'must be text, got {echo(value)}; quote it: "{written[:40]}"')
            return
        self._add(path, f"must be {told}, got {echo(value)}")


def _well_formed(text: str, kind: str) -> bool:
    form = {"duration": _DURATION, "quantity": _QUANTITY}.get(kind)
    return form is None or form.fullmatch(text) is not None
