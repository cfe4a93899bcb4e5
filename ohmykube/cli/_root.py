"""The command ``ohmykube``: the table of all commands, and the page that lists them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ohmykube import __version__
from ohmykube.cli import _options
from ohmykube.cli._lazy import Entry, LazyGroup, overview

if TYPE_CHECKING:
    from ohmykube.cli._plugins import Plugin

_HERE = "ohmykube.cli"
PROGRAM = "ohmykube"

TABLE = {
    "up": Entry(f"{_HERE}.cluster.up", "up", "Create a cluster, or change it to match its file."),
    "plan": Entry(f"{_HERE}.cluster.plan", "plan", "Show what `up` would do, and change nothing."),
    "down": Entry(f"{_HERE}.cluster.down", "down", "Remove a cluster and its machines."),
    "status": Entry(f"{_HERE}.cluster.status", "status", "Show one cluster and its nodes."),
    "list": Entry(f"{_HERE}.cluster.list", "list_", "Show all clusters."),
    "kubeconfig": Entry(
        f"{_HERE}.cluster.kubeconfig", "kubeconfig", "Print or merge the kubeconfig."
    ),
    "shell": Entry(f"{_HERE}.cluster.shell", "shell", "Open a shell on a node, or run a command."),
    "cp": Entry(f"{_HERE}.cluster.cp", "cp", "Copy files to a node, or from one."),
    "expose": Entry(f"{_HERE}.expose", "expose", "Reach services on ports of this host."),
    "conformance": Entry(
        f"{_HERE}.cluster.conformance", "conformance", "Run upstream's conformance tests."
    ),
    "start": Entry(f"{_HERE}.cluster.start", "start", "Start a stopped cluster."),
    "stop": Entry(f"{_HERE}.cluster.stop", "stop", "Stop a cluster and keep its data."),
    "addon": Entry(f"{_HERE}.addon", "addon", "Look at the add-ons that a cluster can have."),
    "image": Entry(f"{_HERE}.image", "image", "Bring your own images to the nodes."),
    "cache": Entry(f"{_HERE}.cache", "cache", "Manage the artifacts that all clusters share."),
    "bundle": Entry(f"{_HERE}.bundle", "bundle", "Pack all that a cluster needs offline."),
    "template": Entry(f"{_HERE}.template", "template", "Manage prepared nodes that `up` clones."),
    "doctor": Entry(f"{_HERE}.doctor", "doctor", "Check whether this host can make clusters."),
    "config": Entry(f"{_HERE}.config", "config", "Write, check and explain cluster.yaml."),
    "version": Entry(f"{_HERE}.version", "version", "Show versions."),
    "completion": Entry(f"{_HERE}.completion", "completion", "Print a shell completion script."),
    "help": Entry(f"{_HERE}.help", "help_", "Explain a command, or the exit codes."),
}
SECTIONS = {
    "Clusters": ("up", "plan", "down", "status", "list", "start", "stop", "conformance"),
    "Access": ("kubeconfig", "shell", "cp", "expose"),
    "Add-ons": ("addon",),
    "Artifacts": ("image", "cache", "bundle", "template"),
    "This host and this program": ("doctor", "config", "version", "completion", "help"),
}
SYNONYMS = {
    "create": "up",
    "apply": "up",
    "diff": "plan",
    "delete": "down",
    "destroy": "down",
    "ls": "list",
    "get": "status",
    "nodes": "status",
    "ssh": "shell",
    "exec": "shell",
    "load": "image load",
    "validate": "config validate",
    "log": "help logs",
    "logs": "help logs",
}
"""What other programs call our commands."""
EXAMPLES = (
    "ohmykube up                          # 1 control plane, 2 workers",
    "ohmykube up -f cluster.yaml          # as described in a file",
    "ohmykube status",
    "ohmykube down dev",
)


class Root(LazyGroup):
    """Our commands, and those of others."""

    synonyms = SYNONYMS

    def _found(self, ctx: click.Context) -> tuple[Plugin, ...]:
        from ohmykube.cli import _plugins

        return _plugins.find(_options.app_of(ctx).environ.get("PATH", ""), TABLE)

    def others(self, ctx: click.Context) -> dict[str, str]:
        """Return the commands of others that can be called, with where they come from."""
        return {one.name: one.source for one in self._found(ctx) if not one.unused}

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command of ours, else of others, else None; raises when theirs is broken."""
        if cmd_name in TABLE:
            return super().get_command(ctx, cmd_name)
        usable = (one for one in self._found(ctx) if one.name == cmd_name and not one.unused)
        plugin = next(usable, None)
        if plugin is None:
            return None
        from ohmykube.cli import _plugins

        app = _options.app_of(ctx)
        app.plugin, app.command = plugin, plugin.name
        return _plugins.load(plugin)

    def format_others(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write where commands of others come from, and why some cannot be called."""
        rows = [
            (one.name, f"not used: {one.unused} ({one.source})" if one.unused else one.source)
            for one in self._found(ctx)
        ]
        if rows:
            with formatter.section("Plugins"):
                width = max(len(name) for name, _ in rows)
                for name, text in rows:  # not wrapped: a path is there to be copied
                    formatter.write(f"  {name.ljust(width)}  {text}\n")


def _print_version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click's signature
    if value and not ctx.resilient_parsing:
        _options.app_of(ctx).write(f"ohmykube {__version__}\n")
        ctx.exit(0)


def group() -> LazyGroup:
    """Return the command ``ohmykube``."""

    def callback() -> None:  # the options are noted on it, so each group has its own
        overview()

    version = click.Option(
        ["--version"],
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=_print_version,
        help="Show the version.",
    )
    made = Root(
        PROGRAM,
        table=TABLE,
        sections=SECTIONS,
        examples=EXAMPLES,
        callback=_options.talk(_options.output(callback)),
        help="Real multi-node Kubernetes clusters, made by kubeadm, from one command.",
        epilog="Exit codes: `ohmykube help exit-codes`.",
    )
    made.params = [*reversed(getattr(made.callback, "__click_params__", [])), version]
    return made
