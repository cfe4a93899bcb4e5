"""A guest image for Lima that needs nothing from outside: Debian 12 with cloud-init, no bootloader.

Made as root by mmdebstrap and mke2fs, once for each recipe, and kept for the next run. The machine
boots it by its kernel directly (``images[].kernel`` of the template). Run as a program it makes the
image and prints where it is.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.image_server import ImageServer

SUITE = "bookworm"
PACKAGES = (
    *("systemd-sysv", "systemd-resolved", "dbus", "udev", "openssh-server", "sudo", "cloud-init"),
    *("linux-image-cloud-amd64", "initramfs-tools", "e2fsprogs", "cloud-guest-utils", "netbase"),
    *("iproute2", "iptables", "nftables", "conntrack", "ethtool", "kmod", "socat", "python3"),
    *("ca-certificates", "zstd", "tar", "mount", "procps", "util-linux", "iputils-ping"),
)
SIZE = "3G"
COMMAND_LINE = (
    "console=ttyS0 root=/dev/vda rw net.ifnames=0 quiet "
    # Under emulation a timer costs more than the time it measures: sleeps end at the next tick.
    "mitigations=off tsc=reliable highres=off"
)
FILES = {
    # No other source of data is waited for, and no package is fetched.
    "etc/cloud/cloud.cfg.d/90-lima.cfg": (
        "datasource_list: [NoCloud, None]\n"
        "package_update: false\npackage_upgrade: false\n"
        "preserve_sources_list: true\nlocale: C.UTF-8\n"
    ),
    "etc/fstab": "/dev/vda / ext4 defaults,noatime 0 1\n",
    "etc/machine-id": "",
    "etc/modules-load.d/cluster.conf": "overlay\nbr_netfilter\nvxlan\n",
    # Under emulation every unit counts.
    "etc/systemd/system.conf.d/90-slow.conf": "[Manager]\nDefaultTimeoutStartSec=900\n",
}
MASKED = (
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "fstrim.timer"),
    *("e2scrub_all.timer", "e2scrub_reap.service", "systemd-networkd-wait-online.service"),
    "getty@tty1.service",
)
BUILD_SECONDS = 1200
VERSION = 1
"""Raised when the code below makes something else of the same recipe."""
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ohmykube-tests"


@dataclass(frozen=True)
class GuestImage:
    """Three files that a template names."""

    root: Path
    kernel: Path
    initrd: Path

    def copied(self, directory: Path) -> GuestImage:
        """Copy them to where an ordinary user may read them."""
        fresh = [directory / path.name for path in (self.root, self.kernel, self.initrd)]
        for source, target in zip((self.root, self.kernel, self.initrd), fresh, strict=True):
            subprocess.run(
                ["cp", "--reflink=auto", "--sparse=always", str(source), str(target)], check=True
            )
            target.chmod(0o644)
        return GuestImage(*fresh)

    def entry(self) -> dict[str, object]:
        """Return the entry of ``images`` of a template that names the files."""
        return _entry(*({"location": str(path)} for path in (self.root, self.kernel, self.initrd)))

    def served(self, server: ImageServer) -> dict[str, object]:
        """Let a server have the files; return the entry that names them there, with digests."""

        def told(path: Path) -> dict[str, object]:
            server.files[path.name] = content = path.read_bytes()
            digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
            return {"location": server.url(path.name), "digest": digest}

        return _entry(*map(told, (self.root, self.kernel, self.initrd)))


def _entry(
    root: dict[str, object], kernel: dict[str, object], initrd: dict[str, object]
) -> dict[str, object]:
    return {
        **root,
        "arch": "x86_64",
        "kernel": {**kernel, "cmdline": COMMAND_LINE},
        "initrd": initrd,
    }


def key() -> str:
    """Return a short hash of all that decides what is in the image."""
    recipe = [SUITE, PACKAGES, SIZE, FILES, MASKED, VERSION]
    return hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:16]


def ensure() -> GuestImage:
    """Return the image, made when it is not there; needs root then."""
    directory = _CACHE / f"lima-image-{key()}"
    image = GuestImage(directory / "root.qcow2", directory / "vmlinuz", directory / "initrd.img")
    _CACHE.mkdir(parents=True, exist_ok=True)
    with (_CACHE / "lima-image.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not directory.is_dir():
            for stale in [*_CACHE.glob("lima-image-*"), *_CACHE.glob("tmp-image-*")]:
                if stale.is_dir():
                    shutil.rmtree(stale)
            temporary = Path(tempfile.mkdtemp(prefix="tmp-image-", dir=_CACHE))
            _build(temporary)
            temporary.rename(directory)
    return image


def blank(directory: Path) -> Path:
    """Make an image of nothing, for machines that are never booted."""
    image = directory / "blank.qcow2"
    _run("qemu-img", "create", "-q", "-f", "qcow2", str(image), "64M")
    return image


def _run(*argv: str) -> None:
    done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=BUILD_SECONDS)
    if done.returncode != 0:
        raise RuntimeError(f"{argv[0]} ended with {done.returncode}: {done.stderr[-2000:]}")


def _build(directory: Path) -> None:
    rootfs = directory / "rootfs"
    skipped = ("man", "doc", "info", "locale", "lintian")
    _run(
        *("mmdebstrap", "--quiet", "--variant=minbase", "--mode=root"),
        "--include=" + ",".join(PACKAGES),
        "--dpkgopt=force-unsafe-io",
        *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in skipped),
        *(SUITE, str(rootfs)),
    )
    for name, content in FILES.items():
        path = rootfs / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    for unit in MASKED:
        link = rootfs / "etc/systemd/system" / unit
        link.unlink(missing_ok=True)
        link.symlink_to("/dev/null")
    for unit in ("systemd-networkd", "systemd-resolved", "ssh"):
        _run("systemctl", f"--root={rootfs}", "enable", unit)
    resolver = rootfs / "etc/resolv.conf"
    resolver.unlink(missing_ok=True)
    resolver.symlink_to("/run/systemd/resolve/stub-resolv.conf")
    for found in rootfs.glob("etc/ssh/ssh_host_*"):
        found.unlink()
    for source, target in (("vmlinuz-*", "vmlinuz"), ("initrd.img-*", "initrd.img")):
        (kept,) = (rootfs / "boot").glob(source)
        shutil.copyfile(kept, directory / target)
        kept.unlink()
    raw = directory / "root.raw"
    options = "lazy_itable_init=1,lazy_journal_init=1"
    _run("mke2fs", "-q", "-t", "ext4", "-E", options, "-d", str(rootfs), str(raw), SIZE)
    _run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(directory / "root.qcow2"))
    raw.unlink()
    shutil.rmtree(rootfs)


if __name__ == "__main__":
    sys.stdout.write(f"{ensure()}\n")
