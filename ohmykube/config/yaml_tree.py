"""The tree of a YAML text that may be hostile.

PyYAML's pure-Python parser on purpose: a cluster file has a few kilobytes, the parser keeps its own
stack, and the C loader dies of a segmentation fault on deep nesting. Limits are counted on its
event stream, before anything is made; an alias shares the node that it names, and nothing is ever
made from a tag.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import yaml

from ohmykube.config.problems import echo
from ohmykube.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

DEEPEST = 50
MOST_ALIASES = 100
MOST_VALUES = 10_000
"""Keys and values, those behind an alias counted each time; a cluster of 100 hosts has 2000."""


@dataclass(slots=True, kw_only=True)
class Node:
    """A scalar (``scalar``), mapping (``pairs``) or sequence (``items``)."""

    line: int
    """From 1."""
    scalar: str | None = None
    plain: bool = False
    """A scalar without quotes."""
    pairs: list[tuple[Node, Node]] | None = None
    items: list[Node] | None = None
    weight: int = 1
    """Nodes in this subtree, those behind aliases counted each time."""
    open: bool = False
    """Its end was not seen yet, so an alias to it would make a loop."""


def compose(text: str, label: str) -> Node | None:
    """Return the root of the only document, None when there is none.

    Raises:
        ConfigError: beyond the limits.
        yaml.YAMLError: not YAML.
    """
    composer = _Composer(label)
    for event in _limited(text, label):
        composer.take(event)
    root = composer.root
    if root is not None and root.weight > MOST_VALUES:
        raise unsafe(label, f"its aliases expand to more than {MOST_VALUES} values")
    return root


def unsafe(where: str, why: str) -> ConfigError:
    """Return the error for YAML that is not accepted."""
    return ConfigError(
        f"{where}: not accepted",
        why=why,
        hint="ohmykube config template  (an example of what is)",
        id="OMK-C-105",
    )


def _limited(text: str, label: str) -> Iterator[yaml.Event]:
    depth = documents = aliases = 0
    for number, event in enumerate(yaml.parse(text, Loader=yaml.SafeLoader)):
        where = f"{label}:{_line(event)}"
        documents += isinstance(event, yaml.DocumentStartEvent)
        aliases += isinstance(event, yaml.AliasEvent)
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if documents > 1:
            raise unsafe(where, "it holds several documents (---); one cluster is one file")
        if depth > DEEPEST:
            raise unsafe(where, f"nested deeper than {DEEPEST} levels")
        if aliases > MOST_ALIASES:
            raise unsafe(where, f"more than {MOST_ALIASES} aliases (*name)")
        if number > MOST_VALUES:
            raise unsafe(where, f"more than {MOST_VALUES} values")
        tag = getattr(event, "tag", None)
        if tag is not None:
            raise unsafe(where, f"the tag {echo(tag)} is not allowed; plain values only")
        yield event


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 0


class _Composer:
    """Builds the tree without recursion."""

    def __init__(self, label: str) -> None:
        self.root: Node | None = None
        self._label = label
        self._anchors: dict[str, Node] = {}
        self._open: list[tuple[Node, list[Node]]] = []

    def take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.CollectionStartEvent):
            node = Node(line=_line(event), open=True)
            if isinstance(event, yaml.MappingStartEvent):
                node.pairs = []
            self._anchor(event, node)
            self._open.append((node, []))
        elif isinstance(event, yaml.CollectionEndEvent):
            node, children = self._open.pop()
            _close(node, children)
            self._add(node)
        elif isinstance(event, yaml.ScalarEvent):
            node = Node(line=_line(event), scalar=event.value, plain=event.style is None)
            self._anchor(event, node)
            self._add(node)
        elif isinstance(event, yaml.AliasEvent):
            self._add(self._named(event))

    def _anchor(self, event: yaml.NodeEvent, node: Node) -> None:
        if event.anchor:
            self._anchors[event.anchor] = node

    def _named(self, event: yaml.AliasEvent) -> Node:
        name = event.anchor or ""
        known = self._anchors.get(name)
        if known is None or known.open:
            where = f"{self._label}:{_line(event)}"
            raise unsafe(where, f"the alias *{echo(name)[1:-1]} names no finished value")
        return known

    def _add(self, node: Node) -> None:
        if self._open:
            self._open[-1][1].append(node)
        else:
            self.root = node


def _close(node: Node, children: list[Node]) -> None:
    if node.pairs is None:
        node.items = children
    else:
        node.pairs = list(zip(children[::2], children[1::2], strict=True))
    node.weight = 1 + sum(child.weight for child in children)
    node.open = False
