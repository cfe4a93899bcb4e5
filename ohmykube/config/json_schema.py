"""The published JSON schema of cluster files, for editors and other tools.

It knows the form (fields, types, units, defaults). What fields must be to each other is checked by
``load`` alone.
"""

from __future__ import annotations

from typing import Any

from ohmykube.config import fields, v1
from ohmykube.model.cluster import Sources as SourcesDefaults

DIALECT = "https://json-schema.org/draft/2020-12/schema"
IDENTITY = "https://ohmykube.dev/schemas/cluster-v1.json"


def schema() -> dict[str, Any]:
    """Return the schema as plain data."""
    found = v1.Document.model_json_schema(by_alias=True)
    nodes = found["$defs"]["Nodes"]["properties"]
    for key in ("controlPlane", "workers"):
        group = {"$ref": "#/$defs/Group"}
        many = {"type": "array", "items": group, "maxItems": fields.MOST_NODES}
        if key == "controlPlane":
            many["minItems"] = 1
        nodes[key] = {"anyOf": [group, many], "description": nodes[key]["description"]}
    defaults = found["$defs"]["Artifacts"]["properties"]["sources"], SourcesDefaults().order
    defaults[0]["default"] = list(defaults[1])
    for model in (found, *found["$defs"].values()):
        del model["title"]
        for key, field in model["properties"].items():
            model["properties"][key] = _tidy(field)
    return {"$schema": DIALECT, "$id": IDENTITY, "title": "ohmykube cluster", **found}


def _tidy(field: dict[str, Any]) -> dict[str, Any]:
    """Drop what says nothing; a mapping with nothing below its key is the same as none at all."""
    field.pop("title", None)
    if field.get("default", "") is None:
        del field["default"]
    if "$ref" in field:
        result = {"anyOf": [{"$ref": field["$ref"]}, {"type": "null"}]}
        return result | {k: v for k, v in field.items() if k == "description"}
    if field.get("type") == "object":
        field["type"] = ["object", "null"]
    return field
