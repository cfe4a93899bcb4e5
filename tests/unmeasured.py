"""The environment of programs in which nothing runs that is to be measured."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def environment(whole: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return an environment without what makes each Python measure itself, which takes its time."""
    return {name: value for name, value in whole.items() if not name.startswith("COV")}
