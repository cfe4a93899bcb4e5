"""Components and images of one release, with the recipes to build them; facts in ``data/``."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ohmykube.cache.catalog import (
    ARCHITECTURES,
    Component,
    CRecipe,
    DebianLayer,
    Download,
    Form,
    GoRecipe,
    ImageSpec,
    Signed,
)
from ohmykube.kit import plain_yaml
from ohmykube.model.artifact import PackageRole

if TYPE_CHECKING:
    from collections.abc import Mapping

DATA = Path(__file__).parent / "data"
BIN = "/usr/local/bin"
CNI_BIN = "/opt/cni/bin"
CNI_PLUGINS = {"bridge": "main", "host-local": "ipam", "loopback": "main", "portmap": "meta"}
EVERYWHERE = ("control-plane", "worker")
CONTROL_PLANE = ("control-plane",)
ETCD_REVISION = "-0"
"""Suffix of the tag of Kubernetes' own etcd image."""
_GITHUB = "https://github.com"


@functools.cache
def data(name: str) -> dict[str, Any]:
    """Return one file of ``data/``, read once."""
    document: dict[str, Any] = plain_yaml.load((DATA / f"{name}.yaml").read_text())
    return document


def _expected(module: str, version: str) -> dict[str, dict[str, str]]:
    known: dict[str, dict[str, str]] = data("expected").get(f"{module}@{version}", {})
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


def kubernetes_recipe(version: str) -> GoRecipe | None:
    """Return how Kubernetes itself is built; None for a version that is not pinned."""
    facts = data("kubernetes")["releases"].get(version)
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


def kubeadm_components(version: str, recipe: GoRecipe | None) -> list[Component]:
    """Return what kubeadm needs on every node."""
    sums = (data("kubernetes")["releases"].get(version) or {}).get("sha256", {})
    return [
        Component(
            name=name,
            version=version,
            role=PackageRole.KUBEADM,
            installs={name: f"{BIN}/{name}"},
            downloads={
                arch: _kubernetes_file(
                    f"https://dl.k8s.io/release/v{version}/bin/linux/{arch}/{name}",
                    _digest(sums.get(arch, {}).get(name)),
                )
                for arch in ARCHITECTURES
            },
            recipe=recipe,
        )
        for name in NODE_BINARIES
    ]


def _kubernetes_file(url: str, digest: str) -> Download:
    signed = Signed(
        form=Form.COSIGN_PAIR,
        files={"signature": f"{url}.sig", "certificate": f"{url}.cert"},
        **data("kubernetes")["signer"],
    )
    return Download(url=url, digest=digest, signed=signed)


def _digest(value: str | None) -> str:
    return f"sha256:{value}" if value else ""


def kubernetes_images(version: str, recipe: GoRecipe | None) -> list[ImageSpec]:
    """Return the images of the control plane and kube-proxy."""
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
    facts = data("components")["tools"]
    return DebianLayer(suite=facts["suite"], packages=tuple(facts["packages"]))


# -- containerd and what it runs ------------------------------------------------------------------


def containerd_components() -> list[Component]:
    """Return containerd and what it runs."""
    return [_containerd(), _runc(), _cni_plugins()]


def _containerd() -> Component:
    facts = data("components")["containerd"]
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
                sums=f"{base}/containerd-{version}-linux-{arch}.tar.gz.sha256sum",
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
    facts = data("components")["runc"]
    version, module = facts["version"], "github.com/opencontainers/runc"
    base = f"{_GITHUB}/opencontainers/runc/releases/download/v{version}"
    return Component(
        name="runc",
        version=version,
        role=PackageRole.CONTAINERD,
        installs={"runc": f"{BIN}/runc"},
        downloads={
            arch: Download(
                url=f"{base}/runc.{arch}",
                digest=_digest(facts["sha256"][arch]),
                sums=f"{base}/runc.sha256sum",
                signed=Signed(
                    form=Form.PGP,
                    files={"signature": f"{base}/runc.{arch}.asc"},
                    keyring="runc",
                ),
            )
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
    facts = data("components")["cni-plugins"]
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


def foundation_images(minor: Mapping[str, str]) -> list[ImageSpec]:
    """Return what kubeadm runs beside Kubernetes: pause, etcd, CoreDNS."""
    pause, etcd, coredns = minor["pause"], minor["etcd"], minor["coredns"]
    etcd_module, coredns_module = "go.etcd.io/etcd/server/v3", "github.com/coredns/coredns"
    etcd_sum = data("components")["etcd"][etcd]["sum"]
    coredns_sum = data("components")["coredns"][coredns]["sum"]
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


def flannel_images() -> list[ImageSpec]:
    """Return the pod network's daemon and its CNI plugin."""
    daemon, plugin = data("components")["flannel"], data("components")["flannel-cni-plugin"]
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
