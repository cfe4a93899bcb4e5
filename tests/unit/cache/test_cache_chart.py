"""Archives of charts: the same bytes everywhere, and such as other programs read."""

from __future__ import annotations

import gzip
import io
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest

from ohmykube.cache import chart
from ohmykube.kit import digest

if TYPE_CHECKING:
    from pathlib import Path

CONTENT = {
    "templates/a.yaml": b"a: 1\n",
    "Chart.yaml": b"name: tool\n",
    "files/big.bin": bytes(range(256)) * 1000,  # more than one block of gzip
    "empty": b"",
}


def test_the_bytes_are_the_same_for_ever() -> None:
    made = chart.archive("tool", CONTENT)
    assert made == chart.archive("tool", dict(sorted(CONTENT.items())))
    assert digest.of_bytes(made) == (
        "sha256:deb2dcd22374e1d3f47154988174e2d2e3a8f1b7f9f4a65d28cddb06e5a1f184"
    )


def test_it_is_laid_out_as_helm_does_it() -> None:
    data = gzip.decompress(chart.archive("tool", CONTENT))  # checks sum and size too
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        found = {member.name: member for member in archive}
        content = {
            name.removeprefix("tool/"): stream.read()
            for name, member in found.items()
            if (stream := archive.extractfile(member)) is not None
        }
    assert content == CONTENT
    assert {(m.uid, m.gid, m.mtime, m.mode, m.uname) for m in found.values()} == {
        (0, 0, 0, 0o644, "")
    }


def test_other_programs_read_it(tmp_path: Path) -> None:
    path = tmp_path / "tool.tgz"
    path.write_bytes(chart.archive("tool", CONTENT))
    subprocess.run(["gzip", "-t", path], check=True)
    listed = subprocess.run(["tar", "-tzf", path], check=True, capture_output=True, text=True)
    assert listed.stdout.split() == [f"tool/{name}" for name in sorted(CONTENT)]


def test_a_name_that_no_plain_tar_holds_is_refused() -> None:
    for path in ("é", "long/" + "x" * 101):
        with pytest.raises(ValueError, match=r"ascii|too long"):
            chart.archive("tool", {path: b""})
