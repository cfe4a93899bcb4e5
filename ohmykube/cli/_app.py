"""What one command works with: settings, streams, reporter, log and services, built once."""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from ohmykube.cli import _failure, _output
from ohmykube.cli._log import RunLog
from ohmykube.cli._signals import Signals
from ohmykube.errors import ExitCode, ResourceError, UsageError
from ohmykube.kit import paths as places
from ohmykube.kit import process
from ohmykube.progress import Message, NullReporter
from ohmykube.ui import console

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import click

    from ohmykube.cli._advice import Advice
    from ohmykube.cli._plugins import Plugin
    from ohmykube.progress import Event, Reporter
    from ohmykube.sdk import CommandContext
    from ohmykube.steps.context import Services
    from ohmykube.ui.jsonl import JsonReporter
    from ohmykube.ui.live import LiveReporter
    from ohmykube.ui.plain import PlainReporter

P = ParamSpec("P")
T = TypeVar("T")

_LOGGER = _PROGRAM = "ohmykube"


@dataclass(slots=True)
class Settings:
    """The options that every command has."""

    output: str = "table"
    """``table``, ``json`` or ``yaml``."""
    progress: str = "auto"
    """``auto``, ``live``, ``plain`` or ``json``."""
    verbose: int = 0
    quiet: bool = False


class Tee:
    """Sends every event to the log and to the screen."""

    def __init__(self, log: RunLog, screen: Reporter, advice: Callable[[str], str]) -> None:
        self._log = log
        self._screen = screen
        self._advice = advice

    def emit(self, event: Event) -> None:
        """Record and show."""
        if isinstance(event, Message):
            event = replace(event, text=self._advice(event.text))
        self._log.event(event)
        self._screen.emit(event)


class _Echo(logging.Handler):
    """With ``-vv``: our log records on the screen too."""

    def __init__(self, stderr: console.ErrorStream) -> None:
        super().__init__(logging.DEBUG)
        self._stderr = stderr

    def emit(self, record: logging.LogRecord) -> None:
        self._stderr.line(f"debug: {console.one_line(record.getMessage())}")


def _itself(workflow: Callable[..., Any]) -> Callable[..., Any]:
    return workflow


@dataclass
class App:
    """Composition root of one command."""

    environ: Mapping[str, str]
    stderr: console.ErrorStream
    results: console.Results
    terminal: console.Terminal
    """What stderr can show."""
    interactive: Callable[[Sequence[str]], int] = process.interactive
    """Runs a program on the user's terminal."""
    bind: Callable[[Callable[..., Any]], Callable[..., Any]] = _itself
    """Returns what to call for a workflow: the workflow. Tests return something that answers."""
    command: str = _PROGRAM
    usage: str = f"{_PROGRAM} --help"
    """The command that explains what may be typed here."""
    plugin: Plugin | None = None
    """Whose command it is, when it is none of ours."""
    settings: Settings = field(default_factory=Settings)
    called: str | None = None
    """By which name the program was called; None when it was not called as a program."""
    context: click.Context | None = None
    """Of the command that runs."""
    cluster: str | None = None
    """The one that it works on, once that is known."""
    _shown: bool = False

    @classmethod
    def for_process(cls, environ: Mapping[str, str] | None = None) -> App:
        """Build it from this process's streams and environment; touches no file."""
        env = os.environ if environ is None else environ
        return cls(
            environ=env,
            stderr=console.ErrorStream(sys.stderr),
            results=console.Results(sys.stdout),
            terminal=console.inspect(sys.stderr, env),
        )

    @cached_property
    def paths(self) -> places.Paths:
        """Where things live; raises UsageError when the environment names no place that can be."""
        return places.from_environment(self.environ)

    @cached_property
    def log(self) -> RunLog:
        """The run's log, attached to our loggers from its first use."""
        try:
            directory = self.paths.state / "logs"
        except UsageError:  # the error of the command; there is no place for a log then
            directory = None
        handler = RunLog(directory, self.command)
        logger = logging.getLogger(_LOGGER)
        logger.setLevel(logging.DEBUG)
        logger.propagate = False
        logger.addHandler(handler)
        if self.settings.verbose > 1:
            logger.addHandler(_Echo(self.stderr))
        return handler

    @cached_property
    def signals(self) -> Signals:
        """The handlers of Ctrl-C and friends."""
        return Signals(self)

    @cached_property
    def screen(self) -> LiveReporter | PlainReporter | JsonReporter | None:
        """The reporter that the settings ask for; None for silence."""
        mode, verbosity = self.settings.progress, self.settings.verbose
        if mode == "json":
            from ohmykube.ui.jsonl import JsonReporter

            return JsonReporter(self.stderr, verbosity=verbosity)
        if self.settings.quiet:
            return None
        # What cannot be animated is not, even when asked for: a log full of escapes helps nobody.
        if self.terminal.animate and mode in ("auto", "live"):
            from ohmykube.ui.live import LiveReporter

            return LiveReporter(self.stderr, self.terminal, verbosity=verbosity)
        from ohmykube.ui.plain import PlainReporter

        return PlainReporter(self.stderr, verbosity=verbosity)

    @cached_property
    def reporter(self) -> Reporter:
        """The screen and the log together."""
        return Tee(self.log, self.screen or NullReporter(), self.advised)

    @cached_property
    def services(self) -> Services:
        """What workflows take."""
        from ohmykube.kit import sudo_user
        from ohmykube.steps.context import Services

        return Services(
            paths=self.paths,
            reporter=self.reporter,
            verbosity=self.settings.verbose,
            sudo_user=sudo_user.behind_sudo(self.environ, euid=os.geteuid()),
        )

    def call(
        self,
        workflow: Callable[Concatenate[Services, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run a workflow with the services of this command; raises what it raises."""
        result: T = self.bind(workflow)(self.services, *args, **kwargs)
        return result

    def advised(self, text: str) -> str:
        """Return a text in which commands are written so that they can be typed."""
        return self.advice.text(text) if _PROGRAM in text else text

    @property
    def advice(self) -> Advice:
        """What commands in texts are completed with."""
        from ohmykube.cli import _advice

        called = _advice.program(self.called, self.environ)
        return _advice.of(self.context, called, self.cluster)

    def acting(self) -> None:
        """Call before changing anything: from now on there is a log file."""
        self.log.open()
        # Arguments can hold a password (a mirror's URL), so only the command's name is noted.
        self.log.note(f"ohmykube {self.command} (process {os.getpid()})")

    def note(self, text: str) -> None:
        """Say a line on stderr, unless asked to be quiet or to speak JSON only."""
        if not self.settings.quiet and self.settings.progress != "json":
            self.close_screen()
            self.stderr.line(self.advised(text))

    def show(
        self, content: Mapping[str, Any], text: str | Callable[[], str], *, final: bool = True
    ) -> None:
        """Write the result: ``content`` as a document, or ``text`` for people.

        Args:
            content: the whole result.
            text: the same for people, or what makes it.
            final: False when an error follows.

        Raises:
            ResourceError: stdout takes no more.
            BrokenPipeError: its reader has gone.
        """
        self.close_screen()
        form = self.settings.output
        if form == "table":
            out = self.advised(text if isinstance(text, str) else text())
            width = self.results.columns(self.environ)
            out = out if width is None else console.fit(out, width)
        else:
            out = _output.render(content, form, unicode=self.results.unicode)
        self._shown = True
        self.write(out)
        if final and self.settings.progress == "json":
            self._json().result(content)

    def write(self, text: str) -> None:
        """Write text to stdout as it is; raises as ``show``."""
        try:
            self.results.write(text)
        except BrokenPipeError:
            raise
        except OSError as error:
            self.results.discard()
            raise ResourceError(
                "the result could not be written to standard output",
                why=error.strerror or str(error),
                hint="run the same command again with another output",
                id="OMK-H-108",
            ) from error

    def fail(self, error: BaseException) -> int:
        """Show why the command failed and return the exit code."""
        failure = _failure.describe(error, self.usage)
        if self.signals.asked_to_stop() or failure.code is ExitCode.INTERRUPTED:
            failure = _failure.stopped(failure, self.signals.code)
        if ExitCode.BUG in {failure.code, *(one.code for one in failure.others)}:
            self.log.error_with_traceback(error)
        self.close_screen()
        failure = _failure.with_log(_failure.advised(failure, self.advised), self.log.path)
        for told, one in (("failed", failure), *(("also", other) for other in failure.others)):
            self.log.note(f"{told}: {one.id} {one.message}\n{one.why}", "ERROR")
        content = _failure.document(failure)
        if self.settings.progress == "json":
            self._json().error(content)
        else:
            self.stderr.line(_failure.text(failure, self.terminal))
        if self.settings.output != "table" and not self._shown:
            self._show_failure(content)
        return int(failure.code)

    def _show_failure(self, content: Mapping[str, Any]) -> None:
        body = _output.document("Error", {"error": content})
        try:
            self.results.write(
                _output.render(body, self.settings.output, unicode=self.results.unicode)
            )
        except OSError:
            self.results.discard()

    def _json(self) -> JsonReporter:
        from ohmykube.ui.jsonl import JsonReporter

        if not isinstance(self.screen, JsonReporter):
            raise TypeError("the reporter was made before the settings were read")
        return self.screen

    def stopping(self) -> None:
        """Say that the run stops, whatever its other threads do."""
        screen = self.__dict__.get("screen")
        if screen is not None:
            screen.stopping()
        else:
            self.stderr.urgent(console.STOPPING)

    def ended(self, code: ExitCode) -> None:
        """Say the last word before the process is ended, whatever its other threads do."""
        failure = _failure.stopped(None, code)
        self.log.note(f"ended at once: {failure.message}", "ERROR")
        if self.settings.progress == "json":
            self._json().ended(_failure.document(_failure.with_log(failure, self.log.path)))
            return
        restore = "\r\x1b[J\x1b[?25h" if self.terminal.animate else ""
        text = _failure.text(_failure.with_log(failure, self.log.path), self.terminal)
        self.stderr.urgent(restore + text)

    def close_screen(self) -> None:
        """Leave the screen as it is to stay."""
        screen = self.__dict__.get("screen")
        if screen is not None:
            screen.close()

    def pause_screen(self) -> None:
        """Leave the screen for a question; what is told afterwards begins a new one."""
        self.close_screen()
        for name in ("screen", "services"):
            self.__dict__.pop(name, None)

    def close(self) -> None:
        """Let go of everything."""
        self.close_screen()
        logger = logging.getLogger(_LOGGER)
        logger.propagate = True
        logger.setLevel(logging.NOTSET)
        for handler in tuple(logger.handlers):
            if isinstance(handler, (RunLog, _Echo)):
                logger.removeHandler(handler)
                handler.close()


if TYPE_CHECKING:
    _PROMISED: type[CommandContext] = App  # to commands of others
