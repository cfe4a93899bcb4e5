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
    # Even the parser takes three times as long to import as Python takes to start.
    if arguments == ["--version"] and _print(f"ohmykube {__version__}\n"):
        return 0
    from ohmykube.cli._run import run  # noqa: PLC0415 - keep the import lazy

    return run(arguments, called=sys.argv[0] if argv is None else None)


def _print(text: str) -> bool:
    """Write to stdout and tell whether it took it; the long way explains why it did not."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except (OSError, ValueError, AttributeError):
        return False
    return True


if __name__ == "__main__":
    raise SystemExit(main())
