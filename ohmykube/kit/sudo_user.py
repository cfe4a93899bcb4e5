"""The user behind ``sudo``: files for this user are written as this user, not as root."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ohmykube.kit import process

if TYPE_CHECKING:
    from collections.abc import Mapping

SECONDS = 10
# As the user, in a directory of the user: a link that he planted leads root nowhere.
_WRITE = 'umask 077; mkdir -p "$1" && cat >"$1/.$2.$$" && mv -f "$1/.$2.$$" "$1/$2"'
_REMOVE = 'rm -f "$1/$2"'


@dataclass(frozen=True, slots=True, kw_only=True)
class SudoUser:
    """An ordinary user for whom root works."""

    uid: int
    gid: int
    home: Path

    def write(self, path: Path, content: str) -> None:
        """Replace a file of the user (0600) as the user; raises CommandFailed."""
        self._run(_WRITE, path, content)

    def remove(self, path: Path) -> None:
        """Remove a file of the user as the user; raises CommandFailed."""
        self._run(_REMOVE, path, "")

    def _run(self, script: str, path: Path, content: str) -> None:
        ids = ["--reuid", str(self.uid), "--regid", str(self.gid), "--clear-groups"]
        shell = ["sh", "-c", script, "sh", str(path.parent), path.name]
        env = {"PATH": os.defpath, "HOME": str(self.home)}
        process.run(["setpriv", *ids, "--", *shell], timeout=SECONDS, input=content, env=env)


def behind_sudo(environ: Mapping[str, str], *, euid: int) -> SudoUser | None:
    """Return the user who called ``sudo``; None when there is none or it was root."""
    uid, gid = environ.get("SUDO_UID", ""), environ.get("SUDO_GID", "")
    if euid != 0 or not (uid.isdecimal() and gid.isdecimal()) or int(uid) == 0:
        return None
    try:
        home = Path(pwd.getpwuid(int(uid)).pw_dir)
    except KeyError:
        return None
    return SudoUser(uid=int(uid), gid=int(gid), home=home)
