"""``ohmykube version``."""

from __future__ import annotations

import platform
from importlib import metadata
from typing import TYPE_CHECKING, TypedDict

import click

from ohmykube import __version__
from ohmykube.cli import _options
from ohmykube.cli._lazy import Command
from ohmykube.cli._output import document

if TYPE_CHECKING:
    from ohmykube.cli._app import App


class Version(TypedDict):
    """``ohmykube version``."""

    ohmykube: str
    python: str
    ansibleCore: str
    platform: str


KINDS: dict[str, type] = {"Version": Version}
"""Document kinds by name."""


@click.command(cls=Command, examples=("ohmykube version", "ohmykube version -o json"))
@_options.output
@_options.talk
@_options.pass_app
def version(app: App) -> None:
    """Show the versions of ohmykube and of what it depends on."""
    found = {
        "ohmykube": __version__,
        "python": platform.python_version(),
        "ansibleCore": _installed("ansible-core"),
        "platform": f"{platform.system()} {platform.machine()}".lower(),
    }
    text = (
        f"ohmykube {__version__}\n"
        f"python {found['python']}\n"
        f"ansible-core {found['ansibleCore']}\n"
        f"platform {found['platform']}\n"
    )
    app.show(document("Version", found), text)


def _installed(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "not installed"
