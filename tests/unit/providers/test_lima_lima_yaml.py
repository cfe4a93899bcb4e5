"""What Lima is asked for: options, images by digest, and the template of a machine."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from ohmykube.errors import ConfigError
from ohmykube.kit import architecture
from ohmykube.model.cluster import Cluster, Node, Role
from ohmykube.providers.lima import images, lima_yaml, marker, options
from ohmykube.providers.lima.images import Image
from ohmykube.providers.lima.lima_yaml import LimaTemplate, Shape
from ohmykube.providers.lima.options import Options

if TYPE_CHECKING:
    from pathlib import Path

DIGEST = "sha256:" + "a" * 64


def given(**raw: object) -> Options:
    nodes = (Node(name="cp1", role=Role.CONTROL_PLANE), Node(name="w1", role=Role.WORKER))
    return options.of(
        Cluster(
            name="dev",
            kubernetes_version="1.36.3",
            provider="lima",
            nodes=nodes,
            provider_options=raw,
        )
    )


# -- options ---------------------------------------------------------------------------------------


def test_without_a_cluster_there_are_defaults() -> None:
    assert options.of(None) == given() == Options()


def test_options_are_read() -> None:
    found = given(
        image="debian-13", emulation=True, disks={"w1": ["20GiB", "5 GiB"], "*": ["1GiB"]}
    )
    assert (found.image, found.emulation) == ("debian-13", True)
    assert (found.disks_of("w1"), found.disks_of("cp1")) == ((20, 5), (1,))


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"imag": "x"}, "unknown option of provider lima; did you mean image?"),
        ({"zzz": 1}, "unknown option of provider lima (known: image,"),
        ({"image": ""}, "image: a text is needed"),
        ({"image": 3}, "image: a text is needed, not 3"),
        ({"emulation": "yes"}, "emulation: must be true or false, not 'yes'"),
        ({"digest": DIGEST}, "belongs to an image at a URL"),
        ({"template": "rel.yaml"}, "'rel.yaml' is no absolute path"),
        ({"template": "/no/such", "image": "debian-12"}, "names its images itself"),
        ({"disks": []}, "disks: must map node names"),
        ({"disks": {"w9": ["1GiB"]}}, "disks.w9: there is no such node"),
        ({"disks": {"w1": "1GiB"}}, "disks.w1: must be a list of sizes such as 20GiB"),
        ({"disks": {"w1": ["1TB"]}}, "disks.w1: must be a list of sizes"),
        ({"disks": {"w1": ["1GiB"] * 17}}, "at most 16"),
    ],
)
def test_wrong_options_are_all_named(raw: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        given(**raw)
    assert caught.value.id == "OMK-P-513"
    assert any(words in problem for problem in caught.value.problems), caught.value.problems


# -- images ----------------------------------------------------------------------------------------


def test_every_image_of_ours_has_a_digest_for_both_architectures() -> None:
    assert images.known() == ("ubuntu-24.04", "debian-12", "debian-13", "rocky-9", "rocky-10")
    seen = set()
    for name in images.known():
        for arch, theirs in architecture.KERNEL_NAMES.items():
            image = images.choose(name, arch)
            assert images.is_digest(image.digest)
            assert image.arch == theirs
            assert image.location.startswith("https://")
            seen.add((image.location, image.digest))
    assert len(seen) == len({location for location, _ in seen}) == 10
    assert images.choose("", "amd64") == images.choose("ubuntu-24.04", "amd64")


def test_an_image_at_a_url_needs_its_digest() -> None:
    url = "https://example.com/a.qcow2"
    assert images.choose(url, "arm64", digest=DIGEST).digest == DIGEST
    with pytest.raises(ConfigError) as caught:
        images.choose(url, "arm64")
    assert caught.value.id == "OMK-P-511"
    assert images.choose(url, "arm64", unverified=True) == Image(location=url, arch="aarch64")


def test_a_file_of_this_host_needs_none(tmp_path: Path) -> None:
    path = tmp_path / "a.qcow2"
    path.touch()
    assert images.choose(str(path), "amd64") == Image(location=str(path), arch="x86_64")


@pytest.mark.parametrize(
    ("name", "arch", "digest", "words"),
    [
        ("ubuntu-99", "amd64", "", "there is no image 'ubuntu-99'"),
        ("relative.qcow2", "amd64", "", "there is no image"),
        ("/no/such/file", "amd64", "", "the image /no/such/file is not there"),
        ("debian-12", "riscv64", "", "image debian-12 is not made for riscv64"),
        ("https://example.com/a", "riscv64", "", "machines of architecture riscv64"),
        ("https://example.com/a", "amd64", "md5:1", "is none of sha256:HEX"),
    ],
)
def test_images_that_there_are_not(name: str, arch: str, digest: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        images.choose(name, arch, digest=digest)
    assert caught.value.id == "OMK-P-512"


# -- the template ----------------------------------------------------------------------------------

IMAGE = Image(location="https://example.com/a.qcow2", arch="x86_64", digest=DIGEST)


def rendered(**more: Any) -> dict[str, Any]:
    shape = Shape(cpus=2, memory_mib=512, disk_gib=9)
    wanted = {"id": "0123", "instance": "dev.w1", "shape": shape,
              "network": "omk110", "image": IMAGE, "system": "linux", **more}  # fmt: skip
    text = lima_yaml.render(LimaTemplate(**wanted))
    assert text.startswith(f"{marker.signature('0123')}\n")
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def test_a_machine_on_linux() -> None:
    assert rendered() == {
        "minimumLimaVersion": "2.0.0",
        "vmType": "qemu",
        "plain": True,
        "mounts": [],
        "containerd": {"system": False, "user": False},
        "portForwards": [],
        "user": {"name": "omk", "home": "/home/omk", "shell": "/bin/bash", "uid": 1000},
        "ssh": {"localPort": 0, "loadDotSSHPubKeys": False, "forwardAgent": False},
        "networks": [{"lima": "omk110"}],
        "cpus": 2,
        "memory": "512MiB",
        "disk": "9GiB",
        "images": [{"location": IMAGE.location, "arch": "x86_64", "digest": DIGEST}],
    }


def test_a_machine_on_macos() -> None:
    found = rendered(system="darwin", routable=True, emulation=True)
    assert found["vmType"] == "vz"
    assert found["ssh"]["overVsock"] is False
    assert "vmOpts" not in found
    assert found["networks"][1] == {
        "socket": "/var/run/socket_vmnet",
        "interface": "lima0",
        "metric": 300,
    }


def test_emulated_processors_are_not_the_hosts() -> None:
    found = rendered(emulation=True, base={"vmOpts": {"qemu": {"minimumVersion": "7"}, "x": 1}})
    assert found["vmOpts"]["qemu"]["cpuType"] == {"x86_64": "max", "aarch64": "max"}
    assert (found["vmOpts"]["qemu"]["minimumVersion"], found["vmOpts"]["x"]) == ("7", 1)


def test_the_processor_of_ones_own_template_is_emulated() -> None:
    named = {"x86_64": "Nehalem", "aarch64": "host,pmu=off"}
    found = rendered(emulation=True, base={"vmOpts": {"qemu": {"cpuType": named}}})
    assert found["vmOpts"]["qemu"]["cpuType"] == {"x86_64": "Nehalem", "aarch64": "max"}


def test_what_is_ours_is_laid_over_the_users_template() -> None:
    mine = {"plain": False, "user": {"name": "me"}, "images": [{"location": "/i"}], "video": {}}
    found = rendered(image=None, base=mine, shape=Shape(), disks=2)
    assert (found["plain"], found["user"]["name"]) == (True, "omk")
    assert (found["images"], found["video"]) == ([{"location": "/i"}], {})
    assert found["additionalDisks"] == [
        {"name": "dev.w1-disk1", "format": False},
        {"name": "dev.w1-disk2", "format": False},
    ]
    assert "cpus" not in found


def test_fields_are_set_by_expressions() -> None:
    found = lima_yaml.expressions({"cpus": 2, "memory": "1MiB", "networks": [{"lima": "a"}]})
    assert found == (".cpus = 2", '.memory = "1MiB"', '.networks = [{"lima": "a"}]')


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "cannot be used"),
        ("[]", "it holds no mapping"),
        ("{}", "`images` is missing"),
        ("images: 3", "must be a list of mappings"),
        ("images: [{arch: x86_64}]", "must be a list of mappings"),
        ("base: template:default", "what its `base` brings cannot be proved"),
        ("images: [{location: 'https://example.com/a'}]", "has no digest"),
        ("images: [{location: /a, kernel: {location: 'https://example.com/a'}}]", "has no digest"),
    ],
)
def test_a_users_template_that_cannot_be_used(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "t.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError) as caught:
        lima_yaml.load(path, unverified=False)
    assert words in f"{caught.value.message} {caught.value.why}"
    assert caught.value.id in ("OMK-P-511", "OMK-P-514")


def test_a_users_template_that_is_taken_at_his_word(tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    content = {"base": "template:default", "images": [{"location": "https://example.com/a"}]}
    path.write_text(json.dumps(content))
    assert lima_yaml.load(path, unverified=True) == content


def test_differences_are_found_and_fillings_are_none() -> None:
    text = yaml.safe_dump(rendered())
    made = rendered() | {"networks": [{"lima": "omk110", "macAddress": "52:55:55:0:0:0"}]}
    made.pop("mounts")
    assert lima_yaml.differences(text, made) == ()
    (other,) = lima_yaml.differences(text, made | {"plain": False})
    assert other == "plain: False, not True"
    assert len(lima_yaml.differences(text, {})) == 5
