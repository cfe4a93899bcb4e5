"""Deleting what is gone succeeds: no deletion of the package fails because somebody was faster."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "ohmykube"
GONE = {"FileNotFoundError", "OSError", "ProcessLookupError"}
"""What says that a thing is gone, when it is deleted."""
BARE_CALLS = {"providers/nspawn/host_system.py"}
"""Hands system calls on; who calls it there is looked at."""


def _names(node: ast.expr | None) -> set[str]:
    return {one.id for one in ast.walk(node) if isinstance(one, ast.Name)} if node else set()


def _tolerates(around: list[ast.AST]) -> bool:
    """Tell whether one of the blocks around a call takes it for success that a thing is gone."""
    for block in around:
        if isinstance(block, ast.With):
            for item in block.items:
                if "suppress" in ast.dump(item.context_expr) and _names(item.context_expr) & GONE:
                    return True
        if isinstance(block, ast.Try) and any(_names(h.type) & GONE for h in block.handlers):
            return True
    return False


def _is_deletion(call: ast.Call) -> bool:
    """Tell whether a call deletes something, and fails when that is gone."""
    name = ast.unparse(call.func)
    last = name.rpartition(".")[2]
    options = {one.arg for one in call.keywords}
    if last == "unlink" or name in ("os.remove", "shutil.rmtree"):
        return not options & {"missing_ok", "ignore_errors"}
    if last in ("rmdir", "kill", "killpg") and not name.startswith(("self._cgroups", "super()")):
        return True
    if last.startswith("run_checked"):
        words = {one.value for one in ast.walk(call) if isinstance(one, ast.Constant)}
        return bool(words & {"delete", "del", "umount", "kill", "--lazy"})
    return False


def unsafe(source: str) -> list[int]:
    """Return the lines of deletions that fail when the thing is gone."""
    found: list[int] = []

    def walk(node: ast.AST, around: list[ast.AST]) -> None:
        if isinstance(node, ast.Call) and _is_deletion(node) and not _tolerates(around):
            found.append(node.lineno)
        for field, value in ast.iter_fields(node):
            # What stands in a handler is not guarded by its own try.
            here = around if isinstance(node, ast.Try) and field != "body" else [*around, node]
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    walk(child, here)

    walk(ast.parse(source), [])
    return found


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("path.unlink()", [1]),
        ("path.unlink(missing_ok=True)", []),
        ("path.rmdir()", [1]),
        ("with suppress(OSError):\n    path.rmdir()", []),
        ("with suppress(ValueError):\n    path.rmdir()", [2]),
        ("try:\n    os.kill(pid, 9)\nexcept ProcessLookupError:\n    pass", []),
        ("try:\n    x()\nexcept OSError:\n    os.kill(pid, 9)", [4]),
        ("shutil.rmtree(path)", [1]),
        ('run_checked(host, what, ["ip", "link", "delete", "dev", port])', [1]),
        ('run_checked(host, what, ["umount", "--lazy", point])', [1]),
        ('run_deletion(host, what, ["umount", point], there)', []),
        ('run_checked(host, what, ["ip", "netns", "add", name])', []),
    ],
)
def test_the_rule_can_fail(source: str, lines: list[int]) -> None:
    assert unsafe(source) == lines


def test_no_deletion_fails_because_a_thing_is_gone() -> None:
    """In all of what makes and removes machines, and in what it stands on."""
    found = [
        f"{path.relative_to(PACKAGE)}:{line}"
        for room in ("providers", "kit", "state", "ansible", "steps", "workflows")
        for path in sorted((PACKAGE / room).rglob("*.py"))
        if str(path.relative_to(PACKAGE)) not in BARE_CALLS
        for line in unsafe(path.read_text())
    ]
    assert found == []
