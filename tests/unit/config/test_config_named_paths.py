"""Paths of this host that are read later: a description that names them is warned of at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ohmykube.config import load
from ohmykube.config.document import to_document
from ohmykube.config.overrides import Overrides

if TYPE_CHECKING:
    from pathlib import Path

HEAD = "apiVersion: ohmykube.dev/v1\nkind: Cluster\nspec:\n"
SSH = "  provider: {name: ssh, ssh: {identityFile: ALL}}\n  nodes:\n    workers: []\n"
PLANES = "    controlPlane: {hosts: [{name: cp1, address: 192.0.2.1, identityFile: ONE}]}\n"
FIELDS = {
    "mirror": ("  artifacts: {mirror: PATH}\n", "spec.artifacts.mirror"),
    "key of all": ((SSH + PLANES).replace("ALL", "PATH").replace("ONE", "good"), "identityFile"),
    "key of one": ((SSH + PLANES).replace("ALL", "good").replace("ONE", "PATH"), "identityFile"),
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "directory").mkdir()
    (tmp_path / "good").touch()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("nowhere")
    return tmp_path


def told(place: Path, text: str) -> tuple[str, ...]:
    (place / "c.yaml").write_text(HEAD + text)
    return load.load(place / "c.yaml").warnings


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("nothing", "is not there"),
        ("nothing/deep", "is not there"),
        ("good/below", "is not there"),
        ("dangling", "is not there"),
        ("loop", "cannot be looked at: Too many levels of symbolic links"),
        ("directory", "is no file"),
        ("good", "is no directory"),
    ],
)
def test_a_path_that_is_not_what_it_is_used_as(
    place: Path, field: str, name: str, why: str
) -> None:
    """A path that a description names, and that a run reads later, is looked at when it is read."""
    text, shown = FIELDS[field]
    right = name == ("directory" if field == "mirror" else "good")
    path = place / name
    expected = () if right else (f"{shown}: {path} {why}",)
    assert told(place, text.replace("PATH", str(path))) == expected


def test_a_mirror_of_a_flag_is_called_by_the_flag(tmp_path: Path) -> None:
    found = load.load_document({}, Overrides(mirror=str(tmp_path / "x")))
    assert found.warnings == (f"--mirror: {tmp_path / 'x'} is not there",)


@pytest.mark.parametrize("mirror", ["https://m.example", "http://m.example/no/such"])
def test_what_is_no_path_is_not_looked_for(place: Path, mirror: str) -> None:
    assert told(place, FIELDS["mirror"][0].replace("PATH", mirror)) == ()


def test_a_relative_key_is_beside_the_file_and_told_once(place: Path) -> None:
    more = "keys/k}, {name: cp2, address: 192.0.2.2, identityFile: good}, {name: cp3, "
    text = (SSH + PLANES).replace("ALL", "keys/k").replace("ONE", f"{more}address: 192.0.2.3")
    warnings = [one for one in told(place, text) if "identity" in one]
    assert warnings == ["identityFile: keys/k is not there"]


def test_of_a_record_nothing_is_looked_at(place: Path) -> None:
    wanted = load.load_document({"spec": {"artifacts": {"mirror": str(place)}}}).cluster
    place.rename(place.with_name("gone"))
    document = to_document(wanted)
    assert load.load_document(document, desired=False).warnings == ()
    assert load.load_document(document).warnings != ()


@pytest.mark.parametrize("length", [10, 79, 80, 81, 250])
def test_a_path_is_told_whole(tmp_path: Path, length: int) -> None:
    """However long: what is cut cannot be found."""
    path = tmp_path / ("x" * length)
    found = load.load_document({}, Overrides(mirror=str(path)))
    assert found.warnings == (f"--mirror: {path} is not there",)
