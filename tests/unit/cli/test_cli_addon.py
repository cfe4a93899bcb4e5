"""``ohmykube addon``: ours, and what other packages bring."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests import foreign_addon

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_list_shows_what_is_installed(cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = cli("addon", "list").out
    assert "flannel          0.26.7    pod network by vxlan or host routes" in told
    assert "local-path       0.0.30    volumes in a directory" in told
    assert "metrics-server   0.9.0     use of nodes and pods" in told
    foreign_addon.install(tmp_path / "site", monkeypatch)
    document = cli("addon", "list", "-o", "json").document
    found = {item["name"]: item for item in document["items"]}
    assert found["echo"]["versions"] == ["1.1.0", "1.0.0"]
    assert found["flannel"]["provides"] == ["cni"]


def test_one_that_cannot_be_loaded_hides_no_other(
    cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = "[ohmykube.addons]\nnothing = echo_addon:NoAddon\ngone = echo_addon:Gone\n"
    foreign_addon.install(tmp_path / "site", monkeypatch, points=points)
    outcome = cli("addon", "list")
    assert outcome.code == 0
    assert "flannel" in outcome.out
    assert 'plugin "nothing" is not an Addon' in outcome.err
    assert 'plugin "gone" of echo-addon 1.0 cannot be loaded' in outcome.err
    assert cli("addon", "info", "nothing").code == 7


def test_info_shows_what_it_needs_fetches_and_takes(
    cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign_addon.install(tmp_path / "site", monkeypatch)
    shown = cli("addon", "info", "echo", "--version", "1.0.0").out
    for line in (
        "version     1.0.0",
        "versions    1.1.0, 1.0.0",
        "Kubernetes  1.36 or newer",
        "memory      2048 MiB on each node",
        "values      text",
        "data        what was echoed",
        "image       registry.example.com/tools/echo:v1.0.0",
        "chart       echo.tgz",
    ):
        assert f"{line}\n" in shown
    document = cli("addon", "info", "echo", "-o", "json").document
    assert document["version"] == "1.1.0"
    assert document["values"]["properties"]["text"]["default"] == "hello"
    assert [one["kind"] for one in document["artifacts"]] == ["image", "chart", "file"]


def test_what_is_not_there_is_named(cli) -> None:
    outcome = cli("addon", "info", "flanel")
    assert outcome.code == 6
    assert "flannel" in outcome.err
    outcome = cli("addon", "info", "flannel", "--version", "9")
    assert (outcome.code, "versions: 0.26.7" in outcome.err) == (6, True)
    assert "ohmykube addon info flannel" in outcome.err
