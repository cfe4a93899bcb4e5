"""From a document to the v1 form; pydantic's errors become messages of our own."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, ValidationError

from ohmykube.config import fields, v1
from ohmykube.config.problems import Path, Problem, closest, echo
from ohmykube.config.yaml_source import Source

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_GROUPS: tuple[Path, ...] = (("spec", "nodes", "controlPlane"), ("spec", "nodes", "workers"))


def validate(
    source: Source, *, desired: bool = True
) -> tuple[v1.Document | None, list[Problem], set[Path]]:
    """Return the document in v1 form, the problems, and the paths that were left out.

    With ``desired`` its pod network must be installed here.

    A wrong value is taken out and the rest looked at again, so that later checks can find the other
    problems in the same run; None when that is not possible.
    """
    data, single = _with_lists(source.data)
    problems: list[Problem] = []
    removed: set[Path] = set()
    while True:  # each time with less of it
        try:
            found = v1.Document.model_validate(data, context={fields.DESIRED: desired})
            return found, problems, removed
        except ValidationError as error:
            details = error.errors(include_url=False)
        for detail in details:
            path = _shown(_path(detail["loc"]), single)
            # What was taken out is missing now, and its problem is told already.
            if detail["type"] != "missing" or path not in removed:
                problems += _problems(detail, path, source)
        left = [_take_out(data, detail, removed, single) for detail in details]
        if not all(left):
            return None, problems, removed


def hosts(entries: list[dict[str, Any]]) -> tuple[list[v1.Host], list[str]]:
    """Return the hosts of an inventory in v1 form, and what is wrong with them, one line each."""
    good, wrong = [], []
    nowhere = Source(label="", data={})
    for entry in entries:
        try:
            good.append(v1.Host.model_validate(entry))
        except ValidationError as error:
            for detail in error.errors(include_url=False):
                field = "".join(str(part) for part in detail["loc"])
                place = f"host {echo(entry.get('name') or entry['address'])}, {field}"
                wrong.append(f"{place} {_text(detail, (), nowhere)}")
    return good, wrong


def _with_lists(data: dict[str, Any]) -> tuple[dict[str, Any], set[Path]]:
    """Return a copy in which both kinds of nodes are lists, and which of them were one group."""
    result = copy.deepcopy(data)
    single: set[Path] = set()
    spec = result.get("spec")
    nodes = spec.get("nodes") if isinstance(spec, dict) else None
    for path in _GROUPS:
        key = str(path[-1])
        if isinstance(nodes, dict) and key in nodes and not isinstance(nodes[key], list):
            single.add(path)
            nodes[key] = [{} if nodes[key] is None else nodes[key]]
    return result, single


def _path(location: tuple[int | str, ...]) -> Path:
    return tuple(part for part in location if part != "[key]")


def _shown(path: Path, single: set[Path]) -> Path:
    """Return the path as the user wrote it: no index where there is no list."""
    return path[:3] + path[4:] if path[:3] in single and len(path) > 3 else path


def _problems(detail: ErrorDetails, path: Path, source: Source) -> list[Problem]:
    kind = detail["type"]
    if kind == "extra_forbidden":
        return [source.problem(path, f"is not a known field{closest(str(path[-1]), _known(path))}")]
    if kind == "missing":
        return [source.problem(path, "must be given")]
    return [source.problem(path, _text(detail, path, source))]


_EXPECTED = {
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "finite_number": "a number",
    "float_type": "a number",
    "greater_than_equal": "at least {ge:g}",
    "int_type": "a whole number",
    "less_than_equal": "at most {le:g}",
    "list_type": "a list",
    "model_type": "a mapping",
    "string_too_long": "at most {max_length} characters",
    "string_too_short": "a text that is not empty",
    "string_type": "text",
    "too_long": "a list of at most {max_length} entries",
    "too_short": "a list that is not empty",
}
"""What a value must be, for each type of error."""


def _text(detail: ErrorDetails, path: Path, source: Source) -> str:
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    written = source.written.get(path)
    if kind == "string_type" and written and isinstance(value, int | float):
        return f'must be text, got {echo(value)}; quote it: "{written[:40]}"'
    expected = _EXPECTED[kind].format(**context) if kind in _EXPECTED else detail["msg"]
    return f"must be {expected}, got {echo(value)}"


def _known(path: Path) -> list[str]:
    """Return the field names allowed beside the last part of ``path``."""
    model: type[BaseModel] = v1.Document
    for part in path[:-1]:
        for name, field in model.model_fields.items():
            if part == (field.alias or name):
                model = _model_in(field.annotation) or model
                break
    return [field.alias or name for name, field in model.model_fields.items()]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in get_args(annotation):
        found = _model_in(argument)
        if found:
            return found
    return None


def _take_out(
    data: dict[str, Any], detail: ErrorDetails, removed: set[Path], single: set[Path]
) -> bool:
    """Remove the wrong value; tell whether the rest can still be judged.

    A value that lacks something goes with what it is part of, and so does an entry of a list, as
    those behind it would change places.
    """
    path = _path(detail["loc"])
    if detail["type"] == "missing":
        path = path[:-1]
    while path and not isinstance(path[-1], str):
        path = path[:-1]
    if not path:
        return False
    parent: Any = data
    for part in path[:-1]:
        try:
            parent = parent[part]
        except (KeyError, IndexError, TypeError):
            return True  # taken out with something around it
    if not isinstance(parent, dict):
        return False
    parent.pop(path[-1], None)
    removed.add(_shown(path, single))
    return True
