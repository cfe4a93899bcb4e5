"""``ohmykube conformance``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ohmykube.cli import _names, _options
from ohmykube.cli._lazy import Command
from ohmykube.cli.cluster import conformance_results as results

if TYPE_CHECKING:
    from ohmykube.cli._app import App


@click.command(
    cls=Command,
    examples=(
        "ohmykube conformance",
        r"ohmykube conformance dev --focus '\[sig-network\].*\[Conformance\]'",
        "ohmykube conformance --skip '\\[Serial\\]' --results here",
    ),
)
@_options.cluster
@click.option(
    "--focus", metavar="REGEX", default=None, help="Which specs (default: all of conformance)."
)
@click.option("--skip", metavar="REGEX", default="", help="Which of these not.")
@click.option(
    "--image", metavar="IMAGE", default="", help="Of the tests (default: upstream's, by version)."
)
@click.option(
    "--results",
    "directory",
    metavar="DIRECTORY",
    default="",
    help="For junit_01.xml and e2e.log (default: conformance-CLUSTER).",
)
@_options.output
@_options.talk
@_options.pass_app
def conformance(
    app: App,
    *,
    name_argument: str | None,
    name_option: str | None,
    focus: str | None,
    skip: str,
    image: str,
    directory: str,
) -> None:
    """Run upstream's conformance tests in a cluster.

    They run as a pod, about two hours for all of them, from an image of registry.k8s.io. Ctrl-C
    ends them and removes what they made. A spec that fails makes the exit code 16.
    """
    from ohmykube.workflows import conformance as workflow

    chosen = {} if focus is None else {"focus": focus}
    options = workflow.ConformanceOptions(**chosen, skip=skip, image=image, results=directory)
    name = _names.choose(app, name_argument, name_option)
    app.acting()
    result = app.call(workflow.conformance, name, options)
    app.show(results.document_of(result), results.text(result), final=not result.failed)
    workflow.must_have_passed(result)
