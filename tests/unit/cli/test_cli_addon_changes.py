"""``addon install``, ``upgrade``, ``remove``: the last description of a cluster, with a change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from ohmykube.cli.config import output_schema
from ohmykube.config import load
from ohmykube.config.document import to_document
from ohmykube.errors import ExitCode
from ohmykube.state.record import Record
from ohmykube.state.store import StateStore
from tests import foreign_addon

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.data.cli.fake_cli import FakeWorkflows

    from .conftest import Outcome

LOCAL: dict[str, Any] = {"name": "local-path", "values": {"path": "/srv/volumes"}}
METRICS = {"name": "metrics-server"}


@pytest.fixture
def has(home: Path) -> Callable[..., None]:
    """Return what makes the record of the cluster dev with add-ons."""

    def make(*addons: dict[str, Any]) -> None:
        spec = {"provider": {"name": "nspawn"}, "addons": list(addons)}
        cluster = load.from_document({"metadata": {"name": "dev"}, "spec": spec})
        StateStore(home / "state").create(
            Record(
                id="",
                name="dev",
                document=to_document(cluster),
                provider="nspawn",
                kubernetes_version=cluster.kubernetes_version,
            )
        )

    return make


def wanted(fakes: FakeWorkflows) -> list[tuple[str, str, dict[str, Any]]]:
    """Return the add-ons that the cluster was to have in the end."""
    ((_, cluster, _),) = [call for call in fakes.calls if call[0] == "up"]
    return [(one.name, one.version, dict(one.values)) for one in cluster.addons]


@pytest.mark.parametrize(
    ("before", "argv", "after"),
    [
        ([], ["install", "metrics-server"], [("metrics-server", "0.9.0", {})]),
        (
            [LOCAL],
            ["install", "metrics-server"],
            [("local-path", "0.0.30", LOCAL["values"]), ("metrics-server", "0.9.0", {})],
        ),
        ([LOCAL], ["install", "local-path"], [("local-path", "0.0.30", LOCAL["values"])]),
        (
            [],
            ["install", "metrics-server", "local-path"],
            [("metrics-server", "0.9.0", {}), ("local-path", "0.0.30", {})],
        ),
        ([LOCAL, METRICS], ["remove", "local-path"], [("metrics-server", "0.9.0", {})]),
        ([LOCAL, METRICS], ["remove", "metrics-server", "local-path"], []),
        ([METRICS], ["remove", "local-path"], [("metrics-server", "0.9.0", {})]),
        ([], ["remove", "metrics-server"], []),
        ([LOCAL], ["upgrade", "local-path"], [("local-path", "0.0.30", LOCAL["values"])]),
    ],
)
def test_what_a_cluster_has_then(cli, fakes, has, *, before, argv, after) -> None:
    has(*before)
    outcome = cli("addon", *argv, "-o", "json")
    assert (outcome.code, wanted(fakes)) == (0, after)
    told = outcome.document
    jsonschema.validate(told, output_schema.schema())
    assert (told["kind"], told["cluster"], told["changed"]) == ("AddonsChanged", "dev", True)
    assert [(one["name"], one["version"]) for one in told["addons"]] == [one[:2] for one in after]


def test_versions_and_values(
    cli: Callable[..., Outcome], fakes: FakeWorkflows, has: Callable[..., None],
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    foreign_addon.install(tmp_path / "site", monkeypatch)
    has({"name": "echo", "version": "1.0.0", "values": {"text": "old"}})
    cli("addon", "install", "echo")
    assert wanted(fakes) == [("echo", "1.0.0", {"text": "old"})]
    fakes.calls.clear()
    cli("addon", "upgrade", "echo")
    assert wanted(fakes) == [("echo", "1.1.0", {"text": "old"})]
    fakes.calls.clear()
    (tmp_path / "values.yaml").write_text("text: new\n")
    cli("addon", "install", "echo", "--values", str(tmp_path / "values.yaml"))
    assert wanted(fakes) == [("echo", "1.0.0", {"text": "new"})]
    fakes.calls.clear()
    cli("addon", "upgrade", "echo", "--version", "1.0.0")
    assert wanted(fakes) == [("echo", "1.0.0", {"text": "old"})]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["install", "metric-server"], 'got "metric-server"; did you mean "metrics-server"?'),
        (["install", "metrics-server", "--version", "9"], '--version: must be "0.9.0", got "9"'),
        (["install", "metrics-server", "--values", "V"], "values.resolution: is not right"),
        (["install", "metrics-server", "--namespace", "x"], "--namespace: has no effect"),
        (["upgrade", "metrics-server"], "metrics-server is not in this cluster"),
        (["remove", "flannel"], "flannel is the pod network of this cluster"),
        (["remove", "local-pat"], 'there is no add-on "local-pat"; did you mean "local-path"?'),
        (["remove", "--name", "other", "local-path"], 'no cluster "other"'),
        (["install", "a", "b", "--version", "1"], "are for one add-on"),
        (["upgrade", "a", "b", "--version", "1"], "is for one add-on"),
    ],
)
def test_what_cannot_be_is_told_first(cli, fakes, has, tmp_path, *, argv, said) -> None:
    has(LOCAL)
    (tmp_path / "values").write_text("resolution: 1\n")
    outcome = cli("addon", *[str(tmp_path / "values") if one == "V" else one for one in argv])
    assert outcome.code in (ExitCode.CONFIG, ExitCode.USAGE, ExitCode.NOT_FOUND)
    assert said in " ".join(outcome.err.split())
    assert "try: " in outcome.err
    assert fakes.calls == []


def test_a_plan_changes_nothing(
    cli: Callable[..., Outcome], fakes: FakeWorkflows, has: Callable[..., None]
) -> None:
    has(LOCAL)
    outcome = cli("addon", "remove", "local-path", "--plan", "-o", "json")
    assert (outcome.code, outcome.document["kind"]) == (0, "Plan")
    assert fakes.calls[0][2].plan_only


def test_data_go_after_a_question_only(
    cli: Callable[..., Outcome], fakes: FakeWorkflows, has: Callable[..., None]
) -> None:
    has(LOCAL)
    fakes.deletes = True
    asked = cli("addon", "remove", "local-path")
    assert asked.code == ExitCode.USAGE
    assert "try: ohmykube addon remove --name dev local-path --yes" in " ".join(asked.err.split())
    assert cli("addon", "remove", "local-path", "--yes").code == 0
    assert [call[2].may_delete for call in fakes.calls] == [frozenset(), None]


def test_people_are_told_what_there_is_now(
    cli: Callable[..., Outcome], fakes: FakeWorkflows, has: Callable[..., None]
) -> None:
    has(LOCAL)
    fakes.changed = False
    told = cli("addon", "install", "local-path").out
    assert told == 'Add-ons of cluster "dev": local-path 0.0.30 (nothing changed, 41s)\n'
    fakes.changed = True
    assert cli("addon", "remove", "local-path").out == 'Add-ons of cluster "dev": none (41s)\n'
