"""Names that nodes on hosts may have, as Kubernetes has it, and names that they may not have."""

from __future__ import annotations

GOOD = (
    "cp1",
    "1",
    "w1.example.org",
    "ip-10-0-0-1.eu-central-1.compute.internal",
    "a.b.c.d.e",
    "0a.1",
    "n" * 63,
    f"{'n' * 31}.{'m' * 31}",
)
BAD = (
    "",
    "UPPER.example.org",
    "w1.",
    ".w1",
    "a..b",
    "-a.b",
    "a-.b",
    "a.-b",
    "a_b.c",
    "a b",
    "a/b",
    "..",
    "w1.example.org\n",
    "10.0.0.1",
    "1.2",
    "n" * 64,
    f"{'n' * 32}.{'m' * 31}",
    "bücher.example",
)
