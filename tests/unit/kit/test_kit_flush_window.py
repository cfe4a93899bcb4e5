"""Large files: every byte arrives, and what is whole is on its way to the disk early."""

from __future__ import annotations

import itertools
import os
import random
import threading

import pytest

from ohmykube.kit import flush_window
from ohmykube.kit.flush_window import WindowedWriter

WINDOW = 4096


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Windows of a page; the list grows by start and size of what is told to the kernel."""
    told: list[tuple[int, int]] = []
    advise = os.posix_fadvise

    def recorded(descriptor: int, start: int, size: int, advice: int) -> None:
        assert advice == os.POSIX_FADV_DONTNEED
        told.append((start, size))
        advise(descriptor, start, size, advice)

    monkeypatch.setattr(flush_window, "WINDOW", WINDOW)
    monkeypatch.setattr(os, "posix_fadvise", recorded)
    return told


@pytest.mark.linux
def test_all_arrives_in_any_order_from_several_threads(small, tmp_path) -> None:
    data = random.Random(3).randbytes(10 * WINDOW + 77)
    cuts = [0, *sorted(random.Random(4).sample(range(1, len(data)), 60)), len(data)]
    pieces = list(itertools.pairwise(cuts))
    random.Random(5).shuffle(pieces)
    with (tmp_path / "file").open("wb") as stream:
        writer = WindowedWriter(stream.fileno())

        def write(share: list[tuple[int, int]]) -> None:
            for start, end in share:
                writer.write_at(start, data[start:end])

        threads = [threading.Thread(target=write, args=(pieces[n::3],)) for n in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert (tmp_path / "file").read_bytes() == data
    begun = [start for start, _ in small]
    assert set(begun) == {number * WINDOW for number in range(10)}, "each whole window, no other"


@pytest.mark.linux
def test_a_window_is_told_once_it_is_whole_and_again_when_it_is_old(small, tmp_path) -> None:
    with (tmp_path / "file").open("wb") as stream:
        writer = WindowedWriter(stream.fileno())
        writer.write_at(1, b"x" * (WINDOW - 1))
        assert not small
        writer.write_at(0, b"x")
        assert small == [(0, WINDOW)]
        writer.write_at(WINDOW, bytes(flush_window._KEPT * WINDOW))
    assert small[-2:] == [(flush_window._KEPT * WINDOW, WINDOW), (0, WINDOW)]


@pytest.mark.linux
def test_a_short_write_goes_on(small, tmp_path, monkeypatch) -> None:
    """A signal, or the edge of a quota, lets pwrite(2) take less than it was given."""
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: pwrite(fd, bytes(data[:7]), at))
    with (tmp_path / "file").open("wb") as stream:
        WindowedWriter(stream.fileno()).write_at(3, b"twenty bytes of text")
    assert (tmp_path / "file").read_bytes() == b"\0\0\0twenty bytes of text"


def test_a_system_that_takes_no_advice(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(flush_window, "WINDOW", WINDOW)
    monkeypatch.delattr(os, "posix_fadvise", raising=False)
    with (tmp_path / "file").open("wb") as stream:
        WindowedWriter(stream.fileno()).write_at(0, b"y" * (2 * WINDOW))
    assert (tmp_path / "file").read_bytes() == b"y" * (2 * WINDOW)


def test_whether_a_file_is_sparse(tmp_path, monkeypatch) -> None:
    with (tmp_path / "file").open("wb") as stream:
        assert flush_window.is_sparse(stream.fileno())
    filled = os.stat_result((0,) * 10, {"st_blocks": flush_window._PROBE // 512})
    monkeypatch.setattr(os, "fstat", lambda _fd: filled)
    with (tmp_path / "fat").open("wb") as stream:
        assert not flush_window.is_sparse(stream.fileno())
