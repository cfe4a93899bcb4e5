"""Which versions belong together: the facts of ``data/*.yaml`` for one release of Kubernetes.

Opens no connection and writes no file.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ohmykube.cache.catalog import (
    ARCHITECTURES,
    Component,
    CRecipe,
    DebianLayer,
    Download,
    GoRecipe,
    ImageSpec,
    Release,
)
from ohmykube.errors import ConfigError
from ohmykube.model.artifact import PackageRole

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

DATA = Path(__file__).parent / "data"
BIN = "/usr/local/bin"
CNI_BIN = "/opt/cni/bin"
CNI_PLUGINS = {"bridge": "main", "host-local": "ipam", "loopback": "main", "portmap": "meta"}
EVERYWHERE = ("control-plane", "worker")
CONTROL_PLANE = ("control-plane",)
ETCD_REVISION = "-0"
"""Suffix of the tag of Kubernetes' own etcd image."""
_VERSION = re.compile(r"([0-9]+\.[0-9]+)\.(?:0|[1-9][0-9]*)")
_GITHUB = "https://github.com"


@functools.cache
def _data(name: str) -> dict[str, Any]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    document: dict[str, Any] = yaml.load((DATA / f"{name}.yaml").read_text(), loader)  # noqa: S506 - a safe loader
    return document


def default_version() -> str:
    """Return the version of Kubernetes for a cluster file that names none."""
    return str(_data("kubernetes")["default"])


def supported_minors() -> tuple[str, ...]:
    """Return the minors, oldest first, such as ``1.36``."""
    return tuple(sorted(_data("kubernetes")["minors"], key=_numbers))


def buildable() -> tuple[str, ...]:
    """Return the versions that the source ``build`` can make, oldest first."""
    return tuple(sorted(_data("kubernetes")["releases"], key=_numbers))


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
    minor = _data("kubernetes")["minors"][form[1]]
    kubernetes = _kubernetes_recipe(version)
    components = (*_containerd_components(), *_kubeadm_components(version, kubernetes))
    images = (
        *_kubernetes_images(version, kubernetes),
        *_foundation_images(minor),
        *_flannel_images(),
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
    known = version in _data("kubernetes")["releases"]
    refs = {image.name: image.ref for image in images}
    versions = {component.name: component.version for component in components}
    return {
        "pause_image": refs["pause"],
        "etcd_tag": "" if known else minor["etcd"] + ETCD_REVISION,
        "coredns_tag": "" if known else f"v{minor['coredns']}",
        "flannel_image": refs["flannel"],
        "flannel_cni_image": refs["flannel-cni-plugin"],
        "containerd_version": versions["containerd"],
        "runc_version": versions["runc"],
        "cni_plugins_version": versions["cni-plugins"],
    }


def _expected(module: str, version: str) -> dict[str, dict[str, str]]:
    known: dict[str, dict[str, str]] = _data("expected").get(f"{module}@{version}", {})
    return known


def _go(module: str, version: str, sum_: str, packages: Mapping[str, str], **more: Any) -> GoRecipe:
    return GoRecipe(
        module=module,
        version=version,
        sum=sum_,
        packages=packages,
        expect=_expected(module, version),
        **more,
    )


# -- Kubernetes itself ---------------------------------------------------------------------------

NODE_BINARIES = ("kubeadm", "kubectl", "kubelet")
SERVERS = ("kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler")


def _kubernetes_recipe(version: str) -> GoRecipe | None:
    facts = _data("kubernetes")["releases"].get(version)
    if facts is None:
        return None
    minor, patch = version.split(".")[1:]
    stamps = [
        f"-X {package}.{name}={value}"
        for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
        for name, value in (
            ("gitVersion", f"v{version}"),
            ("gitMajor", "1"),
            ("gitMinor", minor),
            ("gitTreeState", "clean"),
        )
    ]
    return _go(
        "k8s.io/kubernetes",
        f"v{version}",
        facts["sum"],
        {name: f"k8s.io/kubernetes/cmd/{name}" for name in (*NODE_BINARIES, *SERVERS)},
        ldflags=" ".join(stamps),
        staging=f"v0.{minor}.{patch}",
        seconds=460,
        memory_gib=4.0,
    )


def _kubeadm_components(version: str, recipe: GoRecipe | None) -> list[Component]:
    sums = (_data("kubernetes")["releases"].get(version) or {}).get("sha256", {})
    return [
        Component(
            name=name,
            version=version,
            role=PackageRole.KUBEADM,
            installs={name: f"{BIN}/{name}"},
            downloads={
                arch: Download(
                    url=f"https://dl.k8s.io/release/v{version}/bin/linux/{arch}/{name}",
                    digest=_digest(sums.get(arch, {}).get(name)),
                )
                for arch in ARCHITECTURES
            },
            recipe=recipe,
        )
        for name in NODE_BINARIES
    ]


def _digest(value: str | None) -> str:
    return f"sha256:{value}" if value else ""


def _kubernetes_images(version: str, recipe: GoRecipe | None) -> list[ImageSpec]:
    return [
        ImageSpec(
            name=name,
            version=f"v{version}",
            ref=f"registry.k8s.io/{name}:v{version}",
            node_roles=EVERYWHERE if name == "kube-proxy" else CONTROL_PLANE,
            binary=name,
            entrypoint=f"{BIN}/{name}",
            recipe=recipe,
            base=_tools() if name == "kube-proxy" else None,
        )
        for name in SERVERS
    ]


def _tools() -> DebianLayer:
    facts = _data("components")["tools"]
    return DebianLayer(suite=facts["suite"], packages=tuple(facts["packages"]))


# -- containerd and what it runs ------------------------------------------------------------------


def _containerd_components() -> list[Component]:
    return [_containerd(), _runc(), _cni_plugins()]


def _containerd() -> Component:
    facts = _data("components")["containerd"]
    version, module = facts["version"], "github.com/containerd/containerd/v2"
    binaries = ("containerd", "containerd-shim-runc-v2", "ctr")
    base = f"{_GITHUB}/containerd/containerd/releases/download/v{version}"
    return Component(
        name="containerd",
        version=version,
        role=PackageRole.CONTAINERD,
        installs={name: f"{BIN}/{name}" for name in binaries},
        downloads={
            arch: Download(
                url=f"{base}/containerd-{version}-linux-{arch}.tar.gz",
                digest=_digest(facts["sha256"][arch]),
                members={f"bin/{name}": name for name in binaries},
            )
            for arch in ARCHITECTURES
        },
        recipe=_go(
            module,
            f"v{version}",
            facts["sum"],
            {name: f"{module}/cmd/{name}" for name in binaries},
            ldflags=f"-X {module}/version.Version=v{version}",
            seconds=95,
            memory_gib=1.5,
        ),
    )


def _runc() -> Component:
    facts = _data("components")["runc"]
    version, module = facts["version"], "github.com/opencontainers/runc"
    base = f"{_GITHUB}/opencontainers/runc/releases/download/v{version}"
    return Component(
        name="runc",
        version=version,
        role=PackageRole.CONTAINERD,
        installs={"runc": f"{BIN}/runc"},
        downloads={
            arch: Download(url=f"{base}/runc.{arch}", digest=_digest(facts["sha256"][arch]))
            for arch in ARCHITECTURES
        },
        recipe=_go(
            module,
            f"v{version}",
            facts["sum"],
            {"runc": module},
            ldflags=f"-X main.version={version} -extldflags -static",
            tags="seccomp,netgo,osusergo",
            cgo=True,
            libraries=("seccomp",),
            seconds=20,
        ),
    )


def _cni_plugins() -> Component:
    facts = _data("components")["cni-plugins"]
    version, module = facts["version"], "github.com/containernetworking/plugins"
    base = f"{_GITHUB}/containernetworking/plugins/releases/download/v{version}"
    return Component(
        name="cni-plugins",
        version=version,
        role=PackageRole.CONTAINERD,
        installs={name: f"{CNI_BIN}/{name}" for name in CNI_PLUGINS},
        downloads={
            arch: Download(
                url=f"{base}/cni-plugins-linux-{arch}-v{version}.tgz",
                digest=_digest(facts["sha256"][arch]),
                members={f"./{name}": name for name in CNI_PLUGINS},
            )
            for arch in ARCHITECTURES
        },
        recipe=_go(
            module,
            f"v{version}",
            facts["sum"],
            {name: f"{module}/plugins/{kind}/{name}" for name, kind in CNI_PLUGINS.items()},
            seconds=7,
        ),
    )


# -- images that belong to no component -----------------------------------------------------------


def _foundation_images(minor: Mapping[str, str]) -> list[ImageSpec]:
    pause, etcd, coredns = minor["pause"], minor["etcd"], minor["coredns"]
    etcd_module, coredns_module = "go.etcd.io/etcd/server/v3", "github.com/coredns/coredns"
    etcd_sum = _data("components")["etcd"][etcd]["sum"]
    coredns_sum = _data("components")["coredns"][coredns]["sum"]
    return [
        ImageSpec(
            name="pause",
            version=pause,
            ref=f"registry.k8s.io/pause:{pause}",
            node_roles=EVERYWHERE,
            binary="pause",
            entrypoint="/pause",
            recipe=CRecipe(
                binary="pause", source="pause.c", version=pause, expect=_expected("pause", pause)
            ),
        ),
        ImageSpec(
            name="etcd",
            version=etcd + ETCD_REVISION,
            ref=f"registry.k8s.io/etcd:{etcd}{ETCD_REVISION}",
            node_roles=CONTROL_PLANE,
            binary="etcd",
            entrypoint=f"{BIN}/etcd",
            recipe=_go(
                etcd_module,
                f"v{etcd}",
                etcd_sum,
                {"etcd": etcd_module},
                seconds=45,
            ),
        ),
        ImageSpec(
            name="coredns",
            version=f"v{coredns}",
            ref=f"registry.k8s.io/coredns/coredns:v{coredns}",
            node_roles=EVERYWHERE,
            binary="coredns",
            entrypoint="/coredns",
            recipe=_go(
                coredns_module,
                f"v{coredns}",
                coredns_sum,
                {"coredns": coredns_module},
                seconds=190,
                memory_gib=2.0,
            ),
        ),
    ]


def _flannel_images() -> list[ImageSpec]:
    daemon, plugin = _data("components")["flannel"], _data("components")["flannel-cni-plugin"]
    version, module = daemon["version"], "github.com/flannel-io/flannel"
    plugins_module = "github.com/containernetworking/plugins"
    plugin_ref = "ghcr.io/flannel-io/flannel-cni-plugin"
    return [
        ImageSpec(
            name="flannel",
            version=f"v{version}",
            ref=f"ghcr.io/flannel-io/flannel:v{version}",
            node_roles=EVERYWHERE,
            binary="flanneld",
            entrypoint="/opt/bin/flanneld",
            base=_tools(),
            recipe=_go(
                module,
                f"v{version}",
                daemon["sum"],
                {"flanneld": module},
                ldflags=f"-X {module}/pkg/version.Version=v{version} -extldflags -static",
                tags="netgo,osusergo",
                cgo=True,
                seconds=100,
                memory_gib=1.5,
            ),
        ),
        ImageSpec(
            name="flannel-cni-plugin",
            version=f"v{plugin['version']}",
            ref=f"{plugin_ref}:v{plugin['version']}",
            build_ref=f"{plugin_ref}:v{plugin['build_version']}",
            node_roles=EVERYWHERE,
            binary="flannel",
            entrypoint="/flannel",
            base=_tools(),
            recipe=_go(
                plugins_module,
                f"v{plugin['build_version']}",
                plugin["sum"],
                {"flannel": f"{plugins_module}/plugins/meta/flannel"},
                seconds=3,
            ),
        ),
    ]
