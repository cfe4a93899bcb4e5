"""The catalog's data: complete for both architectures, every supported release makes sense."""

from __future__ import annotations

import dataclasses

import pytest

from ohmykube.cache import catalog, releases
from ohmykube.errors import ConfigError, ExitCode
from ohmykube.kit import digest
from ohmykube.model.artifact import PackageRole

FOUNDATION = {
    "1.35.4": ("3.10.1", "3.6.6-0", "v1.13.1"),
    "1.36.3": ("3.10.2", "3.6.8-0", "v1.14.2"),
    "1.36.4": ("3.10.2", "3.6.8-0", "v1.14.2"),
    "1.37.2": ("3.10.2", "3.7.0-0", "v1.14.6"),
}


def test_the_default_can_be_built() -> None:
    assert releases.default_version() == "1.36.3"
    assert releases.default_version() in releases.buildable()
    assert releases.buildable() == tuple(FOUNDATION)
    assert releases.supported_minors() == ("1.35", "1.36", "1.37")


@pytest.mark.parametrize("version", FOUNDATION)
def test_a_release_has_the_images_that_its_kubeadm_asks_for(version: str) -> None:
    release = releases.release(version)
    pause, etcd, coredns = FOUNDATION[version]
    assert release.image("pause").ref == f"registry.k8s.io/pause:{pause}"
    assert release.image("etcd").ref == f"registry.k8s.io/etcd:{etcd}"
    assert release.image("coredns").ref == f"registry.k8s.io/coredns/coredns:{coredns}"
    assert release.image("kube-proxy").ref == f"registry.k8s.io/kube-proxy:v{version}"
    kubernetes = release.sets[1]
    assert kubernetes.variables == {"kubeadm_etcd_image_tag": "", "kubeadm_dns_image_tag": ""}
    assert kubernetes.image_variables == {"containerd_sandbox_image": "pause"}


@pytest.mark.parametrize("version", FOUNDATION)
def test_everything_that_can_be_built_is_pinned(version: str) -> None:
    release = releases.release(version)
    for spec in (*release.components, *release.images):
        assert spec.recipe is not None
        if isinstance(spec.recipe, catalog.GoRecipe):
            assert spec.recipe.sum.startswith("h1:")
            assert spec.recipe.version.startswith("v")
        for digests in spec.recipe.expect.values():
            assert all(digest.is_digest(value) for value in digests.values())


def test_every_download_is_there_for_both_architectures() -> None:
    for version in FOUNDATION:
        for component in releases.release(version).components:
            assert tuple(component.downloads) == catalog.ARCHITECTURES
            for arch, download in component.downloads.items():
                assert download.url.startswith("https://")
                assert arch in download.url
                # 1.37.2 is younger than our source of sums: its sum is published beside the file.
                assert digest.is_digest(download.digest) or version == "1.37.2"
                binaries = set(download.members.values()) or {component.name}
                assert binaries == set(component.installs)


def test_workers_need_no_control_plane_image() -> None:
    workers = {i.name for i in releases.release("1.36.3").images if "worker" in i.node_roles}
    assert workers == {"pause", "kube-proxy", "coredns"}


def test_places_on_the_node() -> None:
    release = releases.release("1.36.3")
    containerd = {
        path for c in release.of_package(PackageRole.CONTAINERD) for path in c.installs.values()
    }
    assert containerd == {
        *(f"/usr/local/bin/{n}" for n in ("containerd", "containerd-shim-runc-v2", "ctr", "runc")),
        *(f"/opt/cni/bin/{n}" for n in ("bridge", "host-local", "loopback", "portmap")),
    }
    kubeadm = {
        path for c in release.of_package(PackageRole.KUBEADM) for path in c.installs.values()
    }
    assert kubeadm == {f"/usr/local/bin/{n}" for n in ("kubeadm", "kubelet", "kubectl")}


def test_an_unknown_patch_comes_from_upstream_with_explicit_tags() -> None:
    release = releases.release("1.36.9")
    assert release.sets[1].variables == {
        "kubeadm_etcd_image_tag": "3.6.8-0",
        "kubeadm_dns_image_tag": "v1.14.2",
    }
    kubeadm = next(c for c in release.components if c.name == "kubeadm")
    assert kubeadm.recipe is None
    assert kubeadm.downloads["amd64"].digest == ""
    assert release.image("kube-apiserver").recipe is None
    assert release.image("etcd").recipe is not None


@pytest.mark.parametrize(
    "version",
    ["1.34.4", "1.38.0", "v1.36.3", "1.36", "1.36.03", "1.36.3 ", "../1.36.3", "", "1.36.x"],
)
def test_an_unsupported_version_is_refused_with_the_supported_ones(version: str) -> None:
    with pytest.raises(ConfigError) as caught:
        releases.release(version)
    assert caught.value.exit_code is ExitCode.CONFIG
    assert "1.35.x, 1.36.x, 1.37.x" in (caught.value.why or "")
    assert "1.36.3" in (caught.value.hint or "")


def test_an_unknown_image_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        releases.release("1.36.3").image("nginx")


def test_the_key_follows_what_is_built_and_nothing_else() -> None:
    image = releases.release("1.36.3").image("kube-proxy")
    assert isinstance(image.recipe, catalog.GoRecipe)
    slower = dataclasses.replace(
        image, recipe=dataclasses.replace(image.recipe, seconds=1, expect={"x": {}})
    )
    other = dataclasses.replace(image, recipe=dataclasses.replace(image.recipe, tags="x"))
    assert catalog.key(image, built=True) == catalog.key(slower, built=True)
    assert catalog.key(image, built=True) != catalog.key(other, built=True)
    assert catalog.key(image, built=False) == catalog.key(other, built=False)
    moved = dataclasses.replace(image, entrypoint="/elsewhere")
    assert catalog.key(image, built=False) != catalog.key(moved, built=False)


def test_a_later_field_leaves_the_key_of_what_was_made_before() -> None:
    recipe = catalog.GoRecipe(
        module="a.org/b", version="v1.2.3", sum="h1:x=", packages={"b": "a.org/b"}
    )
    assert catalog.key(recipe, built=True) == "7a5977bed4f5ea3f"
    other = dataclasses.replace(recipe, replace={"c.org/c": "c.org/c@v1.0.0"})
    assert catalog.key(other, built=True) != catalog.key(recipe, built=True)


def test_recipes_have_names() -> None:
    release = releases.release("1.36.3")
    names = {image.recipe.name for image in release.images if image.recipe}
    assert "k8s.io/kubernetes@v1.36.3" in names
    assert "pause 3.10.2" in names
