"""Words for a shell: what somebody named, as it is typed."""

from __future__ import annotations

import shlex


def word(value: object) -> str:
    """Return a path or any other text as one word; what needs no quotes stays as it is."""
    return shlex.quote(str(value))
