"""``ohmykube bundle sbom`` on a real bundle."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ohmykube.cache.store import Ref, Store
from ohmykube.cli._run import run
from ohmykube.model.artifact import Kind
from tests import image_maker

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

REF = "registry.example.test/team/app:1.2"


def test_a_bundle_has_a_bill_of_materials(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(tmp_path / "home" / "cache")
    image = image_maker.image(3000)
    size = sum(map(len, image.blobs.values()))
    store.set_ref(Ref(Kind.IMAGE, REF, "1.2", "amd64", image.put(store), size, "load"))
    env = {"OHMYKUBE_HOME": str(tmp_path / "home"), "HOME": str(tmp_path)}
    bundle = tmp_path / "app.omk.tar"

    def call(*argv: str) -> str:
        assert run(list(argv), environ=env) == 0
        return capsys.readouterr().out

    call("cache", "export", REF, "--to", str(bundle), "-q")
    text = call("bundle", "sbom", str(bundle), "-q")
    document = json.loads(text)
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    (component,) = document["components"]
    assert component["name"] == REF
    assert component["hashes"] == [{"alg": "SHA-256", "content": image.digest[7:]}]
    assert call("bundle", "sbom", str(bundle)) == text
    missing = str(tmp_path / "no.omk.tar")
    assert run(["bundle", "sbom", missing], environ=env) == 6
