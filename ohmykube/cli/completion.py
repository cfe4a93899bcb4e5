"""``ohmykube completion``: scripts for shells, and the answers that they ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from click.shell_completion import get_completion_class

from ohmykube.cli import _options
from ohmykube.cli._lazy import Command

if TYPE_CHECKING:
    from ohmykube.cli._app import App

PROGRAM = "ohmykube"
VARIABLE = "_OHMYKUBE_COMPLETE"
SHELLS = ("bash", "zsh", "fish")
_NOTES = {
    "bash": "# source <(ohmykube completion bash)",
    "zsh": "# source <(ohmykube completion zsh)",
    "fish": "# ohmykube completion fish | source",
}


@click.command(
    cls=Command,
    examples=(
        "source <(ohmykube completion bash)",
        "ohmykube completion zsh > ~/.zfunc/_ohmykube",
        "ohmykube completion fish > ~/.config/fish/completions/ohmykube.fish",
    ),
)
@click.argument("shell", type=click.Choice(SHELLS))
@_options.pass_app
def completion(app: App, *, shell: str) -> None:
    """Print a completion script: commands, options, names of clusters and nodes.

    Completion contacts neither machines nor the network.
    """
    source = _completer(shell, click.get_current_context().find_root().command, app)
    # The template itself, not click's `source()`: that one starts a bash to look at its version.
    text = source.source_template % source.source_vars()
    app.write(f"{_NOTES[shell]}\n{text.strip()}\n")


def answer(root: click.Command, app: App, instruction: str) -> int:
    """Answer a shell that completes; wrong or failing questions get no answer, never an error."""
    shell, _, question = instruction.partition("_")
    if question != "complete" or shell not in SHELLS:
        return 1
    try:
        app.write(_completer(shell, root, app).complete() + "\n")
    except Exception:  # noqa: BLE001 - a message here would land in the middle of the user's line
        return 1
    return 0


def _completer(shell: str, root: click.Command, app: App) -> click.shell_completion.ShellComplete:
    made = get_completion_class(shell)
    if made is None:
        raise TypeError(f"click has no completion for {shell}")
    return made(root, {"obj": app}, PROGRAM, VARIABLE)
