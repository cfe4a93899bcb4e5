"""``ohmykube cache verify``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ohmykube.cli import _options
from ohmykube.cli._lazy import Command
from ohmykube.cli.cache import options, results, texts

if TYPE_CHECKING:
    from ohmykube.cli._app import App


@click.command(
    cls=Command,
    examples=(
        "ohmykube cache verify",
        "ohmykube cache verify package/kubeadm@1.36.3 --jobs 1",
        "ohmykube cache verify --signatures",
    ),
)
@click.argument("refs", nargs=-1, metavar="[REF]...")
@options.jobs
@click.option(
    "--signatures", is_flag=True, help="Check publishers' signatures instead, and show checksums."
)
@_options.output
@_options.talk
@_options.pass_app
def verify(app: App, *, refs: tuple[str, ...], jobs: int | None, signatures: bool) -> None:
    """Hash all blobs again, or those that a REF needs.

    Damaged blobs go to quarantine, and the artifacts that need them are named; the next `up`
    fetches them again. REF is a name or NAME@VERSION, optionally with KIND/ in front, or a digest.

    With --signatures only signed files are hashed, and `cosign` and `gpgv` on this host check the
    publishers' signatures again: verified, failed, absent, or unchecked with the reason.
    """
    from ohmykube.workflows import cache

    if signatures:
        known = app.call(cache.verify_signatures, refs)
        failure = texts.bad_signatures(known)
        app.show(
            results.signatures(known),
            lambda: texts.signatures(known),
            final=failure is None,
        )
    else:
        app.acting()
        found = app.call(cache.verify, refs, jobs=jobs)
        failure = texts.damage(found)
        app.show(
            results.verified(found),
            lambda: texts.verified(found),
            final=failure is None,
        )
    if failure is not None:
        raise failure
