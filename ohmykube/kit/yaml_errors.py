"""What PyYAML says of a text that is no YAML, in words for people who do not know its grammar."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from collections.abc import Mapping

_TAB = r"'\t'"
_TOKEN = re.compile(r"'?<([a-z ]+)>'?")
_MEANING: Mapping[str, str] = {
    "stream end": "the end of the file",
    "document start": "another document (---)",
    "document end": "the end of the document (...)",
    "block mapping start": "a mapping",
    "block sequence start": "a list",
    "block end": "the end of the block",
    "scalar": "a value",
    "alias": "an alias (*)",
    "anchor": "an anchor (&)",
    "tag": "a tag (!)",
    "directive": "a directive (%)",
}
_MISPLACED = re.compile(r"expected '?<(?:block end|document start)>'?, but found (.+)")
_PHRASES = (
    ("could not find expected ':'", 'a key without ":" above this place'),
    (
        "mapping values are not allowed here",
        'a ":" where none can be; is it indented right, or are quotes missing?',
    ),
    ("unexpected end of stream", "the end of the file"),
    ("the node content", "a value"),
    ("but found another document", "a second document"),
    ("'\\x00'", "the end of the file"),
)
_STARTS: Mapping[str, str] = {
    "parsing a flow mapping": 'the mapping that begins there with "{"',
    "parsing a flow sequence": 'the list that begins there with "["',
    "parsing a block mapping": "the mapping that begins there",
    "parsing a block collection": "the list that begins there",
    "scanning a simple key": 'the line that begins there; it is no key with ":"',
    "scanning a quoted scalar": "the quote that begins there",
    "scanning a double-quoted scalar": "the quote that begins there",
    "scanning a block scalar": "the text block that begins there",
}


def problem(error: yaml.MarkedYAMLError) -> str:
    """Return what is wrong at the place that ``error.problem_mark`` gives, on one line of ASCII."""
    text = error.problem or "not YAML"
    if _TAB in text:
        return "a tab where only spaces may indent"
    if misplaced := _MISPLACED.fullmatch(text):
        return f"{_named(misplaced[1])} where none can be; is the indentation right?"
    for theirs, ours in _PHRASES:
        text = text.replace(theirs, ours)
    return ascii(_named(text))[1:-1].replace("\\'", "'")


def beginning(error: yaml.MarkedYAMLError) -> str:
    """Return what begins at the place that ``error.context_mark`` gives and is not right."""
    context = (error.context or "").removeprefix("while ")
    return _STARTS.get(context, "what begins there")


def one_line(error: Exception, text: str) -> str:
    """Return why ``text`` is no YAML: place and problem.

    Args:
        error: a ``yaml.YAMLError`` or ``RecursionError``.
        text: what was parsed.
    """
    match error:
        case yaml.MarkedYAMLError():
            mark = error.problem_mark or error.context_mark
            place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
            return f"{place}{problem(error)}"
        case yaml.reader.ReaderError():
            line = text.count("\n", 0, error.position) + 1
            return f"line {line}: a character that YAML does not allow"
        case _:
            return "it is nested too deeply"


def _named(text: str) -> str:
    if text == "'?'":  # what the parser finds where a key begins
        return "a key"
    return _TOKEN.sub(lambda match: _MEANING.get(match[1], match[0]), text)
