"""Runs one command: the error boundary and the exit code."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import click

from ohmykube.cli._app import App
from ohmykube.cli._root import PROGRAM, TABLE, group
from ohmykube.errors import ExitCode
from ohmykube.ui import console

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

COMPLETE = "_OHMYKUBE_COMPLETE"
"""Environment variable by which the shell asks for completions."""
_PIPE_CLOSED = 141
"""What a shell reports for a program that SIGPIPE ended, as it would end kubectl."""


def run(
    argv: Sequence[str],
    *,
    bind: Callable[[Callable[..., Any]], Callable[..., Any]] | None = None,
    environ: Mapping[str, str] | None = None,
    called: str | None = None,
) -> int:
    """Run one command and return its exit code; never raises.

    Args:
        argv: arguments without the program's name.
        bind: returns what to call for a workflow; None to call the workflow itself.
        environ: the environment; None for the process's.
        called: by which name the program was called, for what is said of it.
    """
    console.hold_standard_descriptors()
    app = App.for_process(environ)
    app.called = called
    if bind is not None:
        app.bind = bind
    with contextlib.closing(app), app.signals:
        try:
            return _invoke(app, list(argv))
        except BrokenPipeError:
            app.results.discard()
            return _PIPE_CLOSED
        except BaseException as error:  # noqa: BLE001 - the one boundary
            if app.plugin is None:
                return app.fail(error)
            from ohmykube.cli import _plugins

            if isinstance(error, SystemExit):
                return _plugins.leave(app, error)
            return app.fail(_plugins.blame(error, app.plugin))


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
