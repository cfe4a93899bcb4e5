"""``ohmykube cache fsck``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ohmykube.cli import _options
from ohmykube.cli._lazy import Command
from ohmykube.cli.cache import options, results, texts

if TYPE_CHECKING:
    from ohmykube.cli._app import App


@click.command(
    cls=Command, examples=("ohmykube cache fsck", "ohmykube cache fsck --rebuild --jobs 2")
)
@click.option(
    "--rebuild", is_flag=True, help="Hash everything, then rebuild the index and the lists."
)
@options.jobs
@_options.output
@_options.talk
@_options.pass_app
def fsck(app: App, *, rebuild: bool, jobs: int | None) -> None:
    """Check that references, blobs, layout and index agree; hashes and changes nothing.

    With --rebuild, everything that can be derived from the blobs is rebuilt: damaged blobs go to
    quarantine, and references to missing blobs are dropped.
    """
    from ohmykube.workflows import cache

    done = None
    if rebuild:
        app.acting()
        done = app.call(cache.rebuild, jobs=jobs)
    findings = app.call(cache.check)
    failure = texts.trouble(findings, done)
    app.show(
        results.checked(findings, done),
        lambda: texts.checked(findings, done),
        final=failure is None,
    )
    if failure is not None:
        raise failure
