"""``ohmykube template``: what is asked for, what is shown, what is asked before it goes."""

from __future__ import annotations

from tests.data.cli.fake_templates import NEW, OLD


def test_list_shows_a_row_for_each(cli, fakes) -> None:
    outcome = cli("template", "list", "--provider", "nspawn")
    rows = outcome.out.splitlines()
    assert rows[0].split() == ["KEY", "ROLE", "WHAT", "SIZE", "LAST", "USED"]
    assert rows[1].split()[:4] == [NEW.key, "control-plane", "kubernetes", "1.36.3"]
    assert "900.0 MiB" in rows[1]
    assert "2023-11-14T22:15:00+00:00" in rows[1]
    assert len(rows) == 3
    assert fakes.template.providers == ["nspawn"]
    fakes.template.there.clear()
    assert cli("template", "list").out == "No templates.\n"
    assert cli("template", "list", "-o", "json").document["items"] == []


def test_list_as_document(cli) -> None:
    document = cli("template", "list", "-o", "json").document
    assert document["kind"] == "TemplateList"
    assert document["items"][1] == {
        "key": OLD.key,
        "role": "control-plane",
        "summary": "kubernetes 1.36.2",
        "createdAt": "2020-09-13T12:26:40+00:00",
        "lastUsedAt": "2020-09-13T12:26:40+00:00",
        "size": 104857600,
    }


def test_build_takes_a_file_or_what_up_makes(cli, fakes, tmp_path) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(
        "apiVersion: ohmykube.dev/v1\nkind: Cluster\nmetadata: {name: x}\n"
        "spec: {nodes: {workers: {count: 0}}}\n"
    )
    assert "1 built in 12s" in cli("template", "build").out
    document = cli("template", "build", "-f", str(path), "-o", "json").document
    assert (document["kind"], document["made"], document["seconds"]) == ("TemplatesBuilt", [], 12.3)
    assert "all were there" in cli("template", "build").out
    default, described, _ = fakes.template.clusters
    assert [len(default.workers), len(described.workers)] == [2, 0]


def test_prune_asks_first(cli, fakes) -> None:
    refused = cli("template", "prune")
    assert refused.code == 2
    assert "ohmykube template prune --yes" in refused.err
    assert fakes.template.there == [NEW, OLD]
    shown = cli("template", "prune", "--dry-run", "--max-size", "1GiB")
    assert shown.out.startswith(f"Would remove {OLD.key}: ")
    assert fakes.template.pruned[-1] == {"keep": 1, "max_bytes": 1 << 30, "dry_run": True}
    assert fakes.template.there == [NEW, OLD]
    done = cli("template", "prune", "--keep", "1", "--yes", "-o", "json").document
    assert (done["kind"], done["dryRun"], done["freed"]) == ("TemplatesRemoved", False, OLD.size)
    assert fakes.template.there == [NEW]
    assert cli("template", "prune", "--yes").out == "Nothing to remove.\n"


def test_rm_asks_first_and_takes_the_beginning_of_a_key(cli, fakes) -> None:
    refused = cli("template", "rm", "9c98")
    assert refused.code == 2
    assert "ohmykube template rm 9c98 --yes" in refused.err
    assert cli("template", "rm", "9c98", "--dry-run").out.startswith(f"Would remove {OLD.key}")
    assert fakes.template.there == [NEW, OLD]
    assert cli("template", "rm", "9c98", "--yes").out.startswith(f"Removed {OLD.key}: ")
    assert fakes.template.there == [NEW]
    assert cli("template", "rm", "ffff", "--yes").code == 6


def test_the_group_alone_explains_itself(cli) -> None:
    outcome = cli("template")
    assert outcome.code == 0
    assert "prune" in outcome.out
