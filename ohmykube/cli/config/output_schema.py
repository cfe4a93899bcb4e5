"""The JSON schema of ``-o json``, made from the shapes of the results.

A shape is a ``TypedDict`` beside its command. Fields may be added; none is taken away or given
another meaning within one ``apiVersion``.
"""

from __future__ import annotations

import inspect
import types
import typing
from typing import Any, Literal

from ohmykube.cli import _failure, doctor, version
from ohmykube.cli._output import API_VERSION
from ohmykube.cli.addon import results as addon_results
from ohmykube.cli.bundle import results as bundle_results
from ohmykube.cli.cache import results as cache_results
from ohmykube.cli.cache import serve_results
from ohmykube.cli.cluster import conformance_results, plan_results
from ohmykube.cli.cluster import results as cluster_results
from ohmykube.cli.config import validate
from ohmykube.cli.expose import results as expose_results
from ohmykube.cli.image import results as image_results
from ohmykube.cli.template import results as template_results

_SIMPLE: dict[object, dict[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    types.NoneType: {"type": "null"},
    Any: {},
}

KINDS: dict[str, type] = {
    **plan_results.KINDS,
    **cluster_results.KINDS,
    **conformance_results.KINDS,
    **doctor.KINDS,
    **version.KINDS,
    **validate.KINDS,
    **_failure.KINDS,
    **bundle_results.KINDS,
    **cache_results.KINDS,
    **serve_results.KINDS,
    **expose_results.KINDS,
    **image_results.KINDS,
    **template_results.KINDS,
    **addon_results.KINDS,
}
"""Document kinds by name."""


def schema() -> dict[str, Any]:
    """Return a schema that each result document fits, exactly one branch for each kind."""
    definitions: dict[str, Any] = {}
    for kind, shape in KINDS.items():
        made = _mapping(shape, definitions)
        head = {"apiVersion": {"const": API_VERSION}, "kind": {"const": kind}}
        made["properties"] = {**head, **made["properties"]}
        made["required"] = ["apiVersion", "kind", *made["required"]]
        definitions[kind] = made
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://ohmykube.dev/schema/output-v1.json",
        "title": "What ohmykube prints with -o json",
        "oneOf": [{"$ref": f"#/$defs/{kind}"} for kind in KINDS],
        "$defs": definitions,
    }


def _mapping(shape: type, definitions: dict[str, Any]) -> dict[str, Any]:
    fields = typing.get_type_hints(shape)
    return {
        "type": "object",
        "description": inspect.getdoc(shape) or "",
        "properties": {name: _of(hint, definitions) for name, hint in fields.items()},
        "required": list(fields),
    }


def _of(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    if hint in _SIMPLE:
        return dict(_SIMPLE[hint])
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin is list:
        return {"type": "array", "items": _of(arguments[0], definitions)}
    if origin is dict:
        return {"type": "object", "additionalProperties": _of(arguments[1], definitions)}
    if origin is types.UnionType:
        return {"anyOf": [_of(one, definitions) for one in arguments]}
    name = f"{hint.__name__}Fields"
    if name not in definitions:
        definitions[name] = {}
        definitions[name] = _mapping(hint, definitions)
    return {"$ref": f"#/$defs/{name}"}
