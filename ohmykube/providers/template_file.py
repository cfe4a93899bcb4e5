"""What a provider keeps of a template beside its files: one JSON file.

The file's time tells when the template was last cloned.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from ohmykube.kit import files
from ohmykube.providers.base import Template

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ohmykube.providers.base import NewTemplate


@dataclass(frozen=True, slots=True, kw_only=True)
class _Content:
    key: str
    role: str
    summary: str
    created_at: float
    schema: int


def read(
    path: Path, schema: int, *, is_place: Callable[[str], bool], size: Callable[[], int]
) -> Template | None:
    """Return the template that a file tells of; None when it tells of none.

    Args:
        path: the file.
        schema: form of templates that can be cloned today.
        is_place: tells whether the template of a key is kept where the file is.
        size: measures what removing the template gives back.
    """
    try:
        content = _Content(**json.loads(path.read_text()))
        used = path.stat().st_mtime
    except (OSError, ValueError, TypeError):
        return None
    if content.schema != schema or not is_place(content.key):
        return None
    return Template(
        key=content.key,
        role=content.role,
        summary=content.summary,
        created_at=content.created_at,
        # A file's time can lie before: its clock lags by a tick, and both can be set back.
        last_used_at=max(used, content.created_at),
        size=size(),
    )


def write(path: Path, schema: int, new: NewTemplate) -> None:
    """Note what a template is, made now."""
    content = _Content(
        key=new.key, role=new.role, summary=new.summary, created_at=time.time(), schema=schema
    )
    files.write(path, json.dumps(asdict(content), indent=1) + "\n")


def used(path: Path) -> None:
    """Note that a template is cloned now.

    Raises:
        OSError: the file cannot be changed.
    """
    os.utime(path)
