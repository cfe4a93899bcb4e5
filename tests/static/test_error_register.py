"""Each error id has one meaning, for ever: the frozen list, and the page that is made of it."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ohmykube import errors

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
UPDATE = "run: make docs"


def load() -> ModuleType:
    path = ROOT / "tools" / "error_register.py"
    spec = importlib.util.spec_from_file_location("error_register", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


tool = load()
FOUND = tool.uses()
IN_USE, RETIRED = tool.frozen()


def literals(path: Path) -> set[str]:
    """Return all ids that a module has anywhere but in its documentation."""
    return {
        node.value
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and tool.ID.fullmatch(node.value)
    }


def test_the_page_is_what_the_source_says() -> None:
    assert tool.PAGE.read_text() == tool.page(FOUND), UPDATE


def test_no_id_escapes_the_register() -> None:
    everywhere = set().union(*(literals(path) for path in tool.PACKAGE.rglob("*.py")))
    assert {use.id for use in FOUND} == everywhere


def test_an_id_keeps_its_class_and_exit_code_and_is_in_the_list() -> None:
    assert tool.register(FOUND) == sorted(IN_USE), (
        f"{UPDATE} adds new ids to {tool.FROZEN.relative_to(ROOT)}; a line that is there never "
        "changes. Where an id is raised no more its line gets the word retired, after a tab."
    )


def test_an_id_is_listed_once_and_never_used_again() -> None:
    ids = Counter(line.split("\t")[0] for line in (*IN_USE, *RETIRED))
    assert [text for text, times in ids.items() if times > 1] == []
    assert not {line.split("\t")[0] for line in RETIRED} & {use.id for use in FOUND}


def test_lines_of_the_list_have_the_form() -> None:
    for line in tool.FROZEN.read_text().splitlines():
        assert re.fullmatch(r"OMK-[UCHIPVNKZ]-\d{3}\t\d+\t\w+(\tretired)?", line), line
    assert len(IN_USE) > 250


def test_exit_codes_are_those_of_the_classes() -> None:
    codes = {use.kind: use.exit_code for use in FOUND}
    for kind, code in codes.items():
        known = getattr(errors, kind, None)
        if known is not None:
            assert known.exit_code == code
    assert set(codes.values()) <= {int(code) for code in errors.ExitCode}
    assert codes["LimactlError"] == errors.ExitCode.PROVIDER


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ('"disk full"', "disk full"),
        ('f"node {self._node.name} has {len(x)} disks"', "node <name> has <x> disks"),
        ('f"{kind!r} of {words[0]}"', "<kind> of <words>"),
        ('"a" if b else f"c {d}"', "a / c <d>"),
        ('"a " + text', "a <text>"),
        ("f\"{'.'.join([])}\"", "<join>"),
        ('f"{1}"', "<...>"),
    ],
)
def test_what_depends_on_the_case_is_marked(source: str, message: str) -> None:
    assert tool.message_of(ast.parse(source, mode="eval").body) == message
