"""The register of error ids, read from the source: error_register.py.

Writes docs/error-ids.md anew and adds ids that are new to tests/data/errors/ids.txt. That file is
only ever added to: an id that is no longer raised gets the word ``retired`` behind it by hand, and
is never used again.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "ohmykube"
PAGE = ROOT / "docs" / "error-ids.md"
FROZEN = ROOT / "tests" / "data" / "errors" / "ids.txt"
ID = re.compile(r"OMK-[A-Z]-\d{3}")
ABOUT = {
    "U": "The command line",
    "C": "`cluster.yaml`",
    "H": "This host, and what is kept here of a cluster",
    "I": "Artifacts: the internet, mirrors, the cache",
    "P": "Machines",
    "V": "ssh",
    "N": "A step on a node",
    "K": "Kubernetes",
    "Z": "A bug in ohmykube",
}
HEAD = """\
# Error ids

This page is made by `make docs` from the source. [Exit codes and error ids](errors.md) says what
the codes and the letters mean. An id keeps its class and its exit code in all releases; one that is
no longer raised is not used again. `<...>` stands for what depends on the case. Where a message is
"of its class" the class is raised with words of the place.
"""
OF_CLASS = "of its class"


@dataclass(frozen=True, order=True)
class Use:
    """One place that raises an error with an id."""

    id: str
    exit_code: int
    kind: str
    message: str
    module: str


@dataclass
class _Source:
    """What all modules together say about classes, constants and helpers."""

    trees: dict[str, ast.Module]
    codes: dict[str, int] = field(default_factory=dict)
    """Members of ExitCode."""
    bases: dict[str, list[str]] = field(default_factory=dict)
    own_code: dict[str, str] = field(default_factory=dict)
    defaults: dict[str, str] = field(default_factory=dict)
    homes: dict[str, str] = field(default_factory=dict)
    constants: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for module, tree in self.trees.items():
            for node in ast.walk(tree):
                if isinstance(node, ast.ClassDef):
                    self._class(module, node)
            for line in tree.body:
                if isinstance(line, ast.Assign) and (text := _id_of(line.value)):
                    self.constants.update({ast.unparse(name): text for name in line.targets})

    def _class(self, module: str, node: ast.ClassDef) -> None:
        self.bases[node.name] = [_last(ast.unparse(base)) for base in node.bases]
        self.homes[node.name] = module
        for line in node.body:
            value = line.value if isinstance(line, ast.Assign | ast.AnnAssign) else None
            if value is None:
                continue
            target = line.targets[0] if isinstance(line, ast.Assign) else line.target
            name = ast.unparse(target)
            if name == "default_id" and (text := _id_of(value)):
                self.defaults[node.name] = text
            elif name == "exit_code":
                self.own_code[node.name] = _last(ast.unparse(value))
            elif node.name == "ExitCode" and isinstance(value, ast.Constant):
                self.codes[name] = int(str(value.value))

    def exit_code(self, kind: str) -> int | None:
        """Return the exit code of a class of errors, None for any other class."""
        if kind in self.own_code:
            return self.codes[self.own_code[kind]]
        found = (self.exit_code(base) for base in self.bases.get(kind, ()))
        return next((code for code in found if code is not None), None)

    def id_of(self, node: ast.expr) -> str:
        """Return the id that an expression is, directly or by the name of a constant."""
        return _id_of(node) or self.constants.get(_last(ast.unparse(node)), "")


def _id_of(node: ast.expr | None) -> str:
    text = node.value if isinstance(node, ast.Constant) else None
    return text if isinstance(text, str) and ID.fullmatch(text) else ""


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def message_of(node: ast.expr | None) -> str:
    """Return the static text of a message; what depends on the case becomes ``<name>``."""
    match node:
        case None:
            text = OF_CLASS
        case ast.Constant(value=str(text)):
            pass
        case ast.JoinedStr(values=parts):
            text = "".join(message_of(part) for part in parts)
        case ast.IfExp(body=body, orelse=orelse):
            text = f"{message_of(body)} / {message_of(orelse)}"
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            text = message_of(left) + message_of(right)
        case _:
            value = node.value if isinstance(node, ast.FormattedValue) else node
            code = re.sub(r"(['\"]).*?\1", "", ast.unparse(value))
            names = re.findall(r"[A-Za-z]\w*", code)
            text = f"<{names[-1].lower() if names else '...'}>"
    return text


def uses() -> list[Use]:
    """Return all uses of ids in the package, without its test doubles."""
    trees = {
        str(path.relative_to(ROOT)): ast.parse(path.read_text())
        for path in sorted(PACKAGE.rglob("*.py"))
        if "testing" not in path.relative_to(PACKAGE).parts
    }
    source = _Source(trees)
    found = {
        Use(text, source.exit_code(kind) or 0, kind, OF_CLASS, source.homes[kind])
        for kind, text in source.defaults.items()
    }
    for module, tree in trees.items():
        helpers = _helpers(tree)
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef):
                for call in ast.walk(function):
                    if isinstance(call, ast.Call):
                        found |= _in_call(source, module, call, function, helpers)
    return sorted(found)


def _helpers(tree: ast.Module) -> dict[str, tuple[int, ast.Call]]:
    """Return functions that hand a parameter on as the id: its place and the inner call."""
    found = {}
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef):
            continue
        places = {arg.arg: place for place, arg in enumerate(node.args.args)}
        for call in (inner for inner in ast.walk(node) if isinstance(inner, ast.Call)):
            for word in call.keywords:
                if (
                    word.arg == "id"
                    and isinstance(word.value, ast.Name)
                    and word.value.id in places
                ):
                    found[node.name] = (places[word.value.id], call)
    return found


def _in_call(
    source: _Source,
    module: str,
    call: ast.Call,
    function: ast.FunctionDef,
    helpers: dict[str, tuple[int, ast.Call]],
) -> set[Use]:
    text, raised = "", call
    name = _last(ast.unparse(call.func))
    if name in helpers:
        place, raised = helpers[name]
        given = call.args[place : place + 1] + [w.value for w in call.keywords if w.arg == "id"]
        text = next((found for one in given if (found := source.id_of(one))), "")
    else:
        words = [word.value for word in call.keywords if word.arg == "id"]
        text = source.id_of(words[0]) if words else ""
    if not text:
        return set()
    kinds = _kinds(source, _last(ast.unparse(raised.func)), function)
    message = message_of(raised.args[0] if raised.args else None)
    return {Use(text, source.exit_code(kind) or 0, kind, message, module) for kind in kinds}


def _kinds(source: _Source, name: str, function: ast.FunctionDef) -> set[str]:
    """Return the class that is called, or those that a variable of the function can be."""
    if source.exit_code(name) is not None:
        return {name}
    values = [
        line.value
        for line in ast.walk(function)
        if isinstance(line, ast.Assign) and name in {ast.unparse(one) for one in line.targets}
    ]
    named = {inner.id for one in values for inner in ast.walk(one) if isinstance(inner, ast.Name)}
    return {one for one in named if source.exit_code(one) is not None}


def page(found: list[Use]) -> str:
    """Return the text of the page."""
    by_letter: dict[str, list[str]] = defaultdict(list)
    grouped: dict[tuple[str, int, str], list[Use]] = defaultdict(list)
    for use in found:
        grouped[use.id, use.exit_code, use.kind].append(use)
    for (text, code, kind), group in grouped.items():
        messages = "<br>".join(dict.fromkeys(_cell(use.message) for use in group))
        modules = "<br>".join(dict.fromkeys(f"`{use.module}`" for use in group))
        by_letter[text[4]].append(f"| {text} | {code} | {kind} | {messages} | {modules} |\n")
    parts = [HEAD]
    for letter, about in ABOUT.items():
        parts += [f"\n## {letter}: {about}\n\n", "| id | exit code | class | message | where |\n"]
        parts += ["|---|---|---|---|---|\n", *by_letter.pop(letter, [])]
    if by_letter:
        raise ValueError(f"unknown letters: {', '.join(by_letter)}")
    return "".join(parts)


def _cell(text: str) -> str:
    shown = " ".join(text.split()).replace("|", "\\|")
    return shown if text == OF_CLASS else f"`` {shown} ``" if "`" in shown else f"`{shown}`"


def register(found: list[Use]) -> list[str]:
    """Return the lines of the frozen list that the source asks for."""
    return sorted({f"{use.id}\t{use.exit_code}\t{use.kind}" for use in found})


def frozen() -> tuple[list[str], list[str]]:
    """Return the lines of ids in use, and those of retired ones without their last word."""
    lines = FROZEN.read_text().splitlines() if FROZEN.exists() else []
    retired = [line.removesuffix("\tretired") for line in lines if line.endswith("\tretired")]
    return [line for line in lines if not line.endswith("\tretired")], retired


def main() -> int:
    """Write the page; add what is new to the frozen list."""
    found = uses()
    PAGE.write_text(page(found))
    lines, retired = frozen()
    known = {line.split("\t")[0] for line in (*lines, *retired)}
    lines += [line for line in register(found) if line.split("\t")[0] not in known]
    kept = sorted([*lines, *(f"{line}\tretired" for line in retired)])
    FROZEN.write_text("".join(f"{line}\n" for line in kept))
    return 0


if __name__ == "__main__":
    sys.exit(main())
