"""``ohmykube conformance``: what is typed, and what its end says."""

from __future__ import annotations

import pytest

from ohmykube.errors import ExitCode
from ohmykube.kube.conformance import FOCUS
from ohmykube.workflows.conformance import MOST_NAMED, ConformanceOptions


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), ConformanceOptions(focus=FOCUS)),
        (("--focus", "dns"), ConformanceOptions(focus="dns")),
        (("--focus", ""), ConformanceOptions(focus="")),
        (
            ("--skip", "0", "--image", "r/i:1", "--results", "there"),
            ConformanceOptions(skip="0", image="r/i:1", results="there"),
        ),
    ],
)
def test_what_is_asked_for(
    cli, fakes, words: tuple[str, ...], expected: ConformanceOptions
) -> None:
    outcome = cli("conformance", *words)
    assert outcome.code == 0, outcome.err
    assert fakes.calls[-1] == ("conformance", "dev", expected)
    assert outcome.out.splitlines() == [
        '1 conformance spec passed and 0 failed in cluster "dev"',
        "results: /results",
    ]


@pytest.mark.parametrize("failed", [1, MOST_NAMED, MOST_NAMED + 3])
def test_specs_that_failed_are_named_and_make_the_exit_code(cli, failed: int) -> None:
    """As many as one can read; the document has all."""
    outcome = cli("conformance", "--skip", str(failed))
    assert outcome.code == ExitCode.CLUSTER
    assert "less /results/e2e.log" in outcome.err
    assert outcome.err.count("[sig-network]") == min(failed, MOST_NAMED)
    assert ("and 3 more" in outcome.err) is (failed > MOST_NAMED)
    document = cli("conformance", "--skip", str(failed), "-o", "json").document
    assert len(document["failed"]) == failed
