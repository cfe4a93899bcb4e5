"""The options that describe a cluster, for `up` and `plan`, and what they come to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ohmykube.cli import _names, _numbers, _options
from ohmykube.cli.bundle import options
from ohmykube.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ohmykube.cli._app import App
    from ohmykube.model.cluster import Cluster

F = TypeVar("F", bound="Callable[..., Any]")
DEFAULT_NAME = "dev"
FILE = Path("cluster.yaml")
"""Describes the cluster where neither a file nor a cluster is named."""

_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option(
        "-f",
        "--file",
        type=click.Path(path_type=Path, allow_dash=True),
        help=f"Description of the cluster; - reads stdin (default: {FILE}, where there is one).",
    ),
    click.option("--name", metavar="NAME", help=f"Cluster name (default: {DEFAULT_NAME})."),
    click.option("--workers", type=_numbers.Whole(0, 100), metavar="N", help="Worker nodes."),
    click.option(
        "--control-planes", type=_numbers.Whole(1, 9), metavar="N", help="Control-plane nodes."
    ),
    click.option("--kubernetes", metavar="VERSION", help="Kubernetes version, such as 1.36.3."),
    click.option(
        "--provider",
        shell_complete=_options.complete_providers,
        help="Who makes the machines: auto, lima, nspawn, ssh, ...",
    ),
    click.option("--cpus", type=_numbers.Number(0.1, 1024), metavar="N", help="CPUs of each node."),
    click.option("--memory", metavar="SIZE", help="Memory of each node, such as 4GiB."),
    click.option("--mirror", metavar="URL", help="Take artifacts from this mirror or directory."),
    click.option("--cni", metavar="NAME", help="Pod network: flannel, another add-on, or none."),
    click.option(
        "--proxy-mode", type=click.Choice(["iptables", "nftables"]), help="How kube-proxy works."
    ),
    click.option(
        "--template",
        type=click.Choice(["auto", "build", "never"]),
        help="Clone nodes from templates: where there is one, always, never.",
    ),
    options.offline,
    options.in_place,
    options.allowed_signers,
)


def described(function: F) -> F:
    """Add ``NAME``, ``-f`` and options that change values or say where artifacts come from."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return click.argument(
        "name_argument",
        metavar="[NAME]",
        required=False,
        shell_complete=_options.complete_clusters,
    )(function)


def exit_code(function: F) -> F:
    """Add ``--exit-code``."""
    return click.option(
        "--exit-code", is_flag=True, help="Exit with 4 when something would change."
    )(function)


def cluster(app: App, file: Path | None, chosen: dict[str, Any]) -> Cluster:
    """Return the cluster that the options describe, or ``cluster.yaml`` of this directory.

    Raises:
        UsageError, ConfigError: they do not go together, or are wrong.
    """
    chosen["name"] = _names.given(chosen["name_argument"], chosen["name"])
    if file is None and chosen["name"] is None and FILE.is_file():
        file = FILE
        app.note(f"described by {FILE} in this directory")
    bundles: tuple[Path, ...] = chosen["bundles"]
    if chosen["allowed_signers"] is not None and not bundles:
        raise UsageError("--allowed-signers goes with --bundle", id="OMK-I-433")
    if file is None and bundles and chosen["kubernetes"] is None:
        chosen["kubernetes"] = _version(app, chosen["name"] or DEFAULT_NAME, bundles[0])
    found = _load(app, file, chosen)
    app.cluster = found.name
    return found


def _version(app: App, name: str, bundle: Path) -> str | None:
    """Return the version of Kubernetes in a bundle, for a cluster that does not exist yet."""
    from ohmykube.workflows import bundle as workflow
    from ohmykube.workflows import names

    if name in app.call(names.clusters):
        return None
    return app.call(workflow.inspect, bundle).archive.bundle.kubernetes or None


def _load(app: App, file: Path | None, chosen: dict[str, Any]) -> Cluster:
    from ohmykube.cli import _cluster_file

    default = DEFAULT_NAME if file is None else None
    return _cluster_file.load(app, file, _cluster_file.overrides(chosen, default))
