"""The entry point: answers ``--version`` itself and hands everything else to ``cli``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ohmykube import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code; never raises, never prints a traceback."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        # Even the parser takes three times as long to import as Python takes to start.
        if arguments == ["--version"]:
            from ohmykube.ui.console import Results  # noqa: PLC0415 - keep the import lazy

            Results(sys.stdout).write(f"ohmykube {__version__}\n")
            return 0
    except OSError:
        pass  # the long way below reports it
    from ohmykube.cli._run import run  # noqa: PLC0415 - keep the import lazy

    return run(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
