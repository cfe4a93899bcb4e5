"""A YAML file as plain values, with the line of every one of them.

Values follow YAML 1.2: ``no``, ``010`` and ``22:22`` are text.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from ohmykube.config.problems import Path, Problem, error
from ohmykube.config.yaml_tree import Node, compose, unsafe
from ohmykube.errors import ConfigError, PermissionDenied
from ohmykube.kit import shell, yaml_errors

if TYPE_CHECKING:
    import pathlib

LARGEST_BYTES = 1_000_000
_NULL = ("", "~", "null", "Null", "NULL")
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?")


@dataclass(slots=True, kw_only=True)
class Source:
    """A document with what is needed to talk about it."""

    label: str
    """What messages call it, usually the path as typed."""
    data: dict[str, Any]
    lines: dict[Path, int] = field(default_factory=dict)
    """Line, from 1, of each key or list entry."""
    written: dict[Path, str] = field(default_factory=dict)
    """Numbers, booleans and nulls as they stand in the file."""
    flags: dict[Path, str] = field(default_factory=dict)
    """The flag that set a value."""
    renamed: dict[Path, Path] = field(default_factory=dict)
    """What a path of this document was called in the file, when it was converted."""
    problems: list[Problem] = field(default_factory=list)

    def problem(self, path: Path, text: str) -> Problem:
        """Return a problem with the flag or the nearest known line of ``path``."""
        parts = [path[:end] for end in range(len(path), 0, -1)]
        line = next((self.lines[part] for part in parts if part in self.lines), None)
        flag = self.flags.get(path)
        known = next((part for part in parts if part in self.renamed), None)
        if known is not None and flag is None:
            path = self.renamed[known] + path[len(known) :]
        return Problem(path=path, text=text, line=line, flag=flag)


def read(path: pathlib.Path, label: str = "") -> Source:
    """Read a YAML file that holds one mapping; messages call it ``label`` or as the path says.

    Raises:
        ConfigError: no such file, not YAML, or beyond the limits.
        PermissionDenied: it may not be read.
    """
    # Whole and as it is written, unlike other echoed values: the hint is to be copied.
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in label or str(path))
    return parse(_bytes(path, shown), shown)


def read_text(path: pathlib.Path, label: str) -> str:
    """Return the text of any file within the same limits; raises as ``read`` does."""
    return _decoded(_bytes(path, label), label)


def _bytes(path: pathlib.Path, label: str) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(LARGEST_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError(
            f"there is no file {label}",
            hint=f"ohmykube config template > {shell.word(label)}",
            id="OMK-C-103",
        ) from None
    except PermissionError as error:
        raise PermissionDenied(
            f"cannot read {label}",
            why=error.strerror,
            hint=f"ls -l {shell.word(label)}",
            id="OMK-C-104",
        ) from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise ConfigError(
            f"cannot read {label}", why=why, hint="give the path of a file", id="OMK-C-103"
        ) from None


def _decoded(data: bytes, label: str) -> str:
    if len(data) > LARGEST_BYTES:
        raise unsafe(label, f"it has more than {LARGEST_BYTES} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{label}:{line}: not UTF-8 text",
            why=f"byte {error.start} is 0x{data[error.start]:02x}",
            hint="save the file as UTF-8",
            id="OMK-C-102",
        ) from None


def parse(data: bytes, label: str) -> Source:
    """Parse the content of a file; raises ConfigError as ``read`` does."""
    root = _composed(_decoded(data, label), label)
    if root is None or (root.plain and root.scalar in _NULL):
        raise ConfigError(
            f"{label} is empty",
            hint="ohmykube config template  (an example of what is read)",
            id="OMK-C-102",
        )
    if root.pairs is None:
        raise ConfigError(
            f"{label} must hold a mapping (key: value)",
            hint="ohmykube config template  (an example)",
            id="OMK-C-102",
        )
    source = Source(label=label, data={})
    source.data = _value(root, (), source)
    return source


def parse_value(text: str, label: str) -> Any:
    """Return what one value says, as if it stood in a file; nothing is empty text.

    Raises:
        ConfigError: not YAML, or a mapping in it that is not right.
    """
    root = _composed(text, label)
    if root is None:  # nothing, or what would be a comment in a file
        return text
    source = Source(label=label, data={})
    value = _value(root, (), source)
    if source.problems:
        raise error(label, source.problems)
    return value


def _composed(text: str, label: str) -> Node | None:
    try:
        return compose(text, label)
    except yaml.MarkedYAMLError as found:
        raise _syntax(label, text, found) from None
    except yaml.reader.ReaderError as found:
        line = text.count("\n", 0, found.position) + 1
        raise ConfigError(
            f"{label}:{line}: a control character ({ascii(text[found.position])[1:-1]})",
            why="YAML allows only printable characters",
            hint="remove it",
            id="OMK-C-102",
        ) from None


def _value(node: Node, path: Path, source: Source) -> Any:
    if node.pairs is not None:
        return _mapping(node, path, source)
    if node.items is not None:
        for number, item in enumerate(node.items):
            source.lines[*path, number] = item.line
        return [_value(item, (*path, n), source) for n, item in enumerate(node.items)]
    text = node.scalar or ""
    value = _plain(text) if node.plain else text
    if not isinstance(value, str):
        source.written[path] = text
    return value


def _mapping(node: Node, path: Path, source: Source) -> dict[str, Any]:
    result: dict[str, Any] = {}
    merged: dict[str, Any] = {}
    for key, value in node.pairs or ():
        if key.plain and key.scalar == "<<":
            merged = {**_merge(value, path, source), **merged}
            continue
        name = key.scalar
        if name is None or (key.plain and not isinstance(_plain(name), str)):
            text = 'has a key that is not text; quote it ("...")'
            if name is None:
                text = "has a mapping or list as a key; quote a value that starts with { or ["
            source.problems.append(Problem(path=path, text=text, line=key.line))
            continue
        here = (*path, name)
        if name in result:
            text = f"is given twice, first on line {source.lines[here]}"
            source.problems.append(Problem(path=here, text=text, line=key.line))
            continue
        source.lines[here] = key.line
        result[name] = _value(value, here, source)
    return {**merged, **result}


def _merge(node: Node, path: Path, source: Source) -> dict[str, Any]:
    parts = [node] if node.items is None else node.items
    result: dict[str, Any] = {}
    for part in parts:
        if part.pairs is None:
            text = "has a merge key (<<) whose value is no mapping"
            source.problems.append(Problem(path=path, text=text, line=node.line))
        else:
            before = dict(source.lines)
            result = {**_mapping(part, path, source), **result}
            source.lines.update(before)
    return result


def _plain(text: str) -> Any:
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text) and len(text) <= 40 and math.isfinite(float(text)):
        return float(text)
    return text


def _syntax(label: str, text: str, error: yaml.MarkedYAMLError) -> ConfigError:
    mark = error.problem_mark or error.context_mark
    what = yaml_errors.problem(error)
    if mark is None:
        return ConfigError(f"{label}: {what}", id="OMK-C-102")
    lines = text.splitlines() or [""]
    shown = lines[mark.line] if mark.line < len(lines) else ""
    start = max(0, mark.column - 60)
    window = "".join(
        c if c.isascii() and c.isprintable() else "?" for c in shown[start : start + 76]
    )
    caret = " " * (mark.column - start) + "^"
    hint = "correct the line above, then run the same command again"
    if error.context and error.context_mark and error.context_mark.line != mark.line:
        hint = f"look also at line {error.context_mark.line + 1}: {yaml_errors.beginning(error)}"
    return ConfigError(
        f"{label}:{mark.line + 1}:{mark.column + 1}: {what}",
        why=f"{window}\n{caret}",
        hint=hint,
        id="OMK-C-102",
    )
