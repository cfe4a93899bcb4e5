"""``ohmykube cache prune``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ohmykube.cli import _numbers, _options, _sizes
from ohmykube.cli._confirm import confirm
from ohmykube.cli._lazy import Command
from ohmykube.cli.cache import options, results, texts

if TYPE_CHECKING:
    from ohmykube.cache.prune import Policy
    from ohmykube.cli._app import App


@click.command(
    cls=Command,
    examples=(
        "ohmykube cache prune --dry-run",
        "ohmykube cache prune --max-size 5GiB --yes",
        "ohmykube cache prune --older-than 60d --keep-k8s 2 --yes",
    ),
)
@click.option("--all", "everything", is_flag=True, help="Remove everything that no cluster needs.")
@click.option(
    "--max-size",
    type=_sizes.Size(),
    metavar="SIZE",
    help="Size to shrink the cache to (default: 20 GiB, or 20 % of the free space).",
)
@click.option(
    "--older-than",
    type=options.Age(),
    metavar="AGE",
    help="Remove artifacts that were not used for this long, such as 30d.",
)
@click.option(
    "--keep-k8s",
    type=_numbers.Whole(0),
    metavar="N",
    help="Remove artifacts that belong only to Kubernetes releases older than the newest N.",
)
@click.option("--dry-run", is_flag=True, help="Only show what would be removed.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@_options.output
@_options.talk
@_options.pass_app
def prune(
    app: App,
    *,
    everything: bool,
    max_size: int | None,
    older_than: float | None,
    keep_k8s: int | None,
    dry_run: bool,
    yes: bool,
) -> None:
    """Remove leftovers, then unreferenced blobs, then the least recently used artifacts.

    Artifacts that a cluster or a running program needs are kept. Blobs younger than an hour are
    kept too, because a failed run is often repeated.
    """
    from ohmykube.cache.prune import Policy
    from ohmykube.workflows import cache

    policy = Policy(
        everything=everything, max_bytes=max_size, older_than=older_than, keep_k8s=keep_k8s
    )
    plan = app.call(cache.prune_cache, policy, dry_run=True)
    if not dry_run and plan.freed:
        if not yes:
            text = texts.pruned(plan, dry_run=True)
            confirm(app, "cached artifacts", text.rstrip("\n"), _again(policy))
        app.acting()
        plan = app.call(cache.prune_cache, policy, dry_run=False)
    app.show(
        results.pruned(plan, dry_run=dry_run),
        lambda: texts.pruned(plan, dry_run=dry_run),
    )


def _again(policy: Policy) -> str:
    """Return the same command that does not ask."""
    words = ["ohmykube cache prune"]
    if policy.everything:
        words.append("--all")
    if policy.max_bytes is not None:
        words.append(f"--max-size {policy.max_bytes}")
    if policy.older_than is not None:
        words.append(f"--older-than {policy.older_than:.0f}s")
    if policy.keep_k8s is not None:
        words.append(f"--keep-k8s {policy.keep_k8s}")
    return " ".join([*words, "--yes"])
