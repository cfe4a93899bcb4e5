"""The available releases of Kubernetes, and which versions belong to each.

Opens no connection and writes no file.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

from ohmykube.cache import set_file
from ohmykube.cache.catalog import Release
from ohmykube.cache.set_file import data
from ohmykube.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

_VERSION = re.compile(r"([0-9]+\.[0-9]+)\.(?:0|[1-9][0-9]*)")
_SETS = set_file.DATA / "sets"
_ETCD_REVISION = "-0"
"""Suffix of the tag of Kubernetes' own etcd image."""


def default_version() -> str:
    """Return the version of Kubernetes for a cluster file that names none."""
    return str(data("kubernetes")["default"])


def supported_minors() -> tuple[str, ...]:
    """Return the minors, oldest first, such as ``1.36``."""
    return tuple(sorted(data("kubernetes")["minors"], key=_numbers))


def buildable() -> tuple[str, ...]:
    """Return the versions that the source ``build`` can make, oldest first."""
    return tuple(sorted(data("kubernetes")["releases"], key=_numbers))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


@functools.cache
def release(version: str) -> Release:
    """Return the sets that every cluster of a version of Kubernetes such as ``1.36.3`` has.

    Raises:
        ConfigError: not a supported version.
    """
    form = _VERSION.fullmatch(version)
    if form is None or form[1] not in supported_minors():
        raise ConfigError(
            f'Kubernetes "{version}" is not supported',
            why=f"supported: {', '.join(f'{minor}.x' for minor in supported_minors())}; "
            f"built from source: {', '.join(buildable())}",
            hint=f"set the Kubernetes version to {default_version()}",
            id="OMK-C-201",
        )
    facts = _facts(version, data("kubernetes")["minors"][form[1]])
    return Release(
        kubernetes_version=version,
        sets=(
            set_file.read(_SETS / "containerd.yaml"),
            set_file.read(_SETS / "kubernetes.yaml", facts),
        ),
    )


def _facts(version: str, minor: Mapping[str, str]) -> dict[str, str]:
    """Return what the text of the set of Kubernetes names."""
    whole = data("kubernetes")
    known = whole["releases"].get(version) or {}
    sums = {
        f"sha256 {arch} {name}": value
        for arch, names in known.get("sha256", {}).items()
        for name, value in names.items()
    }
    etcd, coredns = minor["etcd"], minor["coredns"]
    _, number, patch = version.split(".")
    return {
        **minor,
        **sums,
        "version": version,
        "minor": number,
        "patch": patch,
        "sum": known.get("sum", ""),
        "etcd_sum": whole["etcd"][etcd],
        "coredns_sum": whole["coredns"][coredns],
        "etcd_revision": _ETCD_REVISION,
        "etcd_tag": "" if known else etcd + _ETCD_REVISION,
        "coredns_tag": "" if known else f"v{coredns}",
    }
