"""``conformance`` from its options to the files that it leaves."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from ohmykube.config import load
from ohmykube.config.overrides import Overrides
from ohmykube.errors import NotFoundError
from ohmykube.kit import paths, remote_command
from ohmykube.kube.conformance import RESULTS
from ohmykube.steps.context import Services
from ohmykube.testing.reporter import RecordingReporter
from ohmykube.workflows import session
from ohmykube.workflows.conformance import ConformanceOptions, conformance
from tests.unit.kube.test_kube_conformance import OUTPUT, PROXIES, RESOLVES
from tests.unit.workflows.begun_run import begin, end

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("world")
# Answers for kubectl, and runs all else here.
SSH = """#!/bin/sh
shift 4
command=$(printf %s "$*" | sed "s#{results}#{here}/on-node#g")
case $command in
*" get pod "*) answer={here}/pod ;;
*" logs "*) answer={here}/logs ;;
*" apply "*) cat >{here}/applied; answer=/dev/null ;;
*kubectl*) answer=/dev/null ;;
*) exec sh -c "$command" ;;
esac
echo '{begin}'
cat "$answer"
"""


@pytest.fixture
def cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[list[str]], tuple[Services, Path]]:
    """Return what makes a cluster whose tests have said these lines; gives its world as files."""

    def make(output: list[str]) -> tuple[Services, Path]:
        made = Services(paths=paths.from_environment(), reporter=RecordingReporter())
        wanted = load.from_overrides(Overrides(name="dev", provider="fake", workers=1))
        with session.working(made, wanted) as ctx:
            begin(ctx)
        with session.working(made, wanted) as ctx:
            end(ctx)
        here = tmp_path / "here"
        (here / "on-node").mkdir(parents=True)
        (here / "on-node" / "junit_01.xml").write_text("<testsuites/>")
        (here / "pod").write_text(
            json.dumps({"spec": {"nodeName": "w1"}, "status": {"phase": "Failed"}})
        )
        (here / "logs").write_text("".join(f"{n:04} {line}\n" for n, line in enumerate(output)))
        ssh = SSH.format(here=here, results=RESULTS, begin=remote_command.BEGIN)
        (tmp_path / "bin" / "ssh").write_text(ssh)
        monkeypatch.chdir(tmp_path)
        return made, here

    return make


@pytest.mark.parametrize("there", ["", "results"])
def test_results_are_kept_here_and_on_no_node(
    cluster: Callable[[list[str]], tuple[Services, Path]], tmp_path: Path, there: str
) -> None:
    services, here = cluster(OUTPUT)
    result = conformance(services, "dev", ConformanceOptions(results=there, focus="dns"))
    record, _ = session.recorded(services, "dev")
    assert result.results == tmp_path / (there or "conformance-dev")
    assert (result.results / "junit_01.xml").read_text() == "<testsuites/>"
    assert (result.passed, result.failed) == (1, (RESOLVES, PROXIES))
    assert result.image == f"registry.k8s.io/conformance:v{record.kubernetes_version}"
    assert '"dns"' in (here / "applied").read_text()
    assert not (here / "on-node").exists()


def test_failures_that_have_no_title_count_too(
    cluster: Callable[[list[str]], tuple[Services, Path]],
) -> None:
    """As that of what comes before all specs."""
    services, _ = cluster(["Will run 3 of 9 specs", "FAIL! -- 0 Passed | 3 Failed | 0 Pending"])
    result = conformance(services, "dev", ConformanceOptions(image="mine:1"))
    assert (result.passed, result.failed, result.image) == (0, ("3 specs",), "mine:1")


def test_a_cluster_whose_nodes_were_never_reached_has_none(
    cluster: Callable[[list[str]], tuple[Services, Path]],
) -> None:
    services, _ = cluster([])
    (services.state.directory("dev") / "ssh_config").unlink()
    with pytest.raises(NotFoundError, match="never reached"):
        conformance(services, "dev", ConformanceOptions())
