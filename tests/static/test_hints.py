"""What a hint says to type can be typed, whatever a path or a label is called."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import ohmykube

PACKAGE = Path(ohmykube.__file__).parent
COMMAND = re.compile(
    r"(?:^|then:? |; |or |again: |`)"
    r"(?:ohmykube|ls|cat|less|rm|mkdir|umount|openssl|ssh|ssh-add|ssh-keygen|limactl|docker|ansible-inventory"
    r"|kubectl|ip|ss|ps|curl|chown|mv|cp) "
)
PLAIN = frozenset(
    {
        "name",
        "node",
        "cluster",
        "port",
        "netns",
        "user",
        "address",
        "program",
        "host",
        "host_port",
    }
)
"""Of these no value has a character that a shell takes for its own."""


def hints() -> list[tuple[str, ast.JoinedStr]]:
    """Return every hint and fix that is put together, with its place."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call):
                for keyword in call.keywords:
                    if keyword.arg in ("hint", "fix"):
                        found += [
                            (f"{path.relative_to(PACKAGE)}:{one.lineno}", one)
                            for one in ast.walk(keyword.value)
                            if isinstance(one, ast.JoinedStr)
                        ]
    return found


def unquoted(text: ast.JoinedStr) -> list[str]:
    """Return what stands in a command as it is."""
    said, found = "", []
    for part in text.values:
        if isinstance(part, ast.Constant):
            said += str(part.value)
        elif isinstance(part, ast.FormattedValue):
            typed = re.sub(r"`[^`]*`", "", said)
            if "  (" not in said and COMMAND.search(typed) and not _fits(part.value):
                found.append(ast.unparse(part.value))
            said += "x"
    return found


def _fits(value: ast.expr) -> bool:
    if isinstance(value, ast.Call):
        return ast.unparse(value.func) == "shell.word"
    name = ast.unparse(value).split(".")[-1].removeprefix("_")
    if isinstance(value, ast.Subscript):
        return ast.unparse(value) == "self._address[1]"  # a port
    return isinstance(value, ast.Name | ast.Attribute) and (name in PLAIN or name.isupper())


def test_what_is_put_into_a_command_is_quoted() -> None:
    found = [f"{place}: {bad}" for place, text in hints() for bad in unquoted(text)]
    assert found == []
