"""``ohmykube help``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ohmykube.cli import _options
from ohmykube.cli._lazy import Command
from ohmykube.errors import ExitCode, UsageError
from ohmykube.ui.tables import table

if TYPE_CHECKING:
    from collections.abc import Callable

    from ohmykube.cli._app import App

MEANING = {
    ExitCode.OK: "done",
    ExitCode.BUG: "a bug in ohmykube",
    ExitCode.USAGE: "options that cannot be understood",
    ExitCode.CONFIG: "cluster.yaml is wrong",
    ExitCode.CHANGES: "something would change (only where asked for)",
    ExitCode.LOCKED: "another run holds the cluster, or a name or port is taken",
    ExitCode.NOT_FOUND: "no such cluster or node",
    ExitCode.PREREQUISITE: "something is missing on this host: ohmykube doctor",
    ExitCode.RESOURCE: "not enough disk or memory",
    ExitCode.PERMISSION: "not allowed to this user",
    ExitCode.NETWORK: "a source cannot be reached",
    ExitCode.INTEGRITY: "a checksum or a state file does not match",
    ExitCode.PROVIDER: "a machine could not be made or changed",
    ExitCode.UNREACHABLE: "a machine does not answer on ssh",
    ExitCode.NODE: "a step failed on a node",
    ExitCode.CLUSTER: "the cluster is not healthy",
    ExitCode.TIMEOUT: "a deadline passed",
    ExitCode.INTERRUPTED: "stopped by Ctrl-C",
    ExitCode.TERMINATED: "stopped by SIGTERM",
}
ENVIRONMENT = (
    ("OHMYKUBE_HOME", "one directory for state, machines and cache"),
    ("OHMYKUBE_CACHE_DIR", "directory of the cache alone"),
    ("NO_COLOR", "no colours; does not affect animation"),
    ("FORCE_COLOR", "colours without a terminal; never animation"),
    ("NO_PROGRESS", "plain lines instead of animation"),
    ("CI", "the same"),
    ("KUBECONFIG", "where `kubeconfig --merge` writes"),
)


def _exit_codes(_app: App) -> str:
    return table(("code", "meaning"), [(int(code), text) for code, text in MEANING.items()])


def _environment(_app: App) -> str:
    return table(("variable", "effect"), ENVIRONMENT)


def _logs(app: App) -> str:
    rows = [
        ("commands that change something", str(app.paths.state / "logs")),
        ("kubelet of a node", "ohmykube shell NODE -- journalctl -u kubelet"),
        ("containerd of a node", "ohmykube shell NODE -- journalctl -u containerd"),
        ("containers", "kubectl logs POD"),
    ]
    return table(("log of", "where"), rows)


TOPICS: dict[str, Callable[[App], str]] = {
    "exit-codes": _exit_codes,
    "environment": _environment,
    "logs": _logs,
}


@click.command(
    "help",
    cls=Command,
    examples=("ohmykube help up", "ohmykube help exit-codes", "ohmykube help environment"),
)
@click.argument("words", metavar="[COMMAND|TOPIC]", nargs=-1)
@_options.pass_app
def help_(app: App, *, words: tuple[str, ...]) -> None:
    """Explain a command, or one of the topics exit-codes, environment and logs."""
    if len(words) == 1 and words[0] in TOPICS:
        app.write(app.advised(TOPICS[words[0]](app)))
        return
    ctx = click.get_current_context().find_root()
    command: click.Command = ctx.command
    for word in words:
        if not isinstance(command, click.Group):
            raise UsageError(f'"{ctx.info_name}" has no commands', hint="ohmykube --help")
        name, found, _ = command.resolve_command(ctx, [word])
        if found is not None:
            command = found
            ctx = click.Context(found, parent=ctx, info_name=name)
    app.write(command.get_help(ctx) + "\n")
