"""Changes a kubeconfig that others wrote: what is not ours in it stays byte for byte.

The places of our entries are taken from the parser's events, and only these are written anew, so
comments, order, quotes and even bytes that are no UTF-8 stay as they are.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

LISTS = ("clusters", "users", "contexts")
_CURRENT = "current-context"
_BOM = b"\xef\xbb\xbf"
_APART = 0xE000
"""A byte above ASCII becomes one character of Unicode's private area, so that offsets in the text
are offsets in the bytes, and the parser, which refuses some characters, takes each of them."""
_NULLS = ("", "~", "null", "Null", "NULL")
_PLAIN = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?")


class NotUnderstoodError(ValueError):
    """The file is a kubeconfig, but not in a form that can be changed in part."""


@dataclass(slots=True)
class _Node:
    """A piece of the document with its place; an alias is a piece of its own."""

    start: int
    end: int
    column: int = 0
    value: str | None = None
    """Of a scalar."""
    plain: bool = False
    flow: bool = False
    pairs: list[tuple[_Node, _Node]] | None = None
    items: list[_Node] | None = None

    @property
    def last(self) -> int:
        """Where its last visible part ends."""
        inner = self.items if self.items is not None else [v for _, v in self.pairs or ()]
        return inner[-1].last if inner and not self.flow else self.end

    def get(self, key: str) -> _Node | None:
        """Return the value of a key of a mapping; of several the one that counts."""
        return next((v for k, v in reversed(self.pairs or []) if k.value == key), None)


@dataclass(slots=True)
class _Edits:
    """Replacements in one text, which do not overlap."""

    text: str
    eol: str
    found: list[tuple[int, int, str]] = field(default_factory=list)

    def replace(self, node: _Node, new: str) -> None:
        ends_line = node.last > node.start and self.text[node.last - 1] == "\n"
        gap = " " if node.start == node.last else ""
        self.found.append((node.start, node.last, gap + new + (self.eol if ends_line else "")))

    def insert(self, at: int, new: str) -> None:
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
        parts, done = [], 0
        for start, end, new in sorted(self.found, key=lambda edit: edit[0]):  # stable
            parts += [self.text[done:start], new]
            done = end
        return "".join([*parts, self.text[done:]])


def merged(old: bytes, mine: Mapping[str, Any]) -> bytes:
    """Return ``old`` with the entries of ``mine``, whose context becomes the current one.

    Args:
        old: a kubeconfig, or nothing.
        mine: the content of another one; its entries replace those of the same names.

    Raises:
        ValueError: ``old`` is no kubeconfig.
        NotUnderstoodError: it is one, but cannot be changed in part.
    """
    bom = _BOM if old.startswith(_BOM) else b""
    text = _text(old[len(bom) :])
    before = _load(text)
    eol = "\r\n" if re.search(r"\r\n", text) else "\n"
    if before is None:
        whole = yaml.safe_dump(dict(mine), sort_keys=False, width=1 << 20)
        kept = text if not text or text.endswith("\n") else text + eol
        after = kept + whole.replace("\n", eol)
    else:
        after = _changed(text, mine, eol)
    if _safely_loaded(after) != _expected(before, mine):
        raise NotUnderstoodError("it is written in a form that cannot be changed in part")
    return bom + after.translate({_APART + b: b for b in range(0x80, 0x100)}).encode("latin-1")


def _text(data: bytes) -> str:
    return data.decode("latin-1").translate({b: _APART + b for b in range(0x80, 0x100)})


def _load(text: str) -> dict[str, Any] | None:
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(str(error)) from error
    if content is None:
        return None
    if not isinstance(content, dict):
        raise ValueError("it is not a mapping")  # noqa: TRY004 - a file's content, not an argument
    for key in LISTS:
        entries = content.get(key) or []
        if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
            raise ValueError(f"`{key}` is not a list of mappings")
    return content


def _safely_loaded(text: str) -> object:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return None


def _expected(before: Mapping[str, Any] | None, mine: Mapping[str, Any]) -> dict[str, Any]:
    after = dict(mine if before is None else before)
    for key in LISTS:
        added = {entry["name"]: entry for entry in mine.get(key) or ()}
        kept = [added.get(entry.get("name"), entry) for entry in (before or {}).get(key) or ()]
        names = {entry.get("name") for entry in kept}
        after[key] = [*kept, *(entry for name, entry in added.items() if name not in names)]
    return {**after, _CURRENT: mine[_CURRENT]}


def _changed(text: str, mine: Mapping[str, Any], eol: str) -> str:
    root = _parse(text)
    if root.pairs is None:
        raise NotUnderstoodError("its mapping is not where it begins")
    edits = _Edits(text, eol)
    missing: dict[str, Any] = {}
    for key in LISTS:
        value, entries = root.get(key), list(mine.get(key) or ())
        if value is None:
            missing[key] = entries
        else:
            _into_list(edits, value, entries)
    current = root.get(_CURRENT)
    if current is None:
        missing[_CURRENT] = mine[_CURRENT]
    else:
        edits.replace(current, _scalar(mine[_CURRENT], quoted=root.flow))
    _into_root(edits, root, missing)
    return edits.result()


def _into_list(edits: _Edits, value: _Node, entries: Sequence[Mapping[str, Any]]) -> None:
    if value.items is None:
        if value.value not in _NULLS or not value.plain:
            raise NotUnderstoodError("a list in it is an alias")
        edits.replace(value, json.dumps(entries))
        return
    for entry in entries:
        places = [item for item in value.items if _name(item) == entry["name"]]
        for item in places:
            new = json.dumps(entry) if value.flow else edits.eol.join(_block(entry, item.column))
            edits.replace(item, new.lstrip())
        if places:
            continue
        if not value.flow:
            lines = _block(entry, value.column + 2)
            lines[0] = f"{' ' * value.column}- {lines[0].lstrip()}"
            edits.insert_lines(value.last, lines)
        elif value.items:
            edits.insert(value.items[-1].end, f", {json.dumps(entry)}")
        else:
            edits.insert(value.end - 1, json.dumps(entry))


def _into_root(edits: _Edits, root: _Node, missing: Mapping[str, Any]) -> None:
    if not root.flow:
        for key, value in missing.items():
            edits.insert_lines(root.last, _block({key: value}, root.column))
    elif missing:
        inner = json.dumps(missing)[1:-1]
        pairs = root.pairs or []
        place = pairs[-1][1].end if pairs else root.end - 1
        edits.insert(place, f", {inner}" if pairs else inner)


def _name(item: _Node) -> str | None:
    name = item.get("name")
    return name.value if name is not None else None


def _block(value: Mapping[str, Any], column: int) -> list[str]:
    lines = yaml.safe_dump(dict(value), sort_keys=False, width=1 << 20).splitlines()
    return [" " * column + line for line in lines]


def _scalar(text: str, *, quoted: bool) -> str:
    return text if _PLAIN.fullmatch(text) and not quoted else json.dumps(text)


def _parse(text: str) -> _Node:
    events = iter(yaml.parse(text, yaml.SafeLoader))
    for event in events:
        if isinstance(event, yaml.DocumentStartEvent):
            return _node(next(events), events)
    raise NotUnderstoodError("it has no document")


def _node(event: yaml.Event, events: Iterator[yaml.Event]) -> _Node:
    node = _Node(_mark(event.start_mark).index, _mark(event.end_mark).index)
    node.column = _mark(event.start_mark).column
    if isinstance(event, yaml.ScalarEvent):
        node.value, node.plain = event.value, event.style is None
    elif isinstance(event, yaml.CollectionStartEvent):
        node.flow = bool(event.flow_style)
        inner: list[_Node] = []
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
