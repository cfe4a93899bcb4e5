"""The composition root: which reporter, and the last words of a process that is ended."""

from __future__ import annotations

import io
import json
import sys

import pytest

from ohmykube.cli._app import App, Settings
from ohmykube.errors import ExitCode
from ohmykube.progress import StepStarted
from ohmykube.ui.jsonl import JsonReporter
from ohmykube.ui.live import LiveReporter
from ohmykube.ui.plain import PlainReporter


class Screen(io.StringIO):
    """A terminal in memory."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.fixture
def make(tmp_path, monkeypatch):
    made: list[App] = []

    def build(stream: io.StringIO, settings: Settings | None = None, **environ: str) -> App:
        monkeypatch.setattr(sys, "stderr", stream)
        env = {"OHMYKUBE_HOME": str(tmp_path), **environ}
        made.append(App.for_process(env))
        made[-1].settings = settings or Settings()
        return made[-1]

    yield build
    for app in made:
        app.close()


@pytest.mark.parametrize(
    ("stream", "settings", "environ", "kind"),
    [
        (Screen, Settings(), {}, LiveReporter),
        (Screen, Settings(progress="live"), {}, LiveReporter),
        (Screen, Settings(progress="live"), {"CI": "1"}, PlainReporter),
        (Screen, Settings(progress="plain"), {}, PlainReporter),
        (io.StringIO, Settings(), {}, PlainReporter),
        (io.StringIO, Settings(progress="json"), {}, JsonReporter),
        (io.StringIO, Settings(progress="json", quiet=True), {}, JsonReporter),
        (Screen, Settings(quiet=True), {}, type(None)),
    ],
)
def test_which_reporter(make, stream, settings, environ, kind) -> None:
    assert type(make(stream(), settings, **environ).screen) is kind


def test_the_last_word_on_a_terminal_brings_the_cursor_back(make) -> None:
    stream = Screen()
    app = make(stream)
    app.services.reporter.emit(StepStarted(step="s", title="S"))
    app.stopping()
    app.acting()
    app.ended(ExitCode.INTERRUPTED)
    last = stream.getvalue()
    assert "\x1b[?25h" in last
    assert f"log: {app.log.path}" in last
    assert "ended at once" in app.log.path.read_text()


def test_the_last_word_for_programs(make) -> None:
    stream = io.StringIO()
    app = make(stream, Settings(progress="json"))
    app.stopping()
    app.ended(ExitCode.TERMINATED)
    assert json.loads(stream.getvalue().splitlines()[-1])["error"]["exitCode"] == 143


def test_stopping_without_a_reporter(make) -> None:
    stream = io.StringIO()
    make(stream).stopping()
    assert stream.getvalue() == "stopping ... (Ctrl-C again to stop now)\n"


def test_a_reporter_made_too_early(make) -> None:
    app = make(io.StringIO())
    assert isinstance(app.screen, PlainReporter)
    app.settings.progress = "json"
    with pytest.raises(TypeError):
        app.show({"kind": "X"}, "x")
