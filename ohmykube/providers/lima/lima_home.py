"""Our own directory of Lima: no other tool's instances, defaults or half-made directories in it.

limactl's own files are beside ours; what is ours lies below ``_omk``, which limactl passes over.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ohmykube.errors import LockedError, PrerequisiteError, ProviderError
from ohmykube.kit import files, locks, paths, process, shell
from ohmykube.kit.retry import SystemClock

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ohmykube.kit.retry import Clock

VARIABLE = "OHMYKUBE_LIMA_HOME"
OF_LIMA = 900.0
"""Seconds to wait for another run's limactl: the first `create` downloads an image."""
OF_NODE = 2400.0
"""Seconds to wait for another run that makes the same machine."""

# A socket's path has 104 bytes on macOS and 108 on Linux with the final zero; ssh appends 17 bytes
# to the longest socket of an instance (`ssh.sock`), and a network's is `_networks/N/N_qemu.sock`.
_SOCKET = 104 if sys.platform == "darwin" else 108
_INSTANCE_SOCKET = len("//ssh.sock.1234567890123456")
_NETWORK_SOCKET = len("/_networks//_qemu.sock")


@dataclass(frozen=True, slots=True)
class Home:
    """A LIMA_HOME of ours; nothing is made by naming it."""

    root: Path
    clock: Clock = field(default_factory=SystemClock, compare=False)

    @property
    def own(self) -> Path:
        """What is ours and not limactl's."""
        return self.root / "_omk"

    @property
    def identity(self) -> Path:
        """The private key that limactl gives to every guest."""
        return self.root / "_config" / "user"

    @property
    def claims(self) -> Path:
        """One file for each instance that is being made."""
        return self.own / "claims"

    @property
    def clusters(self) -> Path:
        """One file for each cluster with a network here."""
        return self.own / "clusters"

    def directory(self, instance: str) -> Path:
        """Return the directory of an instance."""
        return self.root / instance

    def network_directory(self, network: str) -> Path:
        """Return where the daemon of a network keeps its files."""
        return self.root / "_networks" / network

    def too_long(self, instances: Iterable[str], networks: Iterable[str]) -> str:
        """Return by how much a socket's path would be too long; empty when all fit."""
        root = len(os.fsencode(_resolved(self.root)))
        needs = [root + len(name) + _INSTANCE_SOCKET for name in instances]
        needs += [root + 2 * len(name) + _NETWORK_SOCKET for name in networks]
        longest = max(needs, default=0)
        if longest < _SOCKET:
            return ""
        return (
            f"a socket below {self.root} would have a path of {longest} characters, and the system "
            f"takes {_SOCKET - 1}"
        )

    @contextlib.contextmanager
    def exclusive(self, *, wait: float = OF_LIMA) -> Iterator[None]:
        """Hold the home alone: nothing of it is made, started, stopped or removed meanwhile.

        Raises:
            LockedError: somebody else holds it for too long.
        """
        self._ensure()
        with locks.exclusive(self.own / "lock", str(self.root), wait_seconds=wait):
            yield

    @contextlib.contextmanager
    def shared(self, *, wait: float = OF_LIMA) -> Iterator[None]:
        """Hold the home's lock shared: others may too, but not together with an exclusive holder.

        Raises:
            LockedError: somebody else holds it alone for too long.
        """
        self._ensure()
        path = self.own / "lock"
        end = self.clock.now() + wait
        with files.explained(path):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            while not _try_shared(descriptor):
                if self.clock.now() >= end:
                    raise LockedError(
                        f"{self.root} is in use by another run",
                        why=f"it was not free within {wait:g} s",
                        hint="wait until it has ended, then run the same command again",
                        id="OMK-P-501",
                    )
                self.clock.sleep(0.1)
            yield
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def node_locked(self, instance: str) -> Iterator[None]:
        """Hold one machine; take it before the home.

        Raises:
            LockedError: another run works on it for too long.
        """
        self._ensure()
        path = self.own / "nodes" / f"{instance}.lock"
        with locks.exclusive(path, f"machine {instance}", wait_seconds=OF_NODE):
            yield

    def ensure_key(self) -> None:
        """Make the key before limactl does: its first calls at once fight about it.

        Raises:
            PrerequisiteError: ssh-keygen is not installed.
            ProviderError: it failed.
        """
        public = self.identity.with_name("user.pub")
        if self.identity.exists() and public.exists():
            return
        with self.exclusive():
            if self.identity.exists() and public.exists():
                return
            files.ensure_directory(self.identity.parent)
            for left in (self.identity, public):
                left.unlink(missing_ok=True)
            argv = ["ssh-keygen", "-t", "ed25519", "-q", "-N", "", "-C", "lima"]
            try:
                process.run([*argv, "-f", str(self.identity)], timeout=60)
            except process.CommandFailed as error:
                raise ProviderError(
                    "the ssh key of the machines could not be made",
                    why=error.why,
                    hint=f"ls -ld {shell.word(self.identity.parent)}",
                    id="OMK-P-502",
                ) from error

    def _ensure(self) -> None:
        files.ensure_directory(self.own)


def _try_shared(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        return path


def locate(environ: Mapping[str, str] | None = None) -> Home:
    """Return the home for this user, short because of its sockets, and never ``~/.lima``.

    It is ``$OHMYKUBE_LIMA_HOME``, else ``$OHMYKUBE_HOME/lima``, else ``~/.omk/lima``.

    Raises:
        PrerequisiteError: it is, or lies in, the user's own ``~/.lima``.
    """
    env = os.environ if environ is None else environ
    user = paths.home_of(env)
    if chosen := env.get(VARIABLE):
        root = paths.expanded(chosen)
    elif moved := env.get("OHMYKUBE_HOME"):
        root = paths.expanded(moved) / "lima"
    else:
        root = user / ".omk" / "lima"
    # Whoever looks at ours with limactl may have set LIMA_HOME to it; that makes it not theirs.
    theirs = [
        user / ".lima",
        *([Path(env["LIMA_HOME"])] if chosen and env.get("LIMA_HOME") else ()),
    ]
    if any(_resolved(root).is_relative_to(_resolved(one)) for one in theirs):
        raise PrerequisiteError(
            f"{root} holds virtual machines of your own",
            why="clusters get a directory of Lima that nothing else uses",
            hint=f"unset {VARIABLE}, or choose a new directory with a short path",
            id="OMK-P-503",
        )
    return Home(root)
