"""Directories of clusters and nodes: emptied so that a crash leaves what is still known as ours."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from ohmykube.errors import ProviderError
from ohmykube.kit import files, shell

if TYPE_CHECKING:
    from pathlib import Path

_LOOKS = 10
"""How often a directory that is removed is looked through, while others still write to it."""


def empty(directory: Path, *, last: str) -> None:
    """Remove a directory, the entry called ``last`` after all others; none is fine.

    Looks again when it was not empty then: a program that a killed creation of ours had begun, such
    as ssh-keygen, may have ended only meanwhile.
    """
    for more in reversed(range(_LOOKS)):
        try:
            for entry in sorted(directory.iterdir(), key=lambda path: path.name == last):
                files.remove_tree(entry)
            directory.rmdir()
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            if error.errno != errno.ENOTEMPTY or not more:
                raise
        else:
            return


def foreign(directory: Path) -> bool:
    """Tell whether a directory without a marker of ours holds anything.

    An empty one, or one with nothing but an unfinished marker, is what a crash of ours leaves.
    """
    if not directory.is_dir():
        return False
    return any(not path.name.startswith(files.TEMP_PREFIX) for path in directory.iterdir())


def not_ours(directory: Path) -> ProviderError:
    """Return the error for a directory without our marker."""
    return ProviderError(
        f"{directory} is not touched",
        why="it has no marker of ours for exactly this cluster and node",
        hint=f"ls -l {shell.word(directory)}; move it away if it is not needed",
        id="OMK-P-110",
    )
