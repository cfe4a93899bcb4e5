"""Runs one command: the group, the error boundary and the exit code."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import click

from ohmykube import __version__
from ohmykube.cli import _options
from ohmykube.cli._app import App
from ohmykube.cli._lazy import Entry, LazyGroup
from ohmykube.errors import ExitCode
from ohmykube.ui import console

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


_HERE = "ohmykube.cli"
PROGRAM = "ohmykube"
COMPLETE = "_OHMYKUBE_COMPLETE"
"""Environment variable by which the shell asks for completions."""
_PIPE_CLOSED = 141
"""What a shell reports for a program that SIGPIPE ended, as it would end kubectl."""

TABLE = {
    "up": Entry(f"{_HERE}.up", "up", "Make a cluster, or bring it to what is described."),
    "plan": Entry(f"{_HERE}.plan", "plan", "Show what `up` would do, and change nothing."),
    "down": Entry(f"{_HERE}.down", "down", "Remove a cluster and its machines."),
    "status": Entry(f"{_HERE}.status", "status", "Show one cluster and its nodes."),
    "list": Entry(f"{_HERE}.listing", "list_", "Show all clusters."),
    "kubeconfig": Entry(f"{_HERE}.kubeconfig", "kubeconfig", "Print or merge the kubeconfig."),
    "shell": Entry(f"{_HERE}.shell", "shell", "Open a shell on a node, or run a command."),
    "start": Entry(f"{_HERE}.power", "start", "Start a stopped cluster."),
    "stop": Entry(f"{_HERE}.power", "stop", "Stop a cluster, keeping all it holds."),
    "image": Entry(f"{_HERE}.image", "image", "Bring your own images to the nodes."),
    "cache": Entry(f"{_HERE}.cache", "cache", "Look after the artifacts that all clusters share."),
    "bundle": Entry(f"{_HERE}.bundle", "bundle", "Carry all that a cluster needs offline."),
    "template": Entry(f"{_HERE}.template", "template", "Look after prepared nodes to clone."),
    "doctor": Entry(f"{_HERE}.doctor", "doctor", "Check whether this host can make clusters."),
    "config": Entry(f"{_HERE}.config", "config", "Write, check and explain cluster.yaml."),
    "version": Entry(f"{_HERE}.version", "version", "Show versions."),
    "completion": Entry(f"{_HERE}.completion", "completion", "Print a shell completion script."),
    "help": Entry(f"{_HERE}.help", "help_", "Explain a command, or the exit codes."),
}
SECTIONS = {
    "Clusters": ("up", "plan", "down", "status", "list", "start", "stop"),
    "Access": ("kubeconfig", "shell"),
    "Artifacts": ("image", "cache", "bundle", "template"),
    "This host and this program": ("doctor", "config", "version", "completion", "help"),
}
EXAMPLES = (
    "ohmykube up                          # 1 control plane, 2 workers",
    "ohmykube up -f cluster.yaml          # as described in a file",
    "ohmykube status",
    "ohmykube down dev",
)


def _print_version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click's signature
    if value and not ctx.resilient_parsing:
        _options.app_of(ctx).write(f"ohmykube {__version__}\n")
        ctx.exit(0)


def group() -> LazyGroup:
    """Return the command ``ohmykube``."""

    def overview() -> None:
        ctx = click.get_current_context()
        if ctx.invoked_subcommand is None:
            _options.app_of(ctx).write(ctx.get_help() + "\n")

    version = click.Option(
        ["--version"],
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=_print_version,
        help="Show the version.",
    )
    made = LazyGroup(
        PROGRAM,
        table=TABLE,
        sections=SECTIONS,
        examples=EXAMPLES,
        callback=_options.talk(_options.output(overview)),
        invoke_without_command=True,
        help="Real multi-node Kubernetes clusters, made by kubeadm, from one command.",
        epilog="Exit codes: `ohmykube help exit-codes`.",
    )
    made.params = [*reversed(getattr(made.callback, "__click_params__", [])), version]
    return made


def run(
    argv: Sequence[str],
    *,
    bind: Callable[[Callable[..., Any]], Callable[..., Any]] | None = None,
    environ: Mapping[str, str] | None = None,
) -> int:
    """Run one command and return its exit code; never raises.

    Args:
        argv: arguments without the program's name.
        bind: returns what to call for a workflow; None to call the workflow itself.
        environ: the environment; None for the process's.
    """
    console.hold_standard_descriptors()
    app = App.for_process(environ)
    if bind is not None:
        app.bind = bind
    with contextlib.closing(app), app.signals:
        try:
            return _invoke(app, list(argv))
        except BrokenPipeError:
            app.results.discard()
            return _PIPE_CLOSED
        except BaseException as error:  # noqa: BLE001 - the one boundary
            return app.fail(error)


def _invoke(app: App, argv: list[str]) -> int:
    root = group()
    if instruction := app.environ.get(COMPLETE):
        from ohmykube.cli.completion import answer

        return answer(root, app, instruction)
    app.command = next((word for word in argv if word in TABLE), PROGRAM)
    try:
        with root.make_context(PROGRAM, argv, obj=app) as ctx:
            root.invoke(ctx)
    except click.exceptions.Exit as leave:
        return leave.exit_code
    return int(ExitCode.OK)
