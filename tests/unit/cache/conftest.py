"""Stand-ins for go, gcc and mmdebstrap as the only programs on PATH, and a recording reporter."""

from __future__ import annotations

import io
import shutil
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ohmykube.cache.sources import toolchain

if TYPE_CHECKING:
    from ohmykube.progress import Event

PROGRAMS = Path(__file__).parents[2] / "data" / "programs"
NEEDED = ("sh", "cat", "sleep", "setpriv", "env")


class Recorder:
    """Keeps all events."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        self.events.append(event)

    def texts(self, level: str | None = None) -> list[str]:
        messages = [event for event in self.events if hasattr(event, "text")]
        return [m.text for m in messages if level is None or m.level == level]


class Programs:
    """The directory that is PATH, and what was called."""

    def __init__(self, directory: Path, log: Path) -> None:
        self.directory = directory
        self.log = log

    def remove(self, name: str) -> None:
        (self.directory / name).unlink()

    def calls(self, *words: str) -> list[str]:
        if not self.log.exists():
            return []
        lines = self.log.read_text().splitlines()
        return [line for line in lines if all(word in line for word in words)]

    def main_module(self, suffix: str = ".mod") -> str:
        """Return go.mod of the last build, or ``.sum`` for its go.sum."""
        return self.log.with_name(self.log.name + suffix).read_text()


def debian_archive(target: Path) -> None:
    """Write what mmdebstrap would: wanted and unwanted files, links, a device."""
    files = {
        "./bin/busybox": b"busybox",
        "./usr/sbin/xtables-nft-multi": b"xtables",
        "./lib/x86_64-linux-gnu/libc.so.6": b"libc",
        "./usr/lib/x86_64-linux-gnu/gconv/BIG5.so": b"unwanted",
        "./usr/share/doc/libc6/changelog.gz": b"unwanted",
        "./etc/protocols": b"tcp 6 TCP\n",
        "./etc/shadow": b"unwanted",
        "./var/cache/apt/pkgcache.bin": b"unwanted",
    }
    with tarfile.open(target, "w") as archive:
        for name, data in files.items():
            header = tarfile.TarInfo(name)
            header.size, header.mtime, header.mode = len(data), 1234567, 0o4755
            archive.addfile(header, io.BytesIO(data))
        link = tarfile.TarInfo("./lib64/ld-linux-x86-64.so.2")
        link.type, link.linkname = tarfile.SYMTYPE, "/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
        archive.addfile(link)
        device = tarfile.TarInfo("./dev/null")
        device.type = tarfile.CHRTYPE
        archive.addfile(device)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    directory = tmp_path / "programs"
    directory.mkdir()
    for program in PROGRAMS.iterdir():
        shutil.copy(program, directory / program.name)
    for name in NEEDED:
        if found := shutil.which(name):
            (directory / name).symlink_to(found)
    libraries = tmp_path / "libraries"
    libraries.mkdir()
    for name in ("libc.a", "libseccomp.a"):
        (libraries / name).write_text(name)
    debian_archive(tmp_path / "debian.tar")
    monkeypatch.setenv("PATH", str(directory))
    monkeypatch.setattr(toolchain, "ELSEWHERE", tmp_path)
    monkeypatch.setenv("FAKE_LOG", str(tmp_path / "calls.log"))
    monkeypatch.setenv("FAKE_LIBRARIES", str(libraries))
    monkeypatch.setenv("FAKE_TAR", str(tmp_path / "debian.tar"))
    return Programs(directory, tmp_path / "calls.log")


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()
