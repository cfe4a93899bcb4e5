"""The bill of materials: what is in it, and that it is one by CycloneDX's own schema."""

from __future__ import annotations

import json
import urllib.parse
from dataclasses import replace
from importlib import resources
from typing import Any

import jsonschema
import pytest
from cyclonedx.schema import _res
from packageurl import PackageURL
from referencing import Registry, Resource

from ohmykube.cache import releases, sbom
from ohmykube.cache.refs import Ref, Signature
from ohmykube.kit import digest as digests
from ohmykube.model.artifact import Kind, PackageRole

VERSION = "1.36.3"


def schema(name: str) -> dict[str, Any]:
    text = resources.files(_res).joinpath(f"{name}.SNAPSHOT.schema.json").read_text()
    loaded: dict[str, Any] = json.loads(text)
    return loaded


@pytest.fixture(scope="module")
def validator() -> jsonschema.protocols.Validator:
    shape = schema("bom-1.6")
    # The others are named by their files, relative to this one's own name.
    registry = Registry().with_resources(
        [
            (
                urllib.parse.urljoin(shape["$id"], f"{name}.SNAPSHOT.schema.json"),
                Resource.from_contents(schema(name)),
            )
            for name in ("spdx", "jsf-0.82")
        ]
    )
    return jsonschema.Draft7Validator(shape, registry=registry)


def ref(kind: Kind, name: str, version: str = "1", **more: Any) -> Ref:
    digest = digests.of_bytes(f"{kind}{name}{version}".encode())
    fields = {"arch": "amd64", "digest": digest, "size": 5, "source": "build", **more}
    return Ref(kind=kind, name=name, version=version, **fields)


def whole(source: str = "build") -> list[Ref]:
    """Return what a bundle of a cluster holds."""
    release = releases.release(VERSION)
    packages = [ref(Kind.PACKAGE, role.value, VERSION, source=source) for role in PackageRole]
    images = [
        ref(
            Kind.IMAGE,
            (i.build_ref if source == "build" else "") or i.ref,
            i.version,
            source=source,
        )
        for i in release.images
    ]
    return [
        *packages,
        *images,
        ref(Kind.MACHINE_IMAGE, "nspawn", "abc"),
        ref(Kind.FILE, "ohmykube-0.1.0-py3-none-any.whl", "0.1.0", arch=""),
        ref(Kind.FILE, "signature-of", "sha256:x"),
        ref(Kind.BINARY, "upstream:kubelet", VERSION, url="https://dl.test/kubelet#sha256:x"),
    ]


def named(found: dict[str, Any], name: str) -> dict[str, Any]:
    (one,) = [part for part in found["components"] if part["name"] == name]
    return dict(one)


@pytest.mark.parametrize("source", ["build", "upstream", "build+upstream"])
@pytest.mark.parametrize("kubernetes", [VERSION, "", "9.9.9"])
def test_it_is_valid(
    validator: jsonschema.protocols.Validator, source: str, kubernetes: str
) -> None:
    found = sbom.document(whole(source), name="dev", kubernetes=kubernetes)
    assert [error.message for error in validator.iter_errors(found)] == []
    # The schema says uniqueItems of bom-refs in words only.
    every = [part for top in found["components"] for part in (top, *top.get("components", ()))]
    assert len({part["bom-ref"] for part in every}) == len(every)
    for part in every:
        assert PackageURL.from_string(part["purl"]).name
    assert len(found["components"]) == len(whole(source)) - 1


def test_the_schema_can_fail(validator: jsonschema.protocols.Validator) -> None:
    found = sbom.document(whole(), name="dev")
    found["components"][0]["licenses"] = [{"license": {"id": "No-Such-Licence"}}]
    assert list(validator.iter_errors(found))
    found = sbom.document(whole(), name="dev")
    del found["components"][0]["name"]
    assert list(validator.iter_errors(found))


def test_images_have_the_name_that_registries_know() -> None:
    found = sbom.document(whole("upstream"), name="dev", kubernetes=VERSION)
    pause = named(found, "registry.k8s.io/pause:3.10.2")
    purl = PackageURL.from_string(pause["purl"])
    assert (purl.type, purl.name) == ("oci", "pause")
    assert purl.version == f"sha256:{pause['hashes'][0]['content']}"
    assert purl.qualifiers == {
        "arch": "amd64",
        "repository_url": "registry.k8s.io/pause",
        "tag": "3.10.2",
    }
    assert pause["type"] == "container"
    assert pause["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    assert "components" not in pause


def test_what_was_built_names_its_modules_and_debian_packages() -> None:
    found = sbom.document(whole(), name="dev", kubernetes=VERSION)
    kubeadm = named(found, "kubeadm")
    assert {part["name"] for part in kubeadm["components"]} == {"kubeadm", "kubectl", "kubelet"}
    assert {part["purl"] for part in kubeadm["components"]} == {
        f"pkg:golang/k8s.io/kubernetes@v{VERSION}"
    }
    proxy = named(found, f"registry.k8s.io/kube-proxy:v{VERSION}")
    inside = {part["name"]: part["purl"] for part in proxy["components"]}
    assert inside["kube-proxy"] == f"pkg:golang/k8s.io/kubernetes@v{VERSION}"
    assert inside["iptables"] == "pkg:deb/debian/iptables?arch=amd64&distro=bookworm"
    (composition,) = found["compositions"]
    assert composition["aggregate"] == "incomplete"


def test_what_was_fetched_names_its_file() -> None:
    found = sbom.document(whole("upstream"), name="dev", kubernetes=VERSION)
    (runc,) = [p for p in named(found, "containerd")["components"] if p["name"] == "runc"]
    purl = PackageURL.from_string(runc["purl"])
    assert purl.type == "generic"
    assert str(purl.qualifiers["checksum"]).startswith("sha256:")
    assert runc["externalReferences"][0]["url"].endswith("/runc.amd64")
    fetched = named(found, "upstream:kubelet")
    assert fetched["externalReferences"][0]["url"] == "https://dl.test/kubelet"
    assert fetched["licenses"] == [{"license": {"id": "Apache-2.0"}}]


def test_a_file_without_a_sum_or_for_another_machine_is_listed() -> None:
    """Of the newest release the sums are not in the catalog; of riscv64 there are no files."""
    packages = [
        ref(Kind.PACKAGE, "kubeadm", "1.37.2", source="upstream", arch=arch)
        for arch in ("amd64", "riscv64")
    ]
    found = sbom.document(packages, name="dev", kubernetes="1.37.2")
    inside = {c["bom-ref"]: c["components"] for c in found["components"]}
    known, unknown = (
        inside["package/kubeadm@1.37.2/amd64"],
        inside["package/kubeadm@1.37.2/riscv64"],
    )
    assert "checksum" not in PackageURL.from_string(known[0]["purl"]).qualifiers
    assert [part["name"] for part in unknown] == [part["name"] for part in known]
    assert all("purl" not in part for part in unknown)


def test_signatures_are_told() -> None:
    one = ref(Kind.BINARY, "x", signature=Signature.VERIFIED, upstream_sum="sha256:y", index="")
    found = sbom.document([one, replace(one, name="y", signature="")], name="dev")
    told = [{p["name"]: p["value"] for p in c["properties"]} for c in found["components"]]
    assert [facts["ohmykube:signature"] for facts in told] == ["verified", "unchecked"]
    assert told[0]["ohmykube:upstreamSum"] == "sha256:y"
    assert "ohmykube:index" not in told[0]


def test_the_same_content_gives_the_same_document() -> None:
    refs = whole()
    one = sbom.document(refs, name="dev", kubernetes=VERSION)
    two = sbom.document(reversed(refs), name="dev", kubernetes=VERSION)
    assert json.dumps(one) == json.dumps(two)
    other = sbom.document(refs[1:], name="dev", kubernetes=VERSION)
    assert other["serialNumber"] != one["serialNumber"]
    bundle = sbom.document(refs, name="dev", digest=digests.of_bytes(b"bundle"))
    assert bundle["serialNumber"] not in (one["serialNumber"], other["serialNumber"])


@pytest.mark.parametrize(
    ("name", "repository", "tag"),
    [
        ("x.io:5000/a/b", "x.io:5000/a/b", None),
        ("x.io:5000/a/b:t", "x.io:5000/a/b", "t"),
        ("x.io/a@sha256:" + "0" * 64, "x.io/a", None),
        ("x.io/a:t@sha256:" + "0" * 64, "x.io/a", "t"),
    ],
)
def test_references_are_taken_apart(name: str, repository: str, tag: str | None) -> None:
    (found,) = sbom.document([ref(Kind.IMAGE, name)], name="dev")["components"]
    qualifiers = PackageURL.from_string(found["purl"]).qualifiers
    assert (qualifiers["repository_url"], qualifiers.get("tag")) == (repository, tag)
