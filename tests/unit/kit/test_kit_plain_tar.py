"""The form of our tars at the edges; what is made of them is tested with bundles."""

from __future__ import annotations

import tarfile

from ohmykube.kit import plain_tar


def test_a_member_beyond_what_ustar_can_say_has_a_header() -> None:
    block = plain_tar.header("blobs/sha256/" + "0" * 64, 9 << 30)
    assert len(block) == plain_tar.BLOCK
    assert plain_tar.named(block) == ("blobs/sha256/" + "0" * 64, 9 << 30)
    assert tarfile.TarInfo.frombuf(block, "ascii", "strict").size == 9 << 30
    assert plain_tar.named(b"\xff" * plain_tar.BLOCK) is None
