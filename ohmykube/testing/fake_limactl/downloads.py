"""How the fake limactl gets files: the cache of the real one, with servers of this host only.

A download that is whole lies in a directory named after its URL. With the digest that is asked for
beside it, it is taken without a question; without one the server is asked how old it is.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import http.client
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ohmykube.testing.fake_limactl.faults import Fault
from ohmykube.testing.fake_limactl.log import Fatal, Killed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ohmykube.testing.fake_limactl.lima_home import Home

_SECONDS = 10


def get_images(home: Home, name: str, config: Mapping[str, Any]) -> None:
    """Get the first image of the machine's architecture that can be got, with what it boots by."""
    failed = []
    for image in config["images"]:
        if image["arch"] != config["arch"]:
            continue
        try:
            for part, what in ((image, "image"), ("kernel", "kernel"), ("initrd", "initrd")):
                found = image.get(part) if isinstance(part, str) else part
                if found:
                    _get(home, name, {"arch": image["arch"], **found}, what)
        except _Failed as error:
            failed.append(str(error))
        else:
            return
    raise Fatal("\n".join(failed) or "unsupported arch")


class _Failed(Exception):
    """A file cannot be got; the next image is tried."""


def _get(home: Home, name: str, file: Mapping[str, Any], what: str) -> None:
    location, digest = str(file["location"]), str(file.get("digest") or "")
    fields = {"arch": str(file["arch"]), "digest": digest, "location": location}
    home.output.info(f"Attempting to download the {what}", **fields)
    failed = f"failed to download {home.profile.quote(location)}: "
    if "://" not in location:
        if not Path(location).is_file():
            missing = f"open {location}: no such file or directory"
            raise _Failed(f"{failed}failed to open source {location}: {missing}")
        _check(home, Path(location).read_bytes(), digest, failed)
    if home.fault(Fault.NO_SPACE, name):
        raise Fatal(f"failed to copy {location}: no space left on device")
    if "://" not in location:
        home.output.info(f"Downloaded the {what} from {home.profile.quote(location)}")
        return
    directory = _cache(home) / hashlib.sha256(location.encode()).hexdigest()
    for one in reversed([directory, *directory.parents]):
        if not one.exists():
            one.mkdir(mode=0o700, exist_ok=True)
    with _locked(directory):
        if _cached(home, directory, location, digest, failed):
            home.output.info(f"Using cache {home.profile.quote(directory / 'data')}")
            return
        _fetch(home, name, directory, location, digest)
    home.output.info(f"Downloaded the {what} from {home.profile.quote(location)}")


def _cache(home: Home) -> Path:
    chosen = home.environ.get("XDG_CACHE_HOME")
    base = Path(chosen) if chosen else Path(home.environ["HOME"]) / ".cache"
    return base / "lima" / "download" / "by-url-sha256"


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _cached(home: Home, directory: Path, url: str, digest: str, failed: str) -> bool:
    data = directory / "data"
    if not data.exists():
        return False
    proof = directory / f"{digest.partition(':')[0]}.digest"
    if digest and proof.exists():
        found = proof.read_text().strip()
        if found != digest:
            raise _Failed(_differs(home, failed, digest, found))
        return True
    dated = directory / "time"
    if not dated.exists() or not dated.read_text():
        return False
    try:
        _, headers, _ = _ask("HEAD", url)
    except OSError:
        home.output.info(
            "Failed to retrieve last-modified for cached digest-less image; using cached image."
        )
        if home.profile.needs_server:
            # It says so, copies nothing, and trips over that.
            raise Fatal(f"failed to get the information of base disk {directory}") from None
    else:
        if headers.get("Last-Modified", "") != dated.read_text():
            return False
    _check(home, data.read_bytes(), digest, failed)
    return True


def _fetch(home: Home, name: str, directory: Path, url: str, digest: str) -> None:
    failed = f"failed to download {home.profile.quote(url)}: "
    (directory / "url").write_text(url)
    try:
        status, headers, body = _ask("GET", url)
    except OSError as error:
        raise _Failed(f'{failed}Get "{url}": {error}') from error
    if status != http.client.OK:
        raise _Failed(f"{failed}expected HTTP status 200, got {status}")
    (directory / "time").write_text(headers.get("Last-Modified", ""))
    (directory / "type").write_text(headers.get("Content-Type", ""))
    fresh = directory / f"data.tmp.{os.getpid()}.1"
    fresh.write_bytes(body)
    if home.fault(Fault.DOWNLOAD_KILLED, name):
        raise Killed
    try:
        _check(home, body, digest, failed)
    except _Failed:
        fresh.unlink()
        raise
    fresh.replace(directory / "data")
    if digest:
        (directory / f"{digest.partition(':')[0]}.digest").write_text(digest)


def _ask(method: str, url: str) -> tuple[int, Mapping[str, str], bytes]:
    address = urlsplit(url)
    if address.scheme != "http" or address.hostname != "127.0.0.1":
        raise OSError("the fake limactl has no network")
    connection = http.client.HTTPConnection("127.0.0.1", address.port, timeout=_SECONDS)
    with contextlib.closing(connection):
        connection.request(method, address.path)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()


def _check(home: Home, data: bytes, expected: str, failed: str) -> None:
    if not expected:
        return
    algorithm = expected.partition(":")[0]
    found = f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"
    if found != expected:
        raise _Failed(_differs(home, failed, expected, found))


def _differs(home: Home, failed: str, expected: str, found: str) -> str:
    quote = home.profile.quote
    return f"{failed}expected digest {quote(expected)}, got {quote(found)}"
