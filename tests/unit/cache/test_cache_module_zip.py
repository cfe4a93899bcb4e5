"""The zip of a Go module: its sum, what is read of it, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ohmykube.cache.sources import module_zip
from ohmykube.errors import IntegrityError, Interrupted
from ohmykube.kit import interrupt
from tests.module_proxy import zip_module

if TYPE_CHECKING:
    from pathlib import Path

NAME = "example.org/Tool@v1.0.0"
SUM = "h1:YW4vJO+33im/TOpZbZXXIvHKM4Lh9L+xafbkJpeKFFw="
"""As go1.26 has it for the module below."""
FILES = {
    "go.mod": "module example.org/Tool\n\ngo 1.21\n",
    "main.go": "package main\n\nfunc main() {}\n",
    "charts/tool/Chart.yaml": "name: tool\n",
    "charts/tool/templates/a.yaml": "a: 1\n",
    "charts/tools.txt": "tool\n",
}


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "v1.0.0.zip"
    zip_module(path, "example.org/Tool", "v1.0.0", FILES)
    return path


def test_files_and_directories_are_found_by_their_path(archive: Path) -> None:
    with module_zip.verified(archive, NAME, SUM) as content:
        assert content.file("charts/tools.txt") == b"tool\n"
        assert content.file("charts/tool") is None
        assert content.file("absent") is None
        assert content.directory("charts/tool") == {
            "Chart.yaml": b"name: tool\n",
            "templates/a.yaml": b"a: 1\n",
        }
        assert content.directory("absent") == {}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("charts/tol/Chart.yaml", ("charts", ("tool", "tools.txt"))),
        ("charts/tool/templates/x/y.yaml", ("charts/tool/templates", ("a.yaml",))),
        ("nowhere/at/all", (".", ("charts", "go.mod", "main.go"))),
    ],
)
def test_the_nearest_directory_tells_what_there_is(
    archive: Path, path: str, expected: tuple[str, tuple[str, ...]]
) -> None:
    with module_zip.verified(archive, NAME, SUM) as content:
        assert content.around(path) == expected


def test_a_module_with_another_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "v1.0.0.zip"
    other = zip_module(path, "example.org/Tool", "v1.0.0", FILES | {"charts/tools.txt": "Tool\n"})
    with pytest.raises(IntegrityError) as caught, module_zip.verified(path, NAME, SUM):
        pytest.fail("believed")
    assert caught.value.id == "OMK-I-205"
    for words in (SUM, other, str(path)):
        assert words in (caught.value.why or "")


@pytest.mark.parametrize("damage", ["nothing", "cut", "flipped"])
def test_a_damaged_zip_is_refused(archive: Path, damage: str) -> None:
    data = bytearray(archive.read_bytes())
    data[60] ^= 0xFF  # within the first file's compressed bytes
    archive.write_bytes({"nothing": b"", "cut": data[:200], "flipped": data}[damage])
    with pytest.raises(IntegrityError), module_zip.verified(archive, NAME, SUM):
        pytest.fail("believed")


def test_the_sum_of_a_go_mod_is_that_of_go_sum() -> None:
    expected = "h1:vfsyjg5TpIF5DkPtnScqpe9naGNUbOvtSBUP0xclwGU="
    assert module_zip.file_sum("go.mod", FILES["go.mod"].encode()) == expected


def test_a_stop_is_heeded_meanwhile(archive: Path) -> None:
    interrupt.requested.set()
    with pytest.raises(Interrupted), module_zip.verified(archive, NAME, SUM):
        pytest.fail("went on")
