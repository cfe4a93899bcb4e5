"""The available releases of Kubernetes, and which versions belong to each.

Opens no connection and writes no file.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ohmykube.cache import recipes
from ohmykube.cache.catalog import Release
from ohmykube.cache.recipes import data
from ohmykube.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ohmykube.cache.catalog import Component, ImageSpec

_VERSION = re.compile(r"([0-9]+\.[0-9]+)\.(?:0|[1-9][0-9]*)")


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


def release(version: str) -> Release:
    """Return everything that belongs to a version of Kubernetes such as ``1.36.3``.

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
    minor = data("kubernetes")["minors"][form[1]]
    kubernetes = recipes.kubernetes_recipe(version)
    components = (
        *recipes.containerd_components(),
        *recipes.kubeadm_components(version, kubernetes),
    )
    images = (
        *recipes.kubernetes_images(version, kubernetes),
        *recipes.foundation_images(minor),
        *recipes.flannel_images(),
    )
    return Release(
        kubernetes_version=version,
        components=components,
        images=images,
        settings=_settings(version, minor, components, images),
    )


def _settings(
    version: str,
    minor: Mapping[str, str],
    components: Iterable[Component],
    images: Iterable[ImageSpec],
) -> dict[str, str]:
    # kubeadm of a release we know asks for these images by itself; another patch might not.
    known = version in data("kubernetes")["releases"]
    refs = {image.name: image.ref for image in images}
    versions = {component.name: component.version for component in components}
    return {
        "pause_image": refs["pause"],
        "etcd_tag": "" if known else minor["etcd"] + recipes.ETCD_REVISION,
        "coredns_tag": "" if known else f"v{minor['coredns']}",
        "flannel_image": refs["flannel"],
        "flannel_cni_image": refs["flannel-cni-plugin"],
        "containerd_version": versions["containerd"],
        "runc_version": versions["runc"],
        "cni_plugins_version": versions["cni-plugins"],
    }
