"""What conformance tests said, as a document and as text for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

from ohmykube.cli._output import document
from ohmykube.kit import amounts

if TYPE_CHECKING:
    from ohmykube.workflows.conformance import ConformanceResult


class ConformanceRun(TypedDict):
    """``ohmykube conformance``."""

    cluster: str
    image: str
    passed: int
    failed: list[str]
    results: str


KINDS: dict[str, type] = {"ConformanceRun": ConformanceRun}
"""Document kinds by name."""


def document_of(result: ConformanceResult) -> dict[str, Any]:
    """Return the result as a document."""
    return document(
        "ConformanceRun",
        {
            "cluster": result.cluster,
            "image": result.image,
            "passed": result.passed,
            "failed": list(result.failed),
            "results": str(result.results),
        },
    )


def text(result: ConformanceResult) -> str:
    """Return it for people."""
    passed = amounts.count(result.passed, "conformance spec")
    return (
        f'{passed} passed and {len(result.failed)} failed in cluster "{result.cluster}"\n'
        f"results: {result.results}\n"
    )
