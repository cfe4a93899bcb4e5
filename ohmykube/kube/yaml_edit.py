"""Changes parts of a YAML text: where its nodes are, and replacements that leave the rest as it is.

The places are taken from the parser's events, so comments, order, quotes and even bytes that are no
UTF-8 stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_APART = 0xE000
"""A byte above ASCII becomes one character of Unicode's private area, so that offsets in the text
are offsets in the bytes, and the parser, which refuses some characters, takes each of them."""


class NotUnderstoodError(ValueError):
    """The text is written in a form that cannot be changed in part."""


@dataclass(slots=True)
class Node:
    """A piece of the document with its place; an alias is a piece of its own."""

    start: int
    end: int
    column: int = 0
    value: str | None = None
    """Of a scalar."""
    plain: bool = False
    flow: bool = False
    pairs: list[tuple[Node, Node]] | None = None
    items: list[Node] | None = None

    @property
    def last(self) -> int:
        """Where its last visible part ends."""
        inner = self.items if self.items is not None else [v for _, v in self.pairs or ()]
        return inner[-1].last if inner and not self.flow else self.end

    def get(self, key: str) -> Node | None:
        """Return the value of a key of a mapping; of several the one that counts."""
        return next((v for k, v in reversed(self.pairs or []) if k.value == key), None)


@dataclass(slots=True)
class Edits:
    """Replacements in one text, which do not overlap."""

    text: str
    found: list[tuple[int, int, str]] = field(default_factory=list)

    @property
    def eol(self) -> str:
        """How lines of the text end."""
        return "\r\n" if "\r\n" in self.text else "\n"

    def replace(self, node: Node, new: str) -> None:
        """Put a text in the place of a node."""
        ends_line = node.last > node.start and self.text[node.last - 1] == "\n"
        gap = " " if node.start == node.last else ""
        self.found.append((node.start, node.last, gap + new + (self.eol if ends_line else "")))

    def remove(self, start: int, end: int) -> None:
        """Remove what is between two places."""
        self.found.append((start, end, ""))

    def remove_lines(self, node: Node) -> None:
        """Remove the lines that a node is on."""
        start = self.text.rfind("\n", 0, node.start) + 1
        end = node.last if self.text[node.last - 1] == "\n" else self.text.find("\n", node.last) + 1
        self.remove(start, end or len(self.text))

    def insert(self, at: int, new: str) -> None:
        """Insert a text before the one at a place."""
        self.found.append((at, at, new))

    def insert_lines(self, after: int, lines: Sequence[str]) -> None:
        """Insert lines below the one that ends at or behind ``after``."""
        at = after if after and self.text[after - 1] == "\n" else self.text.find("\n", after) + 1
        if not at:
            at = len(self.text)
            if not any(place == at for place, _, _ in self.found):
                self.insert(at, self.eol)
        self.insert(at, "".join(line + self.eol for line in lines))

    def result(self) -> str:
        """Return the text with all replacements made."""
        parts, done = [], 0
        for start, end, new in sorted(self.found, key=lambda edit: edit[0]):  # stable
            parts += [self.text[done:start], new]
            done = end
        return "".join([*parts, self.text[done:]])


def text_of(data: bytes) -> str:
    """Return a text with one character for each byte; ``bytes_of`` is the way back."""
    return data.decode("latin-1").translate({b: _APART + b for b in range(0x80, 0x100)})


def bytes_of(text: str) -> bytes:
    """Return the bytes of a text that ``text_of`` made."""
    return text.translate({_APART + b: b for b in range(0x80, 0x100)}).encode("latin-1")


def parse(text: str) -> Node:
    """Return the first document; raises NotUnderstoodError when there is none."""
    events = iter(yaml.parse(text, yaml.SafeLoader))
    for event in events:
        if isinstance(event, yaml.DocumentStartEvent):
            return _node(next(events), events)
    raise NotUnderstoodError("it has no document")


def _node(event: yaml.Event, events: Iterator[yaml.Event]) -> Node:
    node = Node(_mark(event.start_mark).index, _mark(event.end_mark).index)
    node.column = _mark(event.start_mark).column
    if isinstance(event, yaml.ScalarEvent):
        node.value, node.plain = event.value, event.style is None
    elif isinstance(event, yaml.CollectionStartEvent):
        node.flow = bool(event.flow_style)
        inner: list[Node] = []
        while not isinstance(event := next(events), yaml.CollectionEndEvent):
            inner.append(_node(event, events))
        node.end = _mark(event.end_mark).index
        if isinstance(event, yaml.MappingEndEvent):
            node.pairs = list(zip(inner[::2], inner[1::2], strict=True))
        else:
            node.items = inner
    return node


def _mark(mark: Any) -> yaml.Mark:
    found: yaml.Mark = mark  # the parser for text gives one with every event
    return found
