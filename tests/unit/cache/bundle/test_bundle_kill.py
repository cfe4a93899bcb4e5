"""Killed in the middle: nothing half-made is there, and the next run goes on."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest

from ohmykube.cache.bundle import import_bundle, read
from tests.unit.cache.bundle.conftest import QUIET

IMPORT = """
import os, signal, sys
from pathlib import Path
from ohmykube.cache.bundle import import_bundle, read
from ohmykube.cache.store import Store
from ohmykube.progress import NullReporter

bundle, cache, point = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
readinto, done = read.Window.readinto, 0

def counted(self, buffer):
    global done
    done += 1
    if done == point:
        os.kill(os.getpid(), signal.SIGKILL)
    return readinto(self, memoryview(buffer)[:100])

read.Window.readinto = counted
import_bundle.copy(Store(cache), bundle, NullReporter())
"""
EXPORT = """
import os, signal, sys
from pathlib import Path
from ohmykube.cache.bundle import parts
from ohmykube.cli._run import run

os.environ["OHMYKUBE_HOME"] = sys.argv[1]
write, done = parts.SplitWriter.write_at, 0

def counted(self, position, data):
    global done
    done += 1
    if done == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
    return write(self, position, data)

parts.SplitWriter.write_at = counted
run(["cache", "export", "--to", sys.argv[2], "--split", "1M"])
"""


def killed(program: str, *words: object) -> bool:
    """Run a program to its end; tell whether it was killed."""
    argv = [sys.executable, "-c", program, *map(str, words)]
    return subprocess.run(argv, timeout=60, check=False, capture_output=True).returncode == -9


def test_an_import_killed_again_and_again(bundle, elsewhere) -> None:
    total = sum(entry.size for entry in read.load(bundle).bundle.blobs)
    points = random.Random(7)
    deaths = 0
    for _ in range(6):
        deaths += killed(IMPORT, bundle, elsewhere.root, points.randrange(1, total // 150))
        if elsewhere.refs():
            break
        for digest in elsewhere.digests():
            assert elsewhere.locate(digest).hash() == digest
    assert deaths >= 3
    brought = import_bundle.copy(elsewhere, bundle, QUIET)
    assert brought.copied + brought.present == 9
    for digest in elsewhere.digests():
        assert elsewhere.locate(digest).hash() == digest
    assert len(elsewhere.refs()) == 4


@pytest.mark.parametrize("point", [1, 5, 10])
def test_a_killed_export_gives_no_bundle(workshop, tmp_path, point) -> None:
    home = tmp_path / "home"
    home.mkdir()
    workshop.store.root.rename(home / "cache")
    target = tmp_path / "out.omk.tar"
    assert killed(EXPORT, home, target, point)
    assert not list(tmp_path.glob("out.omk.tar*"))
    assert not killed(EXPORT, home, target, 10**6)
    assert read.verify(read.load(target), QUIET) > 0
