"""The root file system under all nodes: made once with mmdebstrap, shared read-only."""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ohmykube import progress
from ohmykube.errors import NetworkError, ProviderError, ResourceError
from ohmykube.kit import failures, files, locks, process
from ohmykube.providers.nspawn import base_archive, node_root

if TYPE_CHECKING:
    from ohmykube.kit.paths import Paths
    from ohmykube.progress import Reporter
    from ohmykube.providers.nspawn.host_system import HostSystem

PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "openssh-server", "python3", "sudo"),
    *("iproute2", "iptables", "nftables", "conntrack", "ethtool", "kmod", "socat"),
    *("ca-certificates", "zstd", "tar", "mount", "procps", "util-linux", "iputils-ping"),
)

SSHD = """\
PasswordAuthentication no
PermitRootLogin prohibit-password
HostKey /etc/ssh/ssh_host_ed25519_key
UseDNS no
X11Forwarding no
PrintLastLog no
MaxStartups 100:30:200
MaxSessions 100
"""

# systemd-nspawn mounts v1 controllers read-only; a kubelet and a containerd must write to them. In
# the node's cgroup namespace they show the node's own subtree alone. Does nothing on cgroup v2.
CGROUPS_UNIT = """\
[Unit]
Description=Make this node's cgroup controllers writable
DefaultDependencies=no
Before=sysinit.target containerd.service kubelet.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'while read -r _ point kind rest; do \
case $kind in cgroup) mount -o remount,bind,rw "$point" ;; esac; done </proc/self/mounts'

[Install]
WantedBy=sysinit.target
"""

SYSTEMD = "[Manager]\nDefaultTimeoutStopSec=10s\n"
JOURNALD = "[Journal]\nRuntimeMaxUse=64M\nForwardToConsole=no\n"

MASKED = (
    *("getty@tty1.service", "console-getty.service", "container-getty@1.service"),
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "fstrim.timer"),
    *("e2scrub_all.timer", "e2scrub_reap.service", "systemd-pstore.service"),
    *("systemd-timesyncd.service", "systemd-networkd.service", "systemd-resolved.service"),
    *("systemd-networkd-wait-online.service", "systemd-udevd.service", "ssh.socket"),
    *("nftables.service", "systemd-update-utmp.service", "systemd-remount-fs.service"),
)

FILES = {
    "etc/ssh/sshd_config.d/10-ohmykube.conf": SSHD,
    "etc/systemd/system/ohmykube-cgroups.service": CGROUPS_UNIT,
    "etc/systemd/system.conf.d/10-ohmykube.conf": SYSTEMD,
    "etc/systemd/journald.conf.d/10-ohmykube.conf": JOURNALD,
}

NEEDED_MIB = 1500
BUILD_SECONDS = 900


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that decides what is in a base image."""

    suite: str = "bookworm"
    mirror: str = ""
    """Debian mirror; empty uses mmdebstrap's own choice."""
    arch: str = platform.machine()
    packages: tuple[str, ...] = PACKAGES
    masked: tuple[str, ...] = MASKED
    version: int = 1
    """Raised when code below changes what it makes."""

    @property
    def key(self) -> str:
        """Short hash of the recipe."""
        text = json.dumps({**asdict(self), "files": FILES}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


class BaseImages:
    """The images in ``<cache>/nspawn``."""

    def __init__(self, host: HostSystem, paths: Paths, reporter: Reporter, recipe: Recipe) -> None:
        self._host = host
        self._root = paths.cache / "nspawn"
        self._reporter = reporter
        self.recipe = recipe

    def rootfs(self, key: str) -> Path:
        """Return the path of the image of that key; it need not exist."""
        return self._root / f"base-{key}" / "rootfs"

    def ensure(self) -> str:
        """Make the image of the recipe when it is not there; return its key.

        Raises:
            ResourceError, NetworkError, ProviderError: it could not be made; nothing is left of it.
        """
        key = self.recipe.key
        if self.rootfs(key).is_dir():
            return key
        with locks.exclusive(
            self._root / "build.lock", "the node base image", wait_seconds=BUILD_SECONDS
        ):
            if not self.rootfs(key).is_dir():
                activity = "build with mmdebstrap (once, about a minute)"
                with progress.item(self._reporter, "node base image", activity):
                    self._build(key)
        return key

    def has(self) -> bool:
        """Tell whether the image of the recipe is there."""
        return self.rootfs(self.recipe.key).is_dir()

    def export_tar(self, target: Path) -> None:
        """Write the image of the recipe to a tar (see ``base_archive``); make it when needed."""
        base_archive.write(self._host, self.rootfs(self.ensure()), target)

    def import_tar(self, source: Path) -> None:
        """Make the image of the recipe from a tar of ``export_tar``, unless it is there.

        Raises:
            IntegrityError: the tar cannot be trusted; nothing is left of it.
            ResourceError, ProviderError: it could not be unpacked; nothing is left of it.
        """
        key = self.recipe.key
        with locks.exclusive(
            self._root / "build.lock", "the node base image", wait_seconds=BUILD_SECONDS
        ):
            if self.has():
                return
            self._make_room()
            temporary = self._root / f"tmp-{key}"
            rootfs = temporary / "rootfs"
            files.ensure_directory(rootfs, 0o755)
            with failures.undoing(lambda: self._discard(temporary)):
                base_archive.unpack(self._host, source, rootfs)
                rootfs.chmod(0o755)
                temporary.rename(self._root / f"base-{key}")

    def _make_room(self) -> None:
        for stale in self._root.glob("tmp-*"):
            self._discard(stale)
        free = shutil.disk_usage(self._root).free >> 20
        if free < NEEDED_MIB:
            raise ResourceError(
                f"not enough space for the node base image below {self._root}",
                why=f"{free} MiB are free, {NEEDED_MIB} MiB are needed",
                hint="free some space, or set OHMYKUBE_CACHE_DIR to a directory with more",
                id="OMK-P-141",
            )

    def _build(self, key: str) -> None:
        self._make_room()
        temporary = self._root / f"tmp-{key}"
        rootfs = temporary / "rootfs"
        temporary.mkdir(mode=0o755)
        with failures.undoing(lambda: self._discard(temporary)):
            self._bootstrap(rootfs)
            customise(rootfs, self.recipe)
            temporary.rename(self._root / f"base-{key}")

    def _bootstrap(self, rootfs: Path) -> None:
        recipe = self.recipe
        skipped = ("man", "doc", "info", "locale", "lintian")
        argv = [
            *("mmdebstrap", "--quiet", "--variant=minbase", "--mode=root"),
            "--include=" + ",".join(recipe.packages),
            "--dpkgopt=force-unsafe-io",
            *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in skipped),
            "--dpkgopt=path-include=/usr/share/locale/locale.alias",
            recipe.suite,
            str(rootfs),
            *([recipe.mirror] if recipe.mirror else []),
        ]
        try:
            self._host.commands.run(argv, timeout=BUILD_SECONDS, contained=True)
        except process.CommandFailed as error:
            raise _explain(error) from error

    def _discard(self, path: Path) -> None:
        inside = [p for p, _, _ in self._host.mounts() if Path(p).is_relative_to(path)]
        for point in sorted(inside, reverse=True):
            node_root.unmount_lazily(self._host, point)
        files.remove_tree(path)


def _explain(error: process.CommandFailed) -> ProviderError | NetworkError | ResourceError:
    message = "the node base image could not be built"
    text = error.result.stderr
    if "No space left on device" in text:
        return ResourceError(message, why="no space left on device", hint="df -h", id="OMK-P-142")
    signs = (
        "Temporary failure resolving",
        "Could not resolve",
        "Could not connect",
        "Failed to fetch",
    )
    if any(sign in text for sign in signs):
        return NetworkError(
            message,
            why=error.why,
            hint="set spec.provider.options.mirror to a Debian mirror that this host reaches",
            id="OMK-P-143",
        )
    return ProviderError(message, why=error.why, hint="ohmykube doctor", id="OMK-P-144")


def customise(rootfs: Path, recipe: Recipe) -> None:
    """Turn a fresh bootstrap into a base: our files added, identities and caches removed."""
    for name, text in FILES.items():
        path = rootfs / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o644)
    units = rootfs / "etc/systemd/system"
    for unit in recipe.masked:
        (units / unit).unlink(missing_ok=True)
        (units / unit).symlink_to("/dev/null")
    wants = units / "sysinit.target.wants"
    wants.mkdir(parents=True, exist_ok=True)
    link = wants / "ohmykube-cgroups.service"
    link.unlink(missing_ok=True)
    link.symlink_to("/etc/systemd/system/ohmykube-cgroups.service")
    for pattern in ("etc/ssh/ssh_host_*", "var/lib/dbus/machine-id", "var/cache/apt/*.bin"):
        for path in rootfs.glob(pattern):
            path.unlink(missing_ok=True)
    (rootfs / "etc/machine-id").unlink(missing_ok=True)
    for directory in ("etc/cni/net.d", "opt/cni/bin", "etc/ohmykube"):
        (rootfs / directory).mkdir(parents=True, exist_ok=True)
    for directory in ("var/lib/containerd", "var/lib/kubelet", "var/lib/etcd"):
        (rootfs / directory).mkdir(parents=True, exist_ok=True)
    # The directory is itself a node's /, whatever the umask of the one who built it.
    rootfs.chmod(0o755)
