# Copyright: the ohmykube authors
# SPDX-License-Identifier: Apache-2.0
"""The block of ours in a node's ``/etc/hosts``, whose other lines are somebody else's."""

from __future__ import annotations

import re

BEGIN = "# BEGIN ohmykube"
END = "# END ohmykube"
OPEN_LINE = BEGIN + ", after a line without an end"


def lines_of(text):
    """Return the lines of a text with their ends; only a line feed ends one."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def without_block(text):
    """Return ``text`` without our block; a block whose end was cut off reaches to the end of the file."""
    kept, inside = [], False
    for line in lines_of(text):
        if line.strip() in (BEGIN, OPEN_LINE):
            inside = True
            if line.strip() == OPEN_LINE and kept:
                kept[-1] = kept[-1][: -len("\n")]
        if not inside:
            kept.append(line)
        if line.strip() == END:
            inside = False
    return "".join(kept)
