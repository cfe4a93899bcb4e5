"""Options that the commands on cluster.yaml share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable


def file(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``-f``."""
    return click.option(
        "-f",
        "--file",
        type=click.Path(path_type=Path, allow_dash=True),
        default=Path("cluster.yaml"),
        show_default=True,
        help="The file; - reads stdin.",
    )(function)
