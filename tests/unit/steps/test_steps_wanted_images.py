"""Which of an image's bytes a node lacks: what is unpacked needs no blob."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import pytest

from ohmykube.cache import oci, repack
from ohmykube.cache.store import Ref, Store
from ohmykube.model.artifact import Kind
from ohmykube.steps import wanted_images
from tests import image_maker

if TYPE_CHECKING:
    from pathlib import Path

    from ohmykube.steps.wanted_images import Wanted

NOTHING: frozenset[str] = frozenset()
BIG = repack.WORTH + 50_000


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


def wanted(store: Store, image: image_maker.Image) -> Wanted:
    image.put(store)
    size = oci.image_size(store, image.digest)
    ref = Ref(Kind.IMAGE, "docker.io/library/app:1", "1", "amd64", image.digest, size, "load")
    store.set_ref(ref)
    return wanted_images.wanted_of(store, [ref])[0]


def diffs(image: image_maker.Image) -> list[str]:
    config = image.blobs[json.loads(image.manifest)["config"]["digest"]]
    found: list[str] = json.loads(config)["rootfs"]["diff_ids"]
    return found


def with_diffs(image: image_maker.Image, listed: list[str], times: int = 1) -> image_maker.Image:
    """Return the image with other digests of plain tars, and its layers so many times."""
    document = json.loads(image.manifest)
    before = document["config"]["digest"]
    config = json.loads(image.blobs[before])
    config["rootfs"]["diff_ids"] = listed
    text = json.dumps(config).encode()
    document["config"] = image_maker.describe(text, document["config"]["mediaType"])
    document["layers"] *= times
    blobs = {digest: data for digest, data in image.blobs.items() if digest != before}
    blobs[document["config"]["digest"]] = text
    return image_maker.Image(json.dumps(document).encode(), blobs)


def test_chain_ids_follow_the_rule_of_the_specification() -> None:
    a, b, c = ("sha256:" + letter * 64 for letter in "abc")
    ab = "sha256:" + hashlib.sha256(f"{a} {b}".encode()).hexdigest()
    abc = "sha256:" + hashlib.sha256(f"{ab} {c}".encode()).hexdigest()
    assert wanted_images.chain_ids([a, b, c]) == [a, ab, abc]
    assert wanted_images.chain_ids([]) == []


def test_whole_is_what_can_be_started(store: Store) -> None:
    image = image_maker.image(1000, 2000)
    form = wanted(store, image).form
    chains = wanted_images.chain_ids(diffs(image))
    rest = form.blobs.keys() - set(image.layers)
    assert form.is_whole(frozenset([*rest, *chains]))
    assert not form.is_whole(frozenset([*rest, chains[0]])), "the upper layer is not unpacked"
    assert not form.is_whole(frozenset(form.blobs)), "no layer is unpacked"
    for one in rest:
        assert not form.is_whole(frozenset([*rest, *chains]) - {one})
    assert not form._replace(chains={}).is_whole(frozenset(form.blobs))


def test_what_is_there_or_unpacked_is_not_lacking(store: Store) -> None:
    image = image_maker.image(1000, 2000)
    form = wanted(store, image).form
    everything = {image.digest: len(image.manifest)} | {d: len(b) for d, b in image.blobs.items()}
    assert form.lacking(NOTHING) == everything
    low, top = image.layers
    assert form.lacking(frozenset({low})).keys() == everything.keys() - {low}
    chains = wanted_images.chain_ids(diffs(image))
    assert form.lacking(frozenset(chains[:1])).keys() == everything.keys() - {low}
    assert form.lacking(frozenset(chains)).keys() == everything.keys() - {low, top}
    # The tar of the upper layer alone says nothing: what is below belongs to its chain ID.
    assert form.lacking(frozenset({diffs(image)[1]})) == everything


@pytest.mark.parametrize("listed", [0, 1, 3])
def test_an_artifact_whose_config_lists_no_layers_is_never_whole(store: Store, listed: int) -> None:
    """Charts and the like travel as images do, but no node unpacks them."""
    image = image_maker.image(1000, 2000)
    given = (diffs(image) * 2)[:listed]
    form = wanted(store, with_diffs(image, given)).form
    assert form.chains == {}
    assert not form.is_whole(frozenset([*form.blobs, *wanted_images.chain_ids(given)]))
    assert form.lacking(frozenset(given)) == form.blobs


def test_a_layer_that_is_in_an_image_twice_must_be_unpacked_twice(store: Store) -> None:
    image = image_maker.image(1000)
    twice = diffs(image) * 2
    form = wanted(store, with_diffs(image, twice, times=2)).form
    lower, upper = wanted_images.chain_ids(twice)
    assert image.layers[0] in form.lacking(frozenset({lower}))
    assert image.layers[0] not in form.lacking(frozenset({lower, upper}))


def test_the_repacked_form_is_taken_only_where_it_spares_work(store: Store) -> None:
    image = image_maker.image(BIG, 1000)
    plain = wanted(store, image)
    assert plain.repacked is None
    assert plain.cheapest(NOTHING) == plain.form
    repack.make(store, repack.plan(store, [plain.ref]))
    both = wanted(store, image)
    assert both.repacked is not None
    assert both.cheapest(NOTHING) == both.repacked
    low, top = wanted_images.chain_ids(diffs(image))
    assert both.cheapest(frozenset({low, top})) == both.form
    # Only the small layer is missing, and it is the same in both.
    assert both.cheapest(frozenset({low})) == both.form
    # The blob is there, though not unpacked: nothing but the manifest need travel.
    assert both.cheapest(frozenset({image.layers[0], top})) == both.form
    assert both.own(NOTHING) == {image.digest: len(image.manifest)}
    assert both.own(frozenset({image.digest})) == {}
