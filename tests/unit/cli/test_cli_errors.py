"""Errors as users see them: golden text at 80 columns, JSON, exit codes, bounds."""

from __future__ import annotations

import errno
import os
import pickle
import re
import sys
from pathlib import Path

import click
import pytest

from ohmykube import errors
from ohmykube.cli import _failure
from ohmykube.errors import ConfigError, ExitCode, NodeError, OhmykubeError, ProviderError
from ohmykube.kit import failures
from ohmykube.ui.console import ASCII, UNICODE, Terminal
from tests.unit.cli.conftest import logs

DATA = Path(__file__).parents[2] / "data" / "cli" / "errors"
CASES = {
    "unknown-command": ("stauts",),
    "unknown-command-far": ("zzz",),
    "unknown-option": ("up", "--wokers", "3"),
    "wrong-number": ("up", "--workers", "-1"),
    "huge-number": ("up", "--workers", "9" * 5000),
    "wrong-choice": ("list", "-o", "xml"),
    "missing-argument": ("shell",),
    "missing-value": ("up", "--name"),
    "too-many-arguments": ("list", "a", "b"),
    "unknown-subcommand": ("config", "tempalte"),
    "no-such-cluster": ("status", "prod"),
    "bad-name": ("down", "../../etc", "--yes"),
    "down-without-terminal": ("down", "dev"),
    "quiet-and-verbose": ("up", "-q", "-v"),
    "no-such-file": ("up", "-f", "/nonexistent/cluster.yaml"),
}


def _terminal(**changes) -> Terminal:
    base = {"tty": False, "colour": False, "animate": False, "symbols": UNICODE, "width": 80}
    return Terminal(**(base | changes))


def _compare(name: str, text: str) -> None:
    path = DATA / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("name", CASES)
def test_golden(cli, name) -> None:
    outcome = cli(*CASES[name])
    assert outcome.out == ""
    assert len(outcome.err.splitlines()) <= 12
    assert all(len(line) <= 80 for line in outcome.err.splitlines())
    _compare(f"{name}.txt", f"{outcome.err}exit code {outcome.code}\n")


@pytest.mark.parametrize("name", CASES)
def test_golden_as_json(cli, name) -> None:
    outcome = cli("--progress", "json", *CASES[name])
    assert outcome.out == ""
    version, last = outcome.events
    assert version["type"] == "version"
    assert last["type"] == "error"
    assert last["error"]["exitCode"] == outcome.code
    golden = (DATA / f"{name}.txt").read_text()
    assert f"error[{last['error']['id']}]" in golden


def _subclasses(of: type) -> list[type]:
    return [of, *(one for child in of.__subclasses__() for one in _subclasses(child))]


CLASSES = [
    *(c for c in _subclasses(OhmykubeError) if c.__module__ == errors.__name__),
    errors.Interrupted,
]


@pytest.mark.parametrize("kind", CASES and CLASSES, ids=lambda c: c.__name__)
def test_every_class_has_its_own_exit_code_and_renders(kind) -> None:
    error = pickle.loads(pickle.dumps(kind("it broke", why="a\nb", hint="ohmykube up")))
    failure = _failure.describe(error)
    assert failure.code is kind.exit_code
    assert [c for c in CLASSES if c.exit_code is kind.exit_code] == [kind]
    text = _failure.text(failure, _terminal(symbols=ASCII))
    assert text.encode("ascii").decode().splitlines() == [
        f"error[{error.id}]: it broke", "  a", "  b", "try: ohmykube up",
    ]  # fmt: skip


def test_long_output_keeps_both_ends(cli, fakes, home) -> None:
    fakes.play = "node_error"
    outcome = cli("up")
    assert outcome.code == ExitCode.NODE
    (log,) = logs(home)
    assert outcome.err.splitlines() == [
        "error[OMK-N-015]: kubeadm join failed on dev-worker-1",
        "  line 0 of what kubeadm said",
        "  line 1 of what kubeadm said",
        "  line 2 of what kubeadm said",
        "  line 3 of what kubeadm said",
        "  … 32 more lines …",
        "  line 36 of what kubeadm said",
        "  line 37 of what kubeadm said",
        "  line 38 of what kubeadm said",
        "  line 39 of what kubeadm said",
        "try: ohmykube up",
        f"log: {log}",
    ]
    assert "line 20 of what kubeadm said" in log.read_text(), "the log has all of it"


def test_many_problems_keep_the_first() -> None:
    problems = tuple(f"line {n}: wrong" for n in range(30))
    failure = _failure.describe(ConfigError("30 problems", problems=problems, hint="ohmykube up"))
    rows = _failure.text(failure, _terminal()).splitlines()
    assert len(rows) == 12
    assert rows[1:4] == ["  line 0: wrong", "  line 1: wrong", "  line 2: wrong"]
    assert rows[-2] == "  … 21 more lines …"
    assert len(_failure.document(failure)["why"]) == 30


def test_hostile_text_is_tamed() -> None:
    error = ProviderError(
        "\x1b[2Jbad" + "x" * 3000, why="\x00\x9b1m" + "y " * 5000, hint="a\nb\nc\nd"
    )
    rows = _failure.text(_failure.describe(error), _terminal(width=60)).splitlines()
    assert len(rows) <= 12
    assert all(len(row) <= 80 for row in rows)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", "".join(rows))
    assert rows[-3:] == ["try: a", "     b", "     c"]


def test_of_a_long_path_the_end_is_kept() -> None:
    error = ConfigError(f"/begin/{'x' * 100}/cluster.yaml:1:3: expected a mapping", hint="y")
    rows = _failure.text(_failure.describe(error), _terminal()).splitlines()
    word = next(word for row in rows for word in row.split() if "…" in word)
    assert word.startswith("/begin/x")
    assert word.endswith("x/cluster.yaml:1:3:")
    assert len(word) == 76


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize("lines", [1, 2, 5, 40])
@pytest.mark.parametrize("length", [50, 300, 1000, 9000])
def test_of_a_long_cause_the_end_is_kept(width, lines, length) -> None:
    """There kubeadm, Ansible and others say what is wrong."""
    why = "\n".join(f"begin {'word ' * (length // 5)}end{n}" for n in range(lines))
    rows = _failure.text(_failure.describe(NodeError("x", why=why)), _terminal(width=width))
    assert len(rows.splitlines()) <= 12
    assert all(len(row) <= width for row in rows.splitlines())
    assert rows.split()[-1] == f"end{lines - 1}"
    assert rows.split()[2] == "begin"


def test_a_cause_is_cut_only_where_there_is_no_room() -> None:
    why = " ".join(f"word{n}" for n in range(60))
    text = _failure.text(_failure.describe(NodeError("x", why=why, hint="y")), _terminal())
    assert "…" not in text
    assert " ".join(text.split()).endswith(f"{why} try: y")


def test_hints_are_never_broken() -> None:
    hint = "ohmykube kubeconfig --merge --into /a/very/long/path/" + "x" * 100
    text = _failure.text(_failure.describe(NodeError("x", hint=hint)), _terminal(width=40))
    assert f"try: {hint}" in text


@pytest.mark.parametrize("width", [30, 80, 200])
@pytest.mark.parametrize("count", [1, 3, 11, 40])
def test_an_error_that_shows_all_cuts_nothing(width, count) -> None:
    """Of an error that shows all, no line of the reasons and of the hint is left out or cut."""
    words = [f"field{number} " + "word " * 60 + f"end{number}" for number in range(count)]
    error = ConfigError("two clusters differ", problems=tuple(words), hint="\n".join(words))
    error.shows_all = True
    text = _failure.text(_failure.describe(error), _terminal(width=width))
    assert " ".join(text.split()).count("word") == 2 * 60 * count
    assert all(text.count(f"end{number}\n") >= 1 for number in range(count))
    assert UNICODE.ellipsis not in text


def test_colour() -> None:
    text = _failure.text(_failure.describe(NodeError("x", hint="y")), _terminal(colour=True))
    assert text == "\x1b[1;31merror[OMK-N-015]:\x1b[0m x\n\x1b[1mtry:\x1b[0m y"


def test_a_bug_is_one_error_and_the_traceback_is_in_the_log(cli, fakes, home) -> None:
    fakes.play = "bug"
    outcome = cli("up")
    assert outcome.code == ExitCode.BUG
    assert outcome.err.startswith("error[OMK-Z-001]: this is a bug in ohmykube\n")
    assert "Traceback" not in outcome.err
    (log,) = logs(home)
    assert f"log: {log}" in outcome.err
    assert "Traceback" in log.read_text()
    assert "_up_bug" in log.read_text()


def test_a_bug_in_a_read_only_command_has_a_log_too(cli, fakes, home) -> None:
    del fakes.clusters
    outcome = cli("list")
    assert outcome.code == ExitCode.BUG
    assert "AttributeError" in logs(home)[0].read_text()


def test_a_bug_without_a_place_for_the_log(cli, fakes, home) -> None:
    fakes.play = "bug"
    home.write_text("a file where the directory should be")
    outcome = cli("up")
    assert outcome.code == ExitCode.BUG
    assert "log:" not in outcome.err
    assert "KeyError" in outcome.err


@pytest.mark.parametrize("error", [SystemExit(3), GeneratorExit(), RecursionError("deep")])
def test_whatever_is_raised_ends_at_the_boundary(cli, fakes, error) -> None:
    def broken(*_args):
        raise error

    fakes.list_clusters = broken
    outcome = cli("list")
    assert outcome.code == ExitCode.BUG
    assert "Traceback" not in outcome.err


def test_error_document_on_stdout(cli) -> None:
    for form in ("json", "yaml"):
        outcome = cli("status", "nope", "-o", form)
        assert outcome.code == ExitCode.NOT_FOUND
        assert "OMK-U-006" in outcome.out
        assert outcome.err.startswith("error[OMK-U-006]")
    document = cli("status", "nope", "-o", "json").document
    assert document["kind"] == "Error"
    assert document["error"]["exitClass"] == "NOT_FOUND"


def test_abort_and_keyboard_interrupt() -> None:
    for error in (click.Abort(), KeyboardInterrupt()):
        failure = _failure.describe(error)
        assert (failure.id, failure.code) == ("OMK-U-130", ExitCode.INTERRUPTED)


def test_what_broke_by_the_interrupt_is_told() -> None:
    cause = _failure.describe(NodeError("ssh ended"))
    stopped = _failure.stopped(cause, ExitCode.TERMINATED)
    assert stopped.code == ExitCode.TERMINATED
    assert stopped.why == "at that moment: ssh ended"
    assert _failure.stopped(None, ExitCode.INTERRUPTED).why == ""


def test_what_else_went_wrong_is_told_below_why() -> None:
    others = [
        ProviderError("the machine could not be removed again", why="a\nb"),
        NodeError("x" * 100),
    ]
    error = failures.told_with(NodeError("first", why="because", hint="ohmykube up"), *others)
    failure = _failure.describe(error)
    assert _failure.text(failure, _terminal()).splitlines() == [
        "error[OMK-N-015]: first",
        "  because",
        "also: [OMK-P-013] the machine could not be removed again",
        "also: [OMK-N-015] " + "x" * 61 + "…",
        "try: ohmykube up",
    ]
    assert failure.code is ExitCode.NODE
    assert _failure.document(failure)["others"] == [
        {"id": "OMK-P-013", "message": others[0].message, "why": ["a", "b"]},
        {"id": "OMK-N-015", "message": "x" * 100, "why": []},
    ]


def test_many_others_take_little_room_and_none_is_lost() -> None:
    others = [NodeError(f"node {n} failed", why="y\n" * 30) for n in range(30)]
    error = failures.told_with(NodeError("first", why="z\n" * 30, hint="a\nb\nc"), *others)
    failure = _failure.describe(error)
    rows = _failure.text(failure, _terminal()).splitlines()
    assert len(rows) <= 12
    assert "also: [OMK-N-015] node 1 failed" in rows
    assert "also: 28 more, all in the log" in rows
    assert len(_failure.document(failure)["others"]) == 30


def test_what_is_said_by_many_is_told_once() -> None:
    same = [NodeError("no route to the mirror") for _ in range(5)]
    failure = _failure.describe(failures.told_with(NodeError("first"), *same))
    assert [one.message for one in failure.others] == ["no route to the mirror"]


def test_others_are_in_the_log_a_bug_with_its_place(cli, fakes, home) -> None:
    def broken(*_args):
        raise failures.told_with(NodeError("first"), KeyError("slot"), ProviderError("second"))

    fakes.list_clusters = broken
    outcome = cli("list")
    assert outcome.code == ExitCode.NODE
    assert "also: [OMK-Z-001] KeyError: 'slot'" in outcome.err
    text = logs(home)[0].read_text()
    assert "also: OMK-P-013 second" in text
    assert "Traceback" in text


def test_what_broke_beside_a_stop_is_told() -> None:
    stop = failures.first([NodeError("ssh ended"), errors.Interrupted("stopped on request")])
    failure = _failure.stopped(_failure.describe(stop), ExitCode.INTERRUPTED)
    assert failure.why == ""
    assert [one.message for one in failure.others] == ["ssh ended"]


class Full:
    """A stdout on a full disk."""

    encoding = "utf-8"

    def __init__(self, number: int) -> None:
        self.number = number

    def write(self, text: str) -> int:
        raise OSError(self.number, os.strerror(self.number))

    def flush(self) -> None:
        raise OSError(self.number, os.strerror(self.number))

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        raise OSError("none")


@pytest.mark.parametrize("words", [("list",), ("list", "-o", "json"), ("--help",), ("--version",)])
def test_a_full_disk_behind_stdout(fakes, home, capsys, monkeypatch, words) -> None:
    from ohmykube.cli._run import run

    monkeypatch.setattr(sys, "stdout", Full(errno.ENOSPC))
    assert run(list(words), bind=fakes.bind, environ={"OHMYKUBE_HOME": str(home)}) == 8
    assert "error[OMK-H-108]: the result could not be written" in capsys.readouterr().err


def test_a_pipe_without_a_reader_is_quiet(fakes, home, capsys, monkeypatch) -> None:
    from ohmykube.cli._run import run

    monkeypatch.setattr(sys, "stdout", Full(errno.EPIPE))
    environ = {"OHMYKUBE_HOME": str(home)}
    assert run(["list"], bind=fakes.bind, environ=environ) == 141
    assert run(["status", "nope", "-o", "json"], bind=fakes.bind, environ=environ) == 6
    assert capsys.readouterr().err.count("\n") == 2


def test_the_result_comes_after_the_progress(cli, fakes) -> None:
    fakes.play = "demo"
    types = [event["type"] for event in cli("up", "--progress", "json").events]
    assert types[0] == "version"
    assert types[-1] == "result"
    assert types.count("result") == 1


def test_happy_paths_have_no_alarming_words(cli, fakes) -> None:
    fakes.play = "quiet"
    for _ in range(2):
        for words in (("up",), ("status",), ("list",), ("stop",), ("start",), ("down", "--yes")):
            outcome = cli(*words)
            assert outcome.code == 0
            assert not re.search("error|fail|warn|traceback", outcome.err, re.IGNORECASE)
