"""What machines of Lima are made from: what can be carried, and what is the user's to bring."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ohmykube.errors import (
    ConfigError,
    IntegrityError,
    Interrupted,
    LockedError,
    OhmykubeError,
    PrerequisiteError,
    ProviderError,
    ResourceError,
)
from ohmykube.kit import interrupt, locks
from ohmykube.progress import ItemProgress
from ohmykube.providers.base import Portable
from ohmykube.providers.lima import image_files, images
from ohmykube.providers.lima.image_files import Part
from ohmykube.providers.lima.images import Image
from ohmykube.providers.lima.preflight import Host
from tests.image_server import ImageServer, serving
from tests.lima_world import World, world

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ohmykube.kit import process
    from ohmykube.providers.lima.provider import LimaProvider

DATA = b"image"
DIGEST = f"sha256:{hashlib.sha256(DATA).hexdigest()}"
OTHER = "sha512:" + "b" * 128
URL = "https://a.test/a.img"


@pytest.fixture
def server() -> Iterator[ImageServer]:
    with serving() as found:
        found.files["a.img"] = DATA
        yield found


@pytest.fixture
def place() -> Iterator[World]:
    with world() as found:
        yield found


def of_template(place: World, content: dict[str, Any], **options: object) -> LimaProvider:
    path = place.root / "own.yaml"
    path.write_text(json.dumps(content))
    return place.provider(place.cluster(template=str(path), **options))


def from_server(place: World, server: ImageServer, digest: str = DIGEST) -> LimaProvider:
    return place.provider(place.cluster(image=server.url("a.img"), digest=digest))


# -- parts -----------------------------------------------------------------------------------------


def test_parts_of_an_image() -> None:
    (found,) = image_files.of_image(Image(location=URL, arch="x86_64", digest=DIGEST))
    assert found == Part(role="image", location=URL, digest=DIGEST)
    assert found.proved
    assert image_files.key((found,)) == DIGEST[7:23]


@pytest.mark.parametrize(
    ("location", "digest", "path"),
    [
        ("/a.img", DIGEST, Path("/a.img")),
        ("file:///a.img", "", Path("/a.img")),
        ("~/a.img", "", Path.home() / "a.img"),
        (URL, "", None),
        (URL, "md5:ab", None),
    ],
)
def test_what_is_not_proved(location: str, digest: str, path: Path | None) -> None:
    part = Part(role="image", location=location, digest=digest)
    assert not part.proved
    if not location.startswith("~"):  # each test has a home of its own
        assert part.path == path


def test_the_first_image_of_the_architecture_counts() -> None:
    content = {
        "images": [
            {"location": "https://a.test/arm", "arch": "aarch64", "digest": DIGEST},
            {"location": URL, "arch": "x86_64", "digest": DIGEST,
             "kernel": {"location": "/vmlinuz", "cmdline": "quiet"},
             "initrd": {"location": "https://a.test/initrd", "digest": OTHER}},
            {"location": "https://a.test/latest", "arch": "x86_64"},
        ]
    }  # fmt: skip
    assert image_files.of_template(content, "x86_64") == (
        Part(role="image", location=URL, digest=DIGEST),
        Part(role="kernel", location="/vmlinuz"),
        Part(role="initrd", location="https://a.test/initrd", digest=OTHER),
    )
    (found,) = image_files.of_template({**content, "arch": "aarch64"}, "x86_64")
    assert found.location == "https://a.test/arm"
    (found,) = image_files.of_template(
        {"images": [{"location": "/a"}], "arch": "default"}, "x86_64"
    )
    assert found.location == "/a"
    with pytest.raises(ConfigError) as caught:
        image_files.of_template(content, "riscv64")
    assert caught.value.id == "OMK-P-578"
    assert image_files.of_template({"base": "template:x"}, "x86_64") == ()


def test_the_key_is_of_the_content_alone() -> None:
    here = [Part(role="image", location=URL, digest=DIGEST),
            Part(role="kernel", location=URL + "k", digest=OTHER)]  # fmt: skip
    mirror = [Part(role=p.role, location=f"http://m/{p.role}", digest=p.digest) for p in here]
    swapped = [Part(role="image", location=URL, digest=OTHER),
               Part(role="kernel", location=URL, digest=DIGEST)]  # fmt: skip
    keys = [image_files.key(one) for one in (here, mirror, swapped, here[:1], here[1:], [])]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 5
    assert {len(key) for key in keys} == {0, 16}


# -- the provider ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", images.known())
@pytest.mark.parametrize("arch", ["amd64", "arm64"])
def test_our_images_are_known_by_their_digest(place: World, name: str, arch: str) -> None:
    host = Host(system="linux", uid=1000, architecture=arch)
    provider = place.provider(place.cluster(image=name), host)
    assert isinstance(provider, Portable)
    wanted = images.choose(name, arch).digest.partition(":")[2]
    assert wanted.startswith(provider.base_version())
    assert len(provider.base_version()) == 16
    assert (provider.has_base(), provider.own_parts()) == (False, [])
    assert not place.home.root.exists(), "nothing is made by asking"


def test_a_file_of_the_user_is_his_to_bring(place: World) -> None:
    provider = place.provider()
    assert provider.base_version() == ""
    (left,) = provider.own_parts()
    assert (left.name, left.here) == (f"machine image {place.image}", True)
    assert "bring it to that path" in left.needed


def test_a_template_of_the_user_is_his_to_bring(place: World) -> None:
    entry = {"location": URL, "digest": DIGEST, "kernel": {"location": "/no/vmlinuz"}}
    provider = of_template(place, {"images": [entry]})
    assert provider.base_version() == DIGEST[7:23]
    assert [(one.name, one.here) for one in provider.own_parts()] == [
        (f"machine template {place.root / 'own.yaml'}", True),
        ("machine kernel /no/vmlinuz", False),
    ]


def test_what_a_template_builds_on_is_not_known(place: World) -> None:
    provider = of_template(place, {"base": "template:debian"}, allowUnverifiedImage=True)
    assert provider.base_version() == ""
    names = [one.name for one in provider.own_parts()]
    assert names[1].startswith("image of the machine template")
    assert "embed that" in provider.own_parts()[1].needed


def test_without_a_digest_it_is_never_at_hand(place: World) -> None:
    provider = place.provider(place.cluster(image=URL, allowUnverifiedImage=True))
    assert provider.base_version() == ""
    assert [(one.name, one.here) for one in provider.own_parts()] == [
        (f"machine image {URL} without a digest", False)
    ]


# -- getting it ------------------------------------------------------------------------------------


def fetched(place: World) -> list[str]:
    events = [one for one in place.reporter.events if isinstance(one, ItemProgress)]
    return [str(one.status) for one in events if one.item == "machine image"]


def cached() -> list[str]:
    root = Path.home() / "xdg-cache"
    return sorted(path.name for path in root.rglob("*") if path.is_file())


def test_limactl_gets_it_once(place: World, server: ImageServer) -> None:
    (place.home.own / "f" / "i").mkdir(parents=True)  # of a run that was killed
    provider = from_server(place, server)
    provider.export_base(place.root / "a.tar")
    assert fetched(place) == ["None", "ok"]
    provider.export_base(place.root / "b.tar")
    assert fetched(place) == ["None", "ok"]
    assert server.asked == ["GET /a.img"]
    assert not (place.home.own / "f").exists()
    assert place.limactl.list() == ()


def test_only_the_image_that_counts_is_got(place: World, server: ImageServer) -> None:
    first = {"location": server.url("gone.img"), "digest": DIGEST}
    second = {"location": server.url("a.img"), "digest": DIGEST}
    provider = of_template(place, {"images": [first, second]})
    with pytest.raises(OhmykubeError) as caught:
        provider.export_base(place.root / "a.tar")
    assert caught.value.id == "OMK-P-579"
    assert server.asked == ["GET /gone.img"]


def test_another_file_than_its_digest_says(place: World, server: ImageServer) -> None:
    provider = from_server(place, server, "sha384:" + "c" * 96)
    with pytest.raises(IntegrityError) as caught:
        provider.export_base(place.root / "a.tar")
    assert caught.value.id == "OMK-P-576"
    assert cached() == ["time", "type", "url"]


def test_no_space_left() -> None:
    with world(FAKE_LIMA_FAULTS="no-space") as place, serving() as server:
        with pytest.raises(ResourceError) as caught:
            from_server(place, server).export_base(place.root / "a.tar")
        assert caught.value.id == "OMK-P-413"
        assert not (place.home.own / "f").exists()


def test_killed_while_it_downloads() -> None:
    with world(FAKE_LIMA_FAULTS="download-killed") as place, serving() as server:
        server.files["a.img"] = DATA
        with pytest.raises(ProviderError, match="could not get the machine image") as caught:
            from_server(place, server).export_base(place.root / "a.tar")
        assert caught.value.id == "OMK-P-580"
        assert "data" not in cached()
        assert not [name for name in cached() if name.startswith("data.tmp")]
        assert not (place.home.own / "f").exists()


def test_a_limactl_that_keeps_it_elsewhere(server: ImageServer, tmp_path: Path) -> None:
    with world(XDG_CACHE_HOME=str(tmp_path / "elsewhere")) as place:
        with pytest.raises(ProviderError) as caught:
            from_server(place, server).export_base(place.root / "a.tar")
        assert caught.value.id == "OMK-P-577"


def test_no_limactl(place: World, server: ImageServer) -> None:
    gone = World(place.root, Path("/no/limactl"), _absent)
    with pytest.raises(PrerequisiteError) as caught:
        from_server(gone, server).export_base(place.root / "a.tar")
    assert caught.value.id == "OMK-P-402"


def _absent(*_words: object, **_options: object) -> process.Result:
    raise PrerequisiteError("`limactl` is not installed")


def test_stopped_on_request(place: World, server: ImageServer) -> None:
    def stopped(*words: Any, **options: Any) -> process.Result:
        (Path(options["env"]["LIMA_HOME"]) / "i").mkdir(parents=True)
        interrupt.requested.set()
        raise interrupt.interrupted()

    with pytest.raises(Interrupted):
        from_server(World(place.root, place.program, stopped), server).export_base(
            place.root / "a.tar"
        )
    interrupt.requested.clear()
    assert not (place.home.own / "f").exists()
    from_server(place, server).export_base(place.root / "a.tar")


def test_stopped_while_another_run_gets_it(place: World, server: ImageServer) -> None:
    with locks.exclusive(place.home.own / "fetch.lock", "x"):
        interrupt.requested.set()
        with pytest.raises((Interrupted, LockedError)):
            from_server(place, server).export_base(place.root / "a.tar")
    assert server.asked == []
