"""`up` asks once before it deletes nodes, and nobody else is asked."""

from __future__ import annotations

import pytest

from ohmykube.errors import ExitCode
from ohmykube.ui import console

SAID = 'cluster "dev" would lose node dev-worker-3, with all data there'


@pytest.fixture
def deletes(fakes):
    fakes.deletes = True
    return fakes


def may_delete(fakes) -> list[frozenset[str] | None]:
    return [call[2].may_delete for call in fakes.calls]


def test_where_nobody_can_answer_the_command_is_told(cli, deletes) -> None:
    outcome = cli(
        "up",
        "--progress",
        "plain",
        "--workers",
        "1",
        "--bundle",
        "a b.tar",
        "--mirror",
        "https://m/x",
    )
    assert outcome.code == ExitCode.USAGE
    assert f"error[OMK-U-280]: {SAID}" in " ".join(outcome.err.split())
    assert "nobody wants it, and deleting needs a yes" in " ".join(outcome.err.split())
    again = "ohmykube up --workers 1 --mirror https://m/x --bundle 'a b.tar' --yes"
    assert again in " ".join(outcome.err.split())
    assert may_delete(deletes) == [frozenset()]


def test_with_yes_nobody_is_asked(cli, deletes) -> None:
    assert cli("up", "--offline", "--yes").code == 0
    assert may_delete(deletes) == [None]


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("YES", 0), ("n", 2), ("", 2), (None, 2)])
def test_on_a_terminal_there_is_one_question(cli, deletes, monkeypatch, answer, code) -> None:
    questions = []

    def ask(question, _talk):
        questions.append(question)
        return answer

    monkeypatch.setattr(console, "can_ask", lambda _talk: True)
    monkeypatch.setattr(console, "ask", ask)
    outcome = cli("up", "--offline")
    assert outcome.code == code
    assert questions == [f"{SAID}.\nGo on? [y/N] "]
    agreed = [frozenset({"dev-worker-3"})] if code == 0 else []
    assert may_delete(deletes) == [frozenset(), *agreed]
    if code:
        assert "error[OMK-U-281]: not confirmed" in outcome.err
        assert "ohmykube up --offline --yes" in outcome.err


def test_what_was_not_agreed_to_is_not_deleted(cli, deletes, monkeypatch) -> None:
    """A node that became too many while the question stood is asked for by another run."""
    monkeypatch.setattr(console, "can_ask", lambda _talk: True)
    monkeypatch.setattr(console, "ask", lambda _question, _talk: _another(deletes))
    assert cli("up").code == ExitCode.USAGE


def _another(fakes) -> str:
    from dataclasses import replace

    (gone,) = fakes.plan.deletions
    fakes.plan = replace(fakes.plan, changes=(gone, replace(gone, node="dev-worker-4")))
    return "y"


def test_a_plan_asks_nothing(cli, fakes) -> None:
    assert cli("up", "--plan").code == 0
    assert "delete a worker" in cli("plan").out
