"""Manifests and indexes are judged as they are parsed, whichever program wrote them."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ohmykube.cache import manifest
from ohmykube.cache.manifest import Index, Manifest
from ohmykube.errors import IntegrityError

DIGEST = "sha256:" + "a" * 64
OTHER = "sha256:" + "b" * 64
CONFIG = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": DIGEST, "size": 3}
IMAGE: dict[str, Any] = {"schemaVersion": 2, "mediaType": manifest.OCI_MANIFEST, "config": CONFIG}
WORDS = ["manifests", '"manifests"', "fsLayers", "layers", '{"manifests": []}', "config"]


def parsed(document: object) -> Manifest | Index:
    return manifest.parse(json.dumps(document).encode(), "x")


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("place", ["annotations", "artifactType", "unknown", "media type"])
def test_words_in_a_document_do_not_decide_what_it_is(word: str, place: str) -> None:
    image: dict[str, Any] = {**IMAGE, "layers": [{**CONFIG, "annotations": {word: word}}]}
    if place == "annotations":
        image["annotations"] = {"org.example.kind": word, word: "x"}
    elif place == "media type":
        image["config"] = {**CONFIG, "mediaType": f"application/{word.replace(' ', '')}"}
    else:
        image[place] = word
    assert isinstance(parsed(image), Manifest)
    index = {"schemaVersion": 2, "manifests": [{**CONFIG, "annotations": {"layers": word}}]}
    assert isinstance(parsed(index), Index)


def test_an_image_that_is_an_index_too_is_refused() -> None:
    with pytest.raises(IntegrityError) as caught:
        parsed({**IMAGE, "layers": [CONFIG], "manifests": [CONFIG]})
    assert "at once" in (caught.value.why or "")
    assert isinstance(parsed({**IMAGE, "layers": [CONFIG], "manifests": None}), Manifest)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"[" * 100_000, b"\xff", b"{}"])
def test_what_is_no_manifest_is_refused(data: bytes) -> None:
    with pytest.raises(IntegrityError):
        manifest.parse(data, "x")


def with_nulls(document: dict[str, Any], fields: list[str]) -> dict[str, Any]:
    return {**document, **dict.fromkeys(fields)}


@pytest.mark.parametrize("number", range(1, 4))
def test_a_null_is_nothing_wherever_it_stands(number: int) -> None:
    """Go writes one for an empty list, a map and a pointer."""
    for fields in map(
        list, itertools.combinations(["annotations", "subject", "artifactType"], number)
    ):
        image = with_nulls(
            {**IMAGE, "layers": [with_nulls(CONFIG, ["platform", "urls", *fields])]}, fields
        )
        assert parsed(image) == parsed({**IMAGE, "layers": [CONFIG]})
        index = with_nulls({"manifests": [with_nulls(CONFIG, ["platform", *fields])]}, fields)
        assert parsed(index) == parsed({"manifests": [CONFIG]})
    assert parsed({**IMAGE, "layers": None}) == parsed({**IMAGE, "layers": []})
    platform = {"os": "linux", "architecture": "amd64", "variant": None}
    (entry,) = parsed({"manifests": [{**CONFIG, "platform": platform}]}).manifests  # type: ignore[union-attr]
    assert entry.platform is not None
    assert entry.platform.variant == ""


def entry(arch: str, variant: str | None, digest: str = DIGEST) -> dict[str, Any]:
    platform = {"os": "linux", "architecture": arch, **({"variant": variant} if variant else {})}
    return {**CONFIG, "digest": digest, "platform": platform}


BASELINES = {"amd64": ["", "v1"], "arm64": ["", "v8", "8"]}
HIGHER = {"amd64": ["v2", "v3", "v4"], "arm64": ["v8.1", "v8.2", "v9", "v9.5"]}


@given(st.data(), st.sampled_from(["amd64", "arm64"]))
def test_the_image_for_every_processor_is_taken_wherever_it_stands(
    data: st.DataObject, arch: str
) -> None:
    """Nobody knows here which variant a node's processor has."""
    baseline = data.draw(st.sampled_from(BASELINES[arch]))
    higher = data.draw(st.lists(st.sampled_from(HIGHER[arch]), unique=True))
    other = "arm64" if arch == "amd64" else "amd64"
    entries = data.draw(
        st.permutations(
            [entry(arch, baseline, OTHER), *(entry(arch, v) for v in higher), entry(other, None)]
        )
    )
    index = parsed({"manifests": entries})
    assert isinstance(index, Index)
    chosen = index.only(arch)
    assert chosen is not None
    assert chosen.digest == OTHER


@pytest.mark.parametrize("order", [1, -1])
def test_where_there_is_no_baseline_the_least_demanding_one_is_taken(order: int) -> None:
    for arch, variants in HIGHER.items():
        entries = [entry(arch, variants[0], OTHER), *(entry(arch, v) for v in variants[1:])]
        index = parsed({"manifests": entries[::order]})
        assert isinstance(index, Index)
        chosen = index.only(arch)
        assert chosen is not None
        assert chosen.digest == OTHER


def test_an_entry_without_a_platform_is_taken_when_it_is_the_only_one() -> None:
    alone, several = parsed({"manifests": [CONFIG]}), parsed({"manifests": [CONFIG, CONFIG]})
    assert isinstance(alone, Index)
    assert isinstance(several, Index)
    assert alone.only("amd64") == alone.manifests[0]
    assert several.only("amd64") is None
