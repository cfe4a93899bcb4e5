"""Options that the commands on bundles share."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import click

from ohmykube.cli import _sizes

F = TypeVar("F", bound=Any)
LEAST, MOST = 1 << 20, 1 << 50
"""How large a part may be."""


offline = click.option("--offline", is_flag=True, help="Connect to nothing but the nodes.")
in_place = click.option(
    "--bundle",
    "bundles",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="Use what this bundle holds, in place; can be given several times.",
)


class Target(click.Path):
    """The file that a bundle becomes; what it cannot be is told before anything is read."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path."""
        path = Path(value)
        if str(value) == "-":
            self.fail("a bundle is a file, it does not go to stdout", param, ctx)
        if not str(value).isprintable():
            self.fail(f"{str(value)!r} has a character that no line can show", param, ctx)
        if path.is_dir():
            example = path / "dev.omk.tar"
            self.fail(f"{str(value)!r} is a directory; name a file such as {example}", param, ctx)
        return super().convert(value, param, ctx)


def form(function: F) -> F:
    """Add ``--split`` and ``--sign``; hands on ``split`` (bytes) and ``key``."""
    function = click.option(
        "--sign",
        "key",
        type=click.Path(path_type=Path),
        metavar="KEY",
        help="Sign with this OpenSSH key (ssh-keygen -Y).",
    )(function)
    decorated: F = click.option(
        "--split",
        type=_sizes.Size(LEAST, MOST),
        default=0,
        metavar="SIZE",
        help="Write parts of at most this size, such as 3900M.",
    )(function)
    return decorated


def since(function: F) -> F:
    """Add ``--since``."""
    decorated: F = click.option(
        "--since",
        type=click.Path(path_type=Path),
        metavar="OLD",
        help="Leave out what this older bundle has.",
    )(function)
    return decorated


def allowed_signers(function: F) -> F:
    """Add ``--allowed-signers``."""
    decorated: F = click.option(
        "--allowed-signers",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Accept only bundles signed by one of these keys.",
    )(function)
    return decorated
