"""``ohmykube cache rm``."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import click

from ohmykube.cli import _options
from ohmykube.cli._confirm import confirm
from ohmykube.cli._lazy import Command
from ohmykube.cli.cache import results, texts

if TYPE_CHECKING:
    from ohmykube.cli._app import App


@click.command(
    cls=Command,
    examples=(
        "ohmykube cache rm package/kubeadm@1.35.4",
        "ohmykube cache rm registry.k8s.io/etcd:3.6.6-0 --yes",
        "ohmykube cache rm kubelet --every --dry-run",
    ),
)
@click.argument("refs", nargs=-1, required=True, metavar="REF...")
@click.option("--every", is_flag=True, help="Remove all versions that a REF matches.")
@click.option("--dry-run", is_flag=True, help="Only show what would be removed.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@_options.output
@_options.talk
@_options.pass_app
def rm(app: App, *, refs: tuple[str, ...], every: bool, dry_run: bool, yes: bool) -> None:
    """Remove artifacts, and the blobs that nothing else needs.

    REF is a name or NAME@VERSION, optionally with KIND/ in front, or a digest. Artifacts that a
    cluster needs are not removed.
    """
    from ohmykube.workflows import cache

    found = app.call(cache.selected, refs, every=every)
    if not dry_run:
        if not yes:
            gone = f"This removes from the cache:\n{texts.artifacts(found)}"
            flags = ["--every"] if every else []
            again = shlex.join(["ohmykube", "cache", "rm", *refs, *flags, "--yes"])
            confirm(app, "cached artifacts", gone.rstrip(), again)
        app.acting()
    result = app.call(cache.remove, found, dry_run=dry_run)
    app.show(
        results.removed(result, dry_run=dry_run),
        lambda: texts.removed(result, dry_run=dry_run),
    )
