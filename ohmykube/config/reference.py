"""The page ``docs/configuration.md``, made from the published schema.

Run ``python -m ohmykube.config.reference > docs/configuration.md`` after a change; a test compares.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from ohmykube.config import json_schema, patches, starter_file
from ohmykube.config.mutability import KEYWORD, Mutability

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEAD = """\
# Configuration

A cluster is described by one YAML file, `cluster.yaml`; `ohmykube up -f cluster.yaml` makes it so.
Nothing in it is needed but the first two lines: everything has a default. Flags of `up` change
single values and are checked with the file. This page is made from the schema that
`ohmykube config schema` prints.

```yaml
{template}```

## Rules

* Unknown keys are errors. All problems of a file come in one run, each with its place.
* YAML 1.2: `no`, `on`, `010` and `22:22` are text. Quote versions: `1.30` without quotes is the
  number 1.3. Tags are refused; aliases are limited to 100, nesting to 50, the file to 1 MB.
* Text is data. Nothing in it is ever evaluated, `{{{{ ... }}}}` included.
* Sizes have a unit: MiB, GiB, TiB (also Mi or M, and so on) count in 1024, MB, GB, TB in 1000.
  Memory is rounded down to whole MiB, disks up to whole GiB.
* Names of clusters and nodes are DNS labels of at most 40 characters; on a host that exists a node
  may have a DNS name of up to 63.
* Files of the older format `ohmykube.dev/v1alpha1` are read too; what has no meaning any more is
  listed as a warning.

## Changing a cluster

`ohmykube plan -f cluster.yaml` compares the file with the cluster and shows what `up` would do.
The column "change" of each table says what a new value means for a cluster that exists:

{mutability}
All refusals come at once, before anything is touched; [Changing a cluster](plan.md) says more.
"""

_OWNED = """\

## Fields of kubeadm that are set elsewhere

| section of `spec.kubeadm` | field | instead |
|---|---|---|
"""


def page() -> str:
    """Return the text of the page."""
    schema = json_schema.schema()
    head = _HEAD.format(template=starter_file.text(), mutability=_legend())
    lines = [head, "\n## Fields\n"]
    for path, model in _sections(schema):
        lines.append(f"\n### `{path}`\n\n{model.get('description', '')}\n\n")
        lines.append("| field | type | default | change | meaning |\n|---|---|---|---|---|\n")
        for name, field in model["properties"].items():
            lines.append(_row(name, field, name in model.get("required", ())))
    lines.append(_OWNED)
    for section, owned in patches.OWNED.items():
        lines += [f"| `{section}` | `{field}` | {why} |\n" for field, why in owned.items()]
    return "".join(lines)


def _legend() -> str:
    return "".join(f"* **{one.value}**: {_MEANING[one]}.\n" for one in Mutability)


_MEANING = {
    Mutability.LIVE: "brought about on the running cluster",
    Mutability.NODE_BY_NODE: "brought about on each node, where the provider can do that; "
    "refused elsewhere",
    Mutability.AT_CREATION: "refused, because only a new cluster or a new node gets it",
    Mutability.NODES: "says which nodes there are; missing ones are created, those too many are "
    "deleted, after a question",
    Mutability.IDENTITY: "says which cluster this is; another value describes another one",
    Mutability.SETTING: "nothing of the cluster changes; this run and later ones use the value",
}


def _sections(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give each mapping once, in the order of the file, with its path."""
    yield "(top level)", schema
    waiting = [("", schema)]
    done = set()
    while waiting:
        path, model = waiting.pop(0)
        found = []
        for name, field in model["properties"].items():
            target = _reference(field)
            if target and target not in done:
                done.add(target)
                below = schema["$defs"][target]
                where = f"{path}.{name}".lstrip(".")
                where = where.replace("controlPlane", "controlPlane` and `spec.nodes.workers")
                yield where, below
                found.append((where.partition("`")[0], below))
        waiting = found + waiting


def _reference(field: dict[str, Any]) -> str:
    """Return the name of the model that a field holds, one or several, or an empty string."""
    if "$ref" in field:
        return str(field["$ref"]).rpartition("/")[2]
    inner = field.get("anyOf", [])
    inner = [*inner, field["items"]] if isinstance(field.get("items"), dict) else inner
    return next((name for part in inner if (name := _reference(part))), "")


def _row(name: str, field: dict[str, Any], required: bool) -> str:  # noqa: FBT001 - one caller
    default = field.get("default")
    shown = "required" if required else "" if default is None else f"`{json.dumps(default)}`"
    text = field.get("description", "").replace("|", "\\|")
    change = field.get(KEYWORD, "")
    return f"| `{name}` | {_type(field)} | {shown} | {change} | {text} |\n"


def _type(field: dict[str, Any]) -> str:
    kind = field.get("type")
    if "const" in field:
        text = f"`{field['const']}`"
    elif "enum" in field:
        text = ", ".join(f"`{word}`" for word in field["enum"])
    elif "anyOf" in field:
        text = " or ".join(_type(part) for part in field["anyOf"] if part.get("type") != "null")
    elif kind == "array":
        text = f"list of {_type(field['items'])}"
    else:
        limits = [str(field[key]) for key in ("minimum", "maximum") if key in field]
        text = f"{_WORDS.get(str(kind), 'mapping')} {' to '.join(limits)}".rstrip()
    return text


_WORDS = {"string": "text", "integer": "whole number", "number": "number", "boolean": "boolean"}


if __name__ == "__main__":  # pragma: no cover
    sys.stdout.write(page())
