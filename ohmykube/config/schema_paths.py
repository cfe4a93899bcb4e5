"""The single fields of ``cluster.yaml`` by their paths, with what a change of each means."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, get_args

from ohmykube.config.mutability import Mutability

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic import BaseModel

FieldPath = tuple[str, ...]
"""Keys from the top, such as ``("spec", "nodes", "workers", "count")``; lists have no numbers."""


@functools.cache
def fields() -> Mapping[FieldPath, Mutability | None]:
    """Return every field that holds a value and no section; None for one that says nothing."""
    from ohmykube.config import v1  # noqa: PLC0415 - pydantic only when something is compared

    return dict(_below(v1.Document, ()))


def _below(
    model: type[BaseModel], path: FieldPath
) -> Iterator[tuple[FieldPath, Mutability | None]]:
    for name, field in model.model_fields.items():
        here = (*path, field.alias or name)
        section = _section(field.annotation)
        if section is not None:
            yield from _below(section, here)
        else:
            said = [one for one in field.metadata if isinstance(one, Mutability)]
            yield here, said[0] if said else None


def _section(annotation: Any) -> type[BaseModel] | None:
    """Return the model that a field holds, one or a list of them."""
    from pydantic import BaseModel  # noqa: PLC0415 - as above

    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _section(part))), None)
