"""One way to write numbers of bytes for all commands: that of GNU's programs."""

from __future__ import annotations

import subprocess

import click
import pytest

from ohmykube.cli import _sizes
from ohmykube.config import values


@pytest.mark.parametrize(
    ("text", "size"),
    [("10GiB", 10 << 30), ("500MB", 500_000_000), ("2g", 2 << 30), ("7", 7), ("1.5k", 1536),
     ("1KiB", 1024), ("3 t", 3 << 40), ("3900M", 3900 << 20), ("2GB", 2_000_000_000), ("9B", 9),
     ("1mb", 1_000_000), (" 1T ", 1 << 40)],
)  # fmt: skip
def test_sizes(text, size) -> None:
    assert _sizes.Size().convert(text, None, None) == size


@pytest.mark.parametrize("text", ["", "M", "-1", "1..5", "1e3", "1P", "1MiBs", "nan", "\u0663"])
def test_what_is_none(text) -> None:
    with pytest.raises(click.BadParameter, match="is no size"):
        _sizes.Size().convert(text, None, None)


@pytest.mark.parametrize(("text", "bad"), [("9", True), ("10", False), ("21", True)])
def test_the_range(text, bad) -> None:
    size = _sizes.Size(10, 20)
    if not bad:
        assert size.convert(text, None, None) == 10
        return
    with pytest.raises(click.BadParameter, match="out of range: from 10 to 20"):
        size.convert(text, None, None)


@pytest.mark.parametrize("unit", ["M", "Mi", "MiB", "MB", "G", "Gi", "GiB", "GB"])
@pytest.mark.parametrize("number", ["1500", "512.5", "2048"])
def test_a_cluster_file_and_its_options_read_the_same(number, unit) -> None:
    """A size means one thing wherever it is written: only a B right after the letter is decimal."""
    text = number + unit
    size = _sizes.Size().convert(text, None, None)
    assert values.memory_mib(text) == size // (1 << 20)
    assert values.disk_gib(text) == -(-size // (1 << 30))


@pytest.mark.parametrize("text", ["3K", "3KB", "3KiB", "2M", "2MB", "2MiB", "1G", "1GB", "5"])
def test_truncate_reads_the_same(tmp_path, text) -> None:
    path = tmp_path / "file"
    subprocess.run(["truncate", "-s", text, str(path)], check=True)
    assert path.stat().st_size == _sizes.Size().convert(text, None, None)
