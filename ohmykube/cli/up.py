"""``ohmykube up``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ohmykube.cli import _bundle_options, _documents, _names, _options, _texts
from ohmykube.cli._lazy import Command
from ohmykube.errors import UsageError

if TYPE_CHECKING:
    from ohmykube.cli._app import App
    from ohmykube.model.cluster import Cluster

DEFAULT_NAME = "dev"
LONGEST_WAIT = 86_400


@click.command(
    cls=Command,
    examples=(
        "ohmykube up",
        "ohmykube up --workers 3 --kubernetes 1.36.3",
        "ohmykube up -f cluster.yaml --plan",
        "ohmykube config template | ohmykube up -f -",
        "ohmykube up -f cluster.yaml --offline --bundle dev.omk.tar",
    ),
)
@click.option(
    "-f",
    "--file",
    type=click.Path(path_type=Path, allow_dash=True),
    help="Description of the cluster; - reads stdin.",
)
@click.option("--name", help=f"Cluster name (default: {DEFAULT_NAME}).")
@click.option("--workers", type=click.IntRange(0, 100), metavar="N", help="Worker nodes.")
@click.option(
    "--control-planes", type=click.IntRange(1, 9), metavar="N", help="Control-plane nodes."
)
@click.option("--kubernetes", metavar="VERSION", help="Kubernetes version, such as 1.36.3.")
@click.option(
    "--provider",
    shell_complete=_options.complete_providers,
    help="Who makes the machines: auto, lima, nspawn, ssh, ...",
)
@click.option("--cpus", type=click.FloatRange(0.1, 1024), metavar="N", help="CPUs of each node.")
@click.option("--memory", metavar="SIZE", help="Memory of each node, such as 4GiB.")
@click.option("--mirror", metavar="URL", help="Take artifacts from this mirror or directory.")
@click.option("--cni", type=click.Choice(["flannel", "none"]), help="Pod network.")
@click.option(
    "--proxy-mode", type=click.Choice(["iptables", "nftables"]), help="How kube-proxy works."
)
@click.option(
    "--template",
    type=click.Choice(["auto", "build", "never"]),
    help="Clone nodes from templates: where there is one, always, never.",
)
@click.option("--offline", is_flag=True, help="Connect to nothing but the nodes.")
@click.option(
    "--bundle",
    "bundles",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="Use what this bundle holds, in place; can be given several times.",
)
@_bundle_options.allowed_signers
@click.option("--plan", "plan_only", is_flag=True, help="Show what would be done, change nothing.")
@click.option(
    "--timeout",
    type=click.IntRange(1, LONGEST_WAIT),
    metavar="SECONDS",
    help="How long nodes may take to become ready (default: 600, more for emulated ones).",
)
@_options.output
@_options.talk
@_options.pass_app
def up(
    app: App, /, *, file: Path | None, plan_only: bool, timeout: int | None, **chosen: Any
) -> None:
    """Make a cluster, or bring an existing one to what is described.

    Without a file: one control plane and two workers. Can be stopped at any moment and run again;
    it then finishes the job.
    """
    from ohmykube.workflows.up_values import UpOptions  # noqa: PLC0415 - keeps --help light

    bundles: tuple[Path, ...] = chosen["bundles"]
    if chosen["allowed_signers"] is not None and not bundles:
        raise UsageError("--allowed-signers goes with --bundle", id="OMK-I-433")
    if file is None and bundles and chosen["kubernetes"] is None:
        chosen["kubernetes"] = _version(app, chosen["name"] or DEFAULT_NAME, bundles[0])
    cluster = _load(app, file, chosen)
    if not plan_only:
        app.acting()
    options = UpOptions(
        plan_only=plan_only,
        wait_seconds=timeout,
        offline=chosen["offline"],
        bundles=bundles,
        allowed_signers=chosen["allowed_signers"],
    )
    result = app.workflows.up(app.services, cluster, options)
    if plan_only:
        app.show(_documents.plan(result), _texts.plan(result))
    else:
        app.show(_documents.up(result), _texts.up(result))


def _version(app: App, name: str, bundle: Path) -> str | None:
    """Return the version of Kubernetes in a bundle, for a cluster that does not exist yet."""
    if name in app.workflows.names(app.paths):
        return None
    return app.workflows.bundle.inspect(bundle).archive.bundle.kubernetes or None


def _load(app: App, file: Path | None, chosen: dict[str, Any]) -> Cluster:
    from ohmykube.cli import _config  # noqa: PLC0415 - pydantic is slow to import

    if chosen["name"] is not None:
        _names.checked(chosen["name"])
    default = DEFAULT_NAME if file is None else None
    return _config.load(app, file, _config.overrides(chosen, default))
