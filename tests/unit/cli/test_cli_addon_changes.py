"""``addon install``, ``upgrade``, ``remove``: the last description of a cluster, with a change."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from ohmykube.cli.config import output_schema
from ohmykube.config import addon_changes, load, yaml_source
from ohmykube.config.document import to_document
from ohmykube.config.overrides import AddonChange
from ohmykube.config.yaml_source import Source
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
        (["install", "a", "b", "--set", "x=1"], "are for one add-on"),
        (["install", "local-path", "--set", "path"], '--set "path" is not KEY=VALUE'),
        (["install", "local-path", "--set", "=1"], '--set "=1" is not KEY=VALUE'),
        (["install", "local-path", "--set", "a..b=1"], '--set "a..b=1" is not KEY=VALUE'),
        (["install", "local-path", "--set", "path=[1"], "--set path:1:"),
        (["install", "local-path", "--set", "path={a: 1, a: 2}"], "a, line 1: is given twice"),
        (["install", "local-path", "--set", "path=/"], "--set path: is not right"),
        (["install", "local-path", "--set", "path=7"], "--set path: is not right"),
        (["install", "local-path", "--set", "path.at=/srv/x"], "values.path: is not right"),
        (
            ["install", "local-path", "--set", "pat=/srv/x"],
            '--set pat: is none of its values: path, defaultClass; did you mean "path"?',
        ),
        (["install", "local-path", "--values", "TWICE"], "path, line 2: is given twice"),
        (["values", "metrics-server"], 'metrics-server is not in cluster "dev"'),
        (["values", "local-pat"], '"local-pat"'),
        (["values", "--name", "other", "local-path"], 'no cluster "other"'),
        (["upgrade", "a", "b", "--version", "1"], "is for one add-on"),
    ],
)
def test_what_cannot_be_is_told_first(cli, fakes, has, tmp_path, *, argv, said) -> None:
    has(LOCAL)
    (tmp_path / "values").write_text("resolution: 1\n")
    (tmp_path / "twice").write_text("path: /srv/a\npath: /srv/b\n")
    files = {"V": str(tmp_path / "values"), "TWICE": str(tmp_path / "twice")}
    outcome = cli("addon", *[files.get(one, one) for one in argv])
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


@pytest.mark.parametrize(
    ("before", "settings", "after"),
    [
        ({}, ["path=/srv/x"], {"path": "/srv/x"}),
        (LOCAL["values"], ["defaultClass=false"], LOCAL["values"] | {"defaultClass": False}),
        (LOCAL["values"], ["path=/srv/x", "path=/srv/y"], {"path": "/srv/y"}),
        ({}, ["path='/srv/x'"], {"path": "/srv/x"}),
        ({}, ["defaultClass=true", "path=/srv/a.b"], {"defaultClass": True, "path": "/srv/a.b"}),
    ],
)
def test_single_values_are_put_among_the_others(
    cli, fakes, has, *, before, settings, after
) -> None:
    has({"name": "local-path", "values": before})
    words = [word for one in settings for word in ("--set", one)]
    assert cli("addon", "install", "local-path", *words).code == 0
    assert wanted(fakes) == [("local-path", "0.0.30", after)]


def test_single_values_go_on_top_of_a_file(
    cli: Callable[..., Outcome], fakes: FakeWorkflows, has: Callable[..., None], tmp_path: Path
) -> None:
    has(LOCAL)
    (tmp_path / "values.yaml").write_text("path: /srv/file\ndefaultClass: false\n")
    file = str(tmp_path / "values.yaml")
    cli("addon", "install", "local-path", "--values", file, "--set", "path=/srv/x")
    assert wanted(fakes) == [("local-path", "0.0.30", {"path": "/srv/x", "defaultClass": False})]


@pytest.mark.parametrize(
    ("values", "settings", "after"),
    [
        ({}, {("a", "b"): 1}, {"a": {"b": 1}}),
        ({"a": {"c": 2}}, {("a", "b"): 1}, {"a": {"b": 1, "c": 2}}),
        ({"a": 5}, {("a", "b"): 1}, {"a": {"b": 1}}),
        ({"a": {"b": 1}}, {("a",): None}, {"a": None}),
        ({"a": [1]}, {("a", "b", "c"): [2], ("d",): {}}, {"a": {"b": {"c": [2]}}, "d": {}}),
    ],
)
def test_keys_lead_to_where_a_value_is_put(values, settings, after) -> None:
    entry = {"name": "local-path", "values": values}
    before = copy.deepcopy(entry)
    source = Source(label="x", data={"spec": {"addons": [entry]}})
    addon_changes.apply(source, [AddonChange(name="local-path", settings=settings)])
    assert source.data["spec"]["addons"] == [{"name": "local-path", "values": after}]
    assert entry == before
    assert source.problems == []


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", ""), ("1", 1), ("1.5", 1.5), ("010", "010"), ("no", "no"), ("true", True),
        ("null", None), ("'5'", "5"), ("[a, 2]", ["a", 2]), ("{a: 1}", {"a": 1}), ("a=b", "a=b"),
        ("http://x:1/", "http://x:1/"), ("#fff", "#fff"), ("a b", "a b"),
    ],
)  # fmt: skip
def test_a_single_value_is_read_as_in_a_file(text: str, value: Any) -> None:
    found = yaml_source.parse_value(text, "--set a")
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("flags", "values"),
    [
        ([], LOCAL["values"]),
        (["--all"], {"path": "/srv/volumes", "defaultClass": True}),
    ],
)
def test_values_are_told_as_they_are_read(cli, fakes, has, tmp_path, *, flags, values) -> None:
    has(LOCAL)
    told = cli("addon", "values", "local-path", *flags, "-o", "json").document
    jsonschema.validate(told, output_schema.schema())
    assert (told["kind"], told["cluster"]) == ("AddonValues", "dev")
    assert (told["name"], told["version"], told["values"]) == ("local-path", "0.0.30", values)
    (tmp_path / "values.yaml").write_text(cli("addon", "values", "local-path", *flags).out)
    cli("addon", "install", "local-path", "--values", str(tmp_path / "values.yaml"))
    assert wanted(fakes) == [("local-path", "0.0.30", values)]


def test_values_of_what_has_none_set_and_of_the_pod_network(
    cli: Callable[..., Outcome], has: Callable[..., None], tmp_path: Path, fakes: FakeWorkflows
) -> None:
    has(METRICS)
    told = cli("addon", "values", "metrics-server").out
    assert told == "{}\n"
    (tmp_path / "values.yaml").write_text(told)
    assert (
        cli("addon", "install", "metrics-server", "--values", str(tmp_path / "values.yaml")).code
        == 0
    )
    assert cli("addon", "values", "flannel").code == 0
    assert len(fakes.calls) == 1
