"""The main module of a build: which lines of a component's go.mod it takes over, and which not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ohmykube.cache.catalog import GoRecipe
from ohmykube.cache.sources.go_mod import BuildModule, build_module
from ohmykube.errors import NetworkError

RECIPE = GoRecipe(module="a.org/app", version="v1.2.3", sum="h1:x=", packages={"app": "a.org/app"})


def required(**versions: str) -> list[dict[str, str]]:
    return [{"Path": f"{name}.org/{name}", "Version": v} for name, v in versions.items()]


def replaced(name: str, target: str, version: str = "", *, only: str = "") -> dict[str, Any]:
    old = {"Path": f"{name}.org/{name}"} | ({"Version": only} if only else {})
    return {"Old": old, "New": {"Path": target} | ({"Version": version} if version else {})}


def build(theirs: dict[str, Any], **changes: Any) -> BuildModule:
    return build_module(replace(RECIPE, **changes), theirs, "1.26.8")


def test_a_module_without_lines_of_its_own_keeps_the_short_form() -> None:
    theirs = {
        "Go": "1.24.0",
        "Godebug": [{"Key": "panicnil", "Value": "1"}],
        "Require": required(b="v1.0.0"),
        "Replace": [replaced("c", "../c")],  # of nothing that it requires
        "Retract": [{"Low": "v1.2.3", "High": "v1.2.3"}],
        "Tool": [{"Path": "b.org/b/cmd"}],
    }
    assert build(theirs) == BuildModule(
        "module ohmykube.build/node\ngo 1.26.8\ngodebug panicnil=1\nrequire a.org/app v1.2.3\n"
    )


def test_replaced_versions_bring_all_of_the_components_own_ones_along() -> None:
    theirs = {
        "Go": "1.25.0",
        "Toolchain": "go1.25.3",
        "Godebug": [{"Key": "default", "Value": "go1.24"}],
        "Require": required(b="v1.0.0", c="v0.5.0"),
        "Replace": [
            replaced("b", "fork.org/b", "v1.0.1"),
            replaced("c", "f.org/c", "v9", only="v0.5.0"),
        ],
        "Exclude": [{"Path": "d.org/d", "Version": "v3.0.0+incompatible"}],
        "Tool": [{"Path": "b.org/b/cmd"}],
    }
    found = build(theirs)
    assert found.go_mod.splitlines() == [
        "module ohmykube.build/node",
        "go 1.25.0",
        "godebug default=go1.24",
        "require a.org/app v1.2.3",
        "require b.org/b v1.0.0",
        "require c.org/c v0.5.0",
        "exclude d.org/d v3.0.0+incompatible",
        "replace b.org/b => fork.org/b v1.0.1",
        "replace c.org/c v0.5.0 => f.org/c v9",
    ]
    assert found.own_versions
    assert found.complete


def test_an_exclusion_alone_counts_and_a_very_old_go_mod_keeps_its_meaning() -> None:
    found = build(
        {"Require": required(b="v1.0.0"), "Exclude": [{"Path": "d.org/d", "Version": "v3.0.0"}]}
    )
    assert found.go_mod.splitlines() == [
        "module ohmykube.build/node",
        "go 1.16",
        "require a.org/app v1.2.3",
        "require b.org/b v1.0.0",
        "exclude d.org/d v3.0.0",
    ]
    assert found.complete


def test_what_the_recipe_states_wins_and_its_sum_must_be_looked_up() -> None:
    theirs = {
        "Go": "1.25.0",
        "Require": required(b="v1.0.0", c="v0.5.0"),
        "Replace": [replaced("b", "fork.org/b", "v1.0.1"), replaced("c", "./c")],
    }
    found = build(theirs, replace={"b.org/b": "b.org/b@v1.0.9", "c.org/c": "c.org/c@v0.6.0"})
    assert "replace b.org/b => b.org/b v1.0.9\n" in found.go_mod
    assert "replace c.org/c => c.org/c v0.6.0\n" in found.go_mod
    assert "fork.org" not in found.go_mod
    assert found.own_versions
    assert not found.complete


def test_a_directory_released_with_the_component_is_taken_as_released() -> None:
    theirs = {"Go": "1.25.0", "Require": required(b="v1.2.3"), "Replace": [replaced("b", "../b")]}
    assert build(theirs) == BuildModule(
        "module ohmykube.build/node\ngo 1.26.8\nrequire a.org/app v1.2.3\n"
    )
    theirs["Replace"] = [*theirs["Replace"], replaced("d", "fork.org/d", "v1.0.0")]  # type: ignore[misc]
    found = build(theirs)
    assert "require b.org/b v1.2.3\n" in found.go_mod
    assert "../b" not in found.go_mod
    assert found.own_versions
    assert not found.complete  # what was a directory to them has no sum in their go.sum


def test_staging_modules_are_no_directories_that_lack() -> None:
    theirs = {"Require": required(b="v0.0.0"), "Replace": [replaced("b", "./staging/b")]}
    found = build(theirs, staging="v0.36.3")
    assert "replace b.org/b => b.org/b v0.36.3\n" in found.go_mod
    assert not found.own_versions


@pytest.mark.parametrize("only", ["", "v0.0.0-20241216163035-3170ac6a0c58"])
def test_a_directory_of_another_version_is_refused(only: str) -> None:
    version = "v0.0.0-20241216163035-3170ac6a0c58"
    theirs = {"Require": required(b=version), "Replace": [replaced("b", "./pkg/b", only=only)]}
    with pytest.raises(NetworkError) as caught:
        build(theirs)
    error = caught.value
    assert error.id == "OMK-I-208"
    assert error.message == "a.org/app@v1.2.3 cannot be built from Go modules"
    for words in ("b.org/b", "./pkg/b", version):
        assert words in (error.why or "")
    assert "`replace` of the recipe" in (error.hint or "")
    stated = build(theirs, replace={"b.org/b": f"b.org/b@{version}"})
    assert f"replace b.org/b => b.org/b {version}\n" in stated.go_mod


def test_a_directory_for_another_version_than_the_required_one_means_nothing() -> None:
    theirs = {
        "Require": required(b="v1.0.0"),
        "Replace": [replaced("b", "./b", only="v0.9.0")],
    }
    assert not build(theirs).own_versions
