"""What cleans up hides no error, and what deletes takes it for success that it is gone."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import ohmykube

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(ohmykube.__file__).parent
PLUGINS = PACKAGE.parent / "plugins"
NEVER_FAIL = {
    "abort": "of a connection",
    "abandon": "leaves the error that it is given",
    "close": "of descriptors, connections and what only forgets",
    "emit": "a reporter does not raise",
    "end": "of a child process: what it cannot do it leaves",
    "exit": "counts a connection less",
    "join": "of a thread",
    "monotonic": "a clock",
    "notify_all": "of a condition",
    "now": "a clock",
    "set_exception": "hands the error to others who wait",
    "stop": "sets a flag",
    "_drain": "of a child process",
    "_ended": "tells a reporter",
    "_land": "forgets a call that has ended",
    "_problem": "asks whether a control plane is well; the answer is no error",
    "_report": "tells a reporter",
    "isinstance": "looks what the error is",
    "ItemProgress": "an event",
    "NodeProgress": "an event",
    "StepEnded": "an event",
}
"""Calls that a clean-up may make without ``failures.undoing`` or ``failures.closing``."""
ABSENCE = {"FileNotFoundError", "ProcessLookupError", "OSError", "Exception", "NotADirectoryError"}
DELETIONS = {"unlink", "rmdir", "rmtree", "kill", "killpg", "remove", "removedirs"}


def _name(call: ast.Call) -> str:
    match call.func:
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
    return ""


def _shields(node: ast.AST, names: set[str] | None = None) -> bool:
    """Tell whether a ``with`` or a call swallows errors of deleting."""
    if not isinstance(node, ast.With):
        return False
    items = [one.context_expr for one in node.items if isinstance(one.context_expr, ast.Call)]
    return any(
        _name(call) == "suppress"
        and (names is None or any(ast.unparse(kind).split(".")[-1] in names for kind in call.args))
        for call in items
    )


def _unshielded(statements: list[ast.stmt]) -> Iterator[ast.Call]:
    todo: list[ast.AST] = [*statements]
    while todo:
        node = todo.pop()
        if _shields(node):
            continue
        if isinstance(node, ast.Call):
            yield node
        if isinstance(node, ast.Raise):
            continue  # the error becomes another one, with a cause
        todo += ast.iter_child_nodes(node)


def hides_errors(source: str) -> list[str]:
    """Return the calls that can raise while another error is on its way."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Try):
            continue
        bodies = [node.finalbody]
        for handler in node.handlers:
            last = handler.body[-1]
            if isinstance(last, ast.Raise) and last.exc is None:
                bodies.append(handler.body[:-1])
        for call in (call for body in bodies for call in _unshielded(body)):
            ignores = any(word.arg == "ignore_errors" for word in call.keywords)
            if _name(call) not in NEVER_FAIL and not ignores:
                found.append(f"{call.lineno}: {ast.unparse(call)}")
    return found


def _catches_absence(node: ast.Try) -> bool:
    kinds = [ast.unparse(handler.type) for handler in node.handlers if handler.type is not None]
    return any(kind in text for text in kinds for kind in ABSENCE)


def _deletes(call: ast.Call) -> bool:
    name = _name(call)
    if name not in DELETIONS or not isinstance(call.func, ast.Attribute):
        return False
    of = ast.unparse(call.func.value)
    if name in ("kill", "killpg", "remove", "removedirs"):
        return of == "os"
    if name == "rmtree":
        return of == "shutil"
    return True


def fails_on_absence(source: str) -> list[str]:
    """Return the deletions of files, directories and processes that fail for what is gone."""
    tree = ast.parse(source)
    tolerant: set[int] = set()
    for node in ast.walk(tree):
        inside: list[ast.stmt] = []
        if isinstance(node, ast.With) and _shields(node, ABSENCE):
            inside = node.body
        if isinstance(node, ast.Try) and _catches_absence(node):
            inside = node.body
        tolerant |= {id(below) for one in inside for below in ast.walk(one)}
    return [
        f"{node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and _deletes(node)
        and id(node) not in tolerant
        and not {"missing_ok", "ignore_errors"} & {word.arg for word in node.keywords}
    ]


def _all(top: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(top.rglob("*.py")):
        yield str(path.relative_to(PACKAGE.parent)), path.read_text()


def test_no_clean_up_hides_an_error() -> None:
    """The first error is the message; what fails afterwards is told with it."""
    found = {name: hides_errors(text) for name, text in _all(PACKAGE) if "/testing/" not in name}
    assert {name for name, calls in found.items() if calls} == MEANS, found


MEANS = {"ohmykube/kit/failures.py"}
"""Calls a clean-up after a failure, and tells both."""
DOORS = {"ohmykube/providers/nspawn/host_system.py"}
"""Has the system calls that tests replace; who calls them takes absence for success."""


def test_deleting_what_is_gone_succeeds() -> None:
    """Something else can end it between the look and the act."""
    sources = (*_all(PACKAGE), *_all(PLUGINS))
    found = {name: fails_on_absence(text) for name, text in sources if "/testing/" not in name}
    assert {name for name, calls in found.items() if calls} == DOORS, found


@pytest.mark.parametrize(
    "source",
    [
        "try: f()\nfinally: path.unlink(missing_ok=True)",
        "try: f()\nexcept BaseException:\n  undo()\n  raise",
        "try: f()\nexcept X:\n  if a: self.roll_back(b)\n  raise",
        "try: f()\nfinally:\n  with a: g()",
    ],
)
def test_the_look_sees_what_may_hide_an_error(source: str) -> None:
    assert hides_errors(source)


@pytest.mark.parametrize(
    "source",
    [
        "try: f()\nfinally: os.close(d)",
        "try: f()\nfinally:\n  with contextlib.suppress(OSError): p.unlink()",
        "try: f()\nexcept X as e:\n  if a: raise Y(str(e)) from e\n  raise",
        "try: f()\nexcept X: g()",
    ],
)
def test_the_look_lets_pass_what_hides_none(source: str) -> None:
    assert hides_errors(source) == []


@pytest.mark.parametrize(
    "source",
    [
        "path.unlink()",
        "if path.exists(): path.unlink()",
        "os.kill(pid, 9)",
        "with suppress(PermissionError): path.rmdir()",
        "try: path.unlink()\nexcept ValueError: pass",
        "shutil.rmtree(path)",
    ],
)
def test_the_look_sees_what_fails_on_absence(source: str) -> None:
    assert fails_on_absence(source)


@pytest.mark.parametrize(
    "source",
    [
        "path.unlink(missing_ok=True)",
        "with contextlib.suppress(FileNotFoundError): path.unlink()",
        "try: os.kill(pid, 9)\nexcept ProcessLookupError: pass",
        "try:\n  if a: os.rmdir(p)\nexcept (OSError, ValueError): pass",
        "shutil.rmtree(path, ignore_errors=True)",
        "names.remove(x)",
    ],
)
def test_the_look_lets_pass_what_does_not(source: str) -> None:
    assert fails_on_absence(source) == []
