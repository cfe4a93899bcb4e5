"""A store with two small images, a package and a machine image, and bundles made of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from ohmykube.cache.bundle import contents, write
from ohmykube.cache.store import Ref, Store
from ohmykube.model.artifact import Kind
from ohmykube.progress import NullReporter
from tests.image_maker import Image, image

if TYPE_CHECKING:
    from pathlib import Path

QUIET = NullReporter()


def image_ref(store: Store, made: Image, name: str) -> Ref:
    """Put an image into the store and name it."""
    ref = Ref(Kind.IMAGE, name, name.rpartition(":")[2], "amd64", made.put(store), 1, "build")
    store.set_ref(ref)
    return ref


def file_ref(store: Store, data: bytes, kind: Kind, name: str, **more: str) -> Ref:
    """Put anything else into the store and name it."""
    digest = store.put_bytes(data)
    ref = Ref(kind, name, "1", "amd64", digest, len(data), "build", **more)
    store.set_ref(ref)
    return ref


@dataclass
class Workshop:
    """A store, and what of it goes into bundles."""

    store: Store
    wanted: list[tuple[Ref, str]]

    @property
    def content(self) -> contents.BundleContents:
        refs = tuple(ref for ref, _ in self.wanted)
        return contents.BundleContents(
            name="dev",
            refs=refs,
            entries=contents.entries(self.store, self.wanted),
            components=contents.components(refs, None),
            kubernetes="1.36.3",
            arch="amd64",
            provider="nspawn",
        )

    def write(self, target: Path, **form: object) -> write.Written:
        return write.write(self.store, self.content, target, write.Form(**form), QUIET)


def furnished(root: Path) -> Workshop:
    """Make a workshop in a directory."""
    store = Store(root)
    shared = image(700, 3000)
    return Workshop(
        store,
        [
            (image_ref(store, shared, "registry.test/app:1"), "node"),
            (image_ref(store, image(700, seed=3), "registry.test/api:2"), "control-plane"),
            (file_ref(store, b"package " * 200, Kind.PACKAGE, "kubeadm"), "node"),
            (file_ref(store, b"base " * 300, Kind.MACHINE_IMAGE, "nspawn"), "machine"),
        ],
    )


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return furnished(tmp_path / "workshop")


@pytest.fixture
def elsewhere(tmp_path: Path) -> Store:
    """A store with nothing in it, on the other side."""
    return Store(tmp_path / "elsewhere")


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The same bundle in one file and in parts, by the ends of the names."""
    directory = tmp_path_factory.mktemp("pristine")
    made = furnished(directory / "store")
    made.write(directory / "dev.omk.tar")
    made.write(directory / "parts.omk.tar", split=4096)
    return {path.name: path.read_bytes() for path in directory.glob("*.omk.tar*")}


@pytest.fixture
def bundle(pristine: dict[str, bytes], tmp_path: Path) -> Path:
    target = tmp_path / "dev.omk.tar"
    target.write_bytes(pristine[target.name])
    return target


@pytest.fixture
def divided(pristine: dict[str, bytes], tmp_path: Path) -> Path:
    for name, data in pristine.items():
        if name.startswith("parts."):
            (tmp_path / name).write_bytes(data)
    return tmp_path / "parts.omk.tar"
