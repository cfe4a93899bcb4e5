"""A stop is no error: nothing that handles errors may catch it and go on."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import ohmykube
from ohmykube.errors import Interrupted, OhmykubeError

PACKAGE = Path(ohmykube.__file__).parent
STOPS = {"BaseException", "Interrupted", "KeyboardInterrupt", "Explained"}
HANDED_ON = {
    "ansible/follow.py": "kept by the thread of the events, raised by its owner",
    "cache/serve/listener.py": "ends a client's connection; the main thread ends the serving",
    "cache/transport.py": "handed by the thread of a probe to who waits for it",
    "cli/_run.py": "the one boundary: told, with the exit code of a stop",
    "kit/failures.py": "raised, or told with the stop that is raised",
    "kit/pipe.py": "kept by the thread at the pipe, raised by its owner",
    "kit/line_reader.py": "kept by the thread at the pipe, raised by its owner",
    "testing/fake_limactl/daemons.py": "told by a forked daemon, which ends with it",
    "workflows/serve.py": "a mirror serves until it is stopped: its regular end",
}
"""Modules that may hold a stop without a ``raise`` in the handler, and why it is not lost."""


def caught(kind: ast.expr | None) -> set[str]:
    """Return the names of the classes that a handler or ``suppress`` names."""
    if kind is None:
        return {"BaseException"}
    return {
        node.attr if isinstance(node, ast.Attribute) else node.id
        for node in ast.walk(kind)
        if isinstance(node, ast.Attribute | ast.Name)
    }


def keeps_a_stop(source: str) -> list[int]:
    """Return the lines where a stop is caught and not raised again as the last thing."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ExceptHandler) and caught(node.type) & STOPS:
            last = node.body[-1]
            again = isinstance(last, ast.Raise) and last.exc is None
            leaves = any(isinstance(inner, ast.Return) for inner in ast.walk(node))
            if not again or leaves:
                found.append(node.lineno)
        if isinstance(node, ast.Call) and caught(node.func) & {"suppress"}:
            found += [node.lineno for name in node.args if caught(name) & STOPS]
        if isinstance(node, ast.Try) and any(
            isinstance(inner, ast.Return) for line in node.finalbody for inner in ast.walk(line)
        ):
            found.append(node.lineno)  # a return there throws away whatever is on its way
    return found


def test_a_stop_is_no_error() -> None:
    assert not issubclass(Interrupted, Exception)
    assert not issubclass(Interrupted, OhmykubeError)


def test_no_handler_keeps_a_stop() -> None:
    found = {
        str(path.relative_to(PACKAGE)): lines
        for path in sorted(PACKAGE.rglob("*.py"))
        if (lines := keeps_a_stop(path.read_text()))
    }
    assert found.keys() == HANDED_ON.keys(), found


@pytest.mark.parametrize(
    "source",
    [
        "try: f()\nexcept: pass",
        "try: f()\nexcept BaseException as e: g(e)",
        "try: f()\nexcept (OSError, Interrupted): pass",
        "try: f()\nexcept errors.Interrupted: raise Other from None",
        "try: f()\nexcept BaseException:\n  if x: return 1\n  raise",
        "with contextlib.suppress(OSError, BaseException): f()",
        "def g():\n  try: f()\n  finally: return 1",
    ],
)
def test_the_look_sees_what_keeps_a_stop(source: str) -> None:
    assert keeps_a_stop(source)


@pytest.mark.parametrize(
    "source",
    [
        "try: f()\nexcept Exception: pass",
        "try: f()\nexcept BaseException:\n  undo()\n  raise",
        "with contextlib.suppress(OhmykubeError): f()",
    ],
)
def test_the_look_lets_pass_what_keeps_none(source: str) -> None:
    assert keeps_a_stop(source) == []
