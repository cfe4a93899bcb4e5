"""Changes a kubeconfig that others wrote: what is not ours in it stays byte for byte.

Only the entries with our names are written anew, or removed; see ``yaml_edit`` for how.
"""

from __future__ import annotations

import itertools
import json
import re
from typing import TYPE_CHECKING, Any

import yaml

from ohmykube.kit import yaml_errors
from ohmykube.kube.yaml_edit import Edits, Node, NotUnderstoodError, bytes_of, parse, text_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

LISTS = ("clusters", "users", "contexts")
_CURRENT = "current-context"
_AUTHORITY = "certificate-authority-data"
_BOM = b"\xef\xbb\xbf"
_NULLS = ("", "~", "null", "Null", "NULL")
_PLAIN = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?")


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
    text = text_of(old[len(bom) :])
    before = _load(text)
    edits = Edits(text)
    if before is None:
        whole = yaml.safe_dump(dict(mine), sort_keys=False, width=1 << 20)
        kept = text if not text or text.endswith("\n") else text + edits.eol
        after = kept + whole.replace("\n", edits.eol)
    else:
        _put(edits, mine)
        after = edits.result()
    if _safely_loaded(after) != _expected(before, mine):
        raise NotUnderstoodError("it is written in a form that cannot be changed in part")
    return bom + bytes_of(after)


def removed(
    old: bytes, name: str, current: str, *, written: str | None = None, keep: Sequence[str] = ()
) -> bytes:
    """Return ``old`` without the entries called ``name``.

    Args:
        old: a kubeconfig, or nothing.
        name: of the entries, in all lists.
        current: the context that becomes the current one where that was ``name``; none does if it
            is not there.
        written: how ``current`` stood in the file, as ``current_as_written`` returned it.
        keep: the lists whose entries stay, as ``not_ours`` returned them.

    Raises:
        ValueError, NotUnderstoodError: as ``merged``.
    """
    bom = _BOM if old.startswith(_BOM) else b""
    text = text_of(old[len(bom) :])
    before = _load(text)
    lists = [key for key in LISTS if key not in keep]
    expected = _without(before or {}, name, current, lists)
    if before is None or before == expected:
        return old
    root = parse(text)
    for form in (written, _scalar(str(expected.get(_CURRENT)), quoted=root.flow)):
        if form is not None:
            after = _edited_out(text, root, name, lists, form)
            if _safely_loaded(after) == expected:
                return bom + bytes_of(after)
    raise NotUnderstoodError("it is written in a form that cannot be changed in part")


def _edited_out(text: str, root: Node, name: str, lists: Sequence[str], current: str) -> str:
    edits = Edits(text)
    for key, value in root.pairs or ():
        if key.value in lists:
            _out_of_list(edits, key, value, name)
        elif key.value == _CURRENT and value.value == name and "contexts" in lists:
            edits.replace(value, current)
    return edits.result()


def current_context(old: bytes) -> str:
    """Return the current context of a kubeconfig, or an empty string; raises as ``merged``."""
    found = (_load(text_of(old.removeprefix(_BOM))) or {}).get(_CURRENT)
    return found if isinstance(found, str) else ""


def current_as_written(old: bytes) -> str | None:
    """Return how the current context stands in a kubeconfig, with its quotes; raises as ``merged``.

    None when there is none.
    """
    text = text_of(old.removeprefix(_BOM))
    value = parse(text).get(_CURRENT) if current_context(old) else None
    return text[value.start : value.last].rstrip("\r\n") if value is not None else None


def not_ours(
    old: bytes, name: str, authorities: Collection[str], mine: Mapping[str, Any] | None = None
) -> tuple[str, ...]:
    """Return the lists of a kubeconfig that have an entry called ``name`` which we did not make.

    A cluster is ours by its certificate authority; a user is the one of our cluster beside it, and
    a context is ours where it leads to both. What equals an entry of ``mine`` is ours as well.

    Raises:
        ValueError: it is no kubeconfig.
    """
    content = _load(text_of(old.removeprefix(_BOM))) or {}
    found = {key: [e for e in content.get(key) or () if e.get("name") == name] for key in LISTS}
    for key, entries in found.items():
        found[key] = [entry for entry in entries if entry not in ((mine or {}).get(key) or ())]
    known = {one for one in authorities if one}
    strangers = [
        one for one in found["clusters"] if _part(one, "cluster").get(_AUTHORITY) not in known
    ]
    if strangers or authority_of(old, name) is None:
        return tuple(key for key in LISTS if found[key])
    leads = {"cluster": name, "user": name}
    elsewhere = [
        one for one in found["contexts"] if not leads.items() <= _part(one, "context").items()
    ]
    return ("contexts",) if elsewhere else ()


def _part(entry: Mapping[str, Any], key: str) -> dict[str, Any]:
    part = entry.get(key)
    return part if isinstance(part, dict) else {}


def authority_of(old: bytes, name: str) -> str | None:
    """Return the certificate authority by which the cluster called ``name`` is known.

    Empty when its entry has none; None when there is no such entry. Raises as ``merged``.
    """
    clusters = (_load(text_of(old.removeprefix(_BOM))) or {}).get("clusters") or ()
    for entry in clusters:
        if entry.get("name") == name:
            return str(_part(entry, "cluster").get(_AUTHORITY, ""))
    return None


def _without(
    before: Mapping[str, Any], name: str, current: str, lists: Sequence[str]
) -> dict[str, Any]:
    after = dict(before)
    for key in lists:
        if before.get(key):
            after[key] = [entry for entry in before[key] if entry.get("name") != name]
    if before.get(_CURRENT) == name and "contexts" in lists:
        names = {entry.get("name") for entry in after.get("contexts") or ()}
        after[_CURRENT] = current if current in names else ""
    return after


def _out_of_list(edits: Edits, key: Node, value: Node, name: str) -> None:
    items = value.items or []
    kept = [item for item in items if _name(item) != name]
    if len(kept) == len(items):
        return
    if not value.flow:
        for item in items:
            if item not in kept:
                edits.remove_lines(item)
        if not kept:
            edits.insert(edits.text.index(":", key.end) + 1, " []")
    elif not kept:
        edits.remove(value.start + 1, value.end - 1)
    else:
        for item, after in itertools.pairwise(items):
            if item not in kept and item.start < kept[-1].start:
                edits.remove(item.start, after.start)
        if items[-1] not in kept:
            edits.remove(kept[-1].end, items[-1].end)


def _load(text: str) -> dict[str, Any] | None:
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(yaml_errors.one_line(error, text)) from error
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


def _put(edits: Edits, mine: Mapping[str, Any]) -> None:
    root = parse(edits.text)
    if root.pairs is None:
        raise NotUnderstoodError("its mapping is not where it begins")
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


def _into_list(edits: Edits, value: Node, entries: Sequence[Mapping[str, Any]]) -> None:
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


def _into_root(edits: Edits, root: Node, missing: Mapping[str, Any]) -> None:
    if not root.flow:
        for key, value in missing.items():
            edits.insert_lines(root.last, _block({key: value}, root.column))
    elif missing:
        inner = json.dumps(missing)[1:-1]
        pairs = root.pairs or []
        place = pairs[-1][1].end if pairs else root.end - 1
        edits.insert(place, f", {inner}" if pairs else inner)


def _name(item: Node) -> str | None:
    name = item.get("name")
    return name.value if name is not None else None


def _block(value: Mapping[str, Any], column: int) -> list[str]:
    lines = yaml.safe_dump(dict(value), sort_keys=False, width=1 << 20).splitlines()
    return [" " * column + line for line in lines]


def _scalar(text: str, *, quoted: bool) -> str:
    return text if _PLAIN.fullmatch(text) and not quoted else json.dumps(text)
