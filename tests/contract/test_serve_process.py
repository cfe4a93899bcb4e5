"""`ohmykube cache serve` as a process: its events, its memory, and the way it ends."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ohmykube.kit import digest as digests
from tests import image_maker
from tests.fault_server import Answer
from tests.registry_double import Registry

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_MEMORY = 80 << 20
SIZE = 120_000_000


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as running:
        yield running


@contextlib.contextmanager
def serving(*words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start it on a free port; gives the process and its URL."""
    argv = [sys.executable, "-m", "ohmykube", "cache", "serve", "--listen", "127.0.0.1:0"]
    child = subprocess.Popen([*argv, *words, "-o", "json"], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        first: dict[str, Any] = json.loads(child.stdout.readline())
        assert (first["kind"], first["event"]) == ("CacheEvent", "listening")
        found = re.search(r"http://127\.0\.0\.1:\d+", first["text"])
        assert found is not None
        yield child, found[0]
    finally:
        child.kill()
        child.wait(20)


def get(url: str, path: str) -> int:
    """Read a whole body and return its size."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
    connection.request("GET", path)
    response = connection.getresponse()
    assert response.status == 200
    size = 0
    while data := response.read(1 << 20):
        size += len(data)
    connection.close()
    return size


def test_memory_and_end(registry: Registry) -> None:
    image = image_maker.image(1000)
    registry.add("library/big", "1", image)
    data = bytes(SIZE)
    digest = digests.of_bytes(data)
    registry.on(f"/v2/library/big/blobs/{digest}", Answer(data))
    with serving("--mirror", f"docker.io={registry.url}") as (child, url):
        get(url, "/v2/library/big/manifests/1?ns=docker.io")
        for _ in range(3):
            assert get(url, f"/v2/library/big/blobs/{digest}?ns=docker.io") == SIZE
        if sys.platform == "linux":
            status = Path(f"/proc/{child.pid}/status").read_text()
            peak = int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024
            assert peak <= MOST_MEMORY
        child.send_signal(signal.SIGTERM)
        assert child.stdout is not None
        with child.stdout:
            lines = [json.loads(line) for line in child.stdout]
        assert child.wait(20) == 0
    assert [line.get("event", line["kind"]) for line in lines] == [
        "found",
        "fetched",
        "CacheServed",
    ]
    assert lines[-1]["requests"] == 4
    assert lines[-1]["sent"] >= 3 * SIZE
    assert registry.pulls().count(digest) == 1


def test_a_reader_that_goes_away_ends_it(registry: Registry) -> None:
    registry.add("library/a", "1", image_maker.image(1000))
    with serving("--mirror", f"docker.io={registry.url}") as (child, url):
        assert child.stdout is not None
        child.stdout.close()
        with contextlib.suppress(ConnectionError):  # it may end before it has answered
            get(url, "/v2/library/a/manifests/1?ns=docker.io")
        assert child.wait(20) == 141
