"""Templates as use-cases: over the fake that clones, and refused by the one that does not."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING

import pytest

from ohmykube.config import load
from ohmykube.config.overrides import Overrides
from ohmykube.errors import LockedError, NotFoundError, PrerequisiteError
from ohmykube.kit import locks, paths
from ohmykube.model.machine import MachineSpec
from ohmykube.model.names import HIDDEN
from ohmykube.providers import registry
from ohmykube.providers.base import NewTemplate, ProviderContext
from ohmykube.steps import template_removal
from ohmykube.steps import templates as steps
from ohmykube.steps.context import Context, Services
from ohmykube.testing.fake_templates import FakeCloningProvider
from ohmykube.testing.reporter import RecordingReporter
from ohmykube.workflows import templates
from tests import artifact_locks

if TYPE_CHECKING:
    from collections.abc import Callable

LOCK = artifact_locks.of_packages()


@pytest.fixture
def services() -> Services:
    return Services(paths=paths.from_environment(), reporter=RecordingReporter())


@pytest.fixture
def freeze(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], FakeCloningProvider]:
    """Make the provider "fake" the one that clones; give a maker of templates."""
    context = ProviderContext(paths=services.paths, reporter=services.reporter)
    provider = FakeCloningProvider(context)
    monkeypatch.setattr(registry, "load", lambda _name, _context: provider)

    def make(key: str) -> FakeCloningProvider:
        provider.create(MachineSpec(cluster=f"{HIDDEN}x", node="a"))
        provider.freeze(f"{HIDDEN}x", "a", NewTemplate(key=key, role="worker", summary="s"))
        return provider

    return make


def test_a_provider_that_keeps_none_says_so(services: Services) -> None:
    cluster = load.from_overrides(Overrides(name="dev", provider="fake"))
    for call in (
        lambda: templates.list_templates(services, "fake"),
        lambda: templates.build(services, cluster),
        lambda: templates.prune(services, "fake", keep=1, max_bytes=None, dry_run=True),
        lambda: templates.select(services, "fake", ["a"]),
        lambda: templates.remove(services, "fake", []),
    ):
        with pytest.raises(PrerequisiteError) as caught:
            call()
        assert caught.value.id == "OMK-P-306"


def test_without_a_name_there_are_those_of_all_providers(services: Services) -> None:
    """Whether they could make machines now does not matter for looking at their templates."""
    assert templates.list_templates(services, "auto") == ()
    assert not services.paths.data.exists()


def test_each_provider_removes_its_own(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    keepers = {}
    for name in ("lima", "nspawn"):
        places = dataclasses.replace(services.paths, data=services.paths.data / name)
        context = ProviderContext(paths=places, reporter=services.reporter)
        keepers[name] = FakeCloningProvider(context)
    for name, keeper in keepers.items():
        keeper.create(MachineSpec(cluster=f"{HIDDEN}{name}", node="a"))
        key = name.encode().hex()
        keeper.freeze(f"{HIDDEN}{name}", "a", NewTemplate(key=key, role="worker", summary="s"))
    monkeypatch.setattr(registry, "load", lambda name, _context: keepers[name])
    monkeypatch.setattr(registry, "names", lambda: ("fake", "lima", "nspawn"))
    found = templates.list_templates(services, "auto")
    assert {bytes.fromhex(t.key).decode() for t in found} == {"lima", "nspawn"}
    (chosen,) = templates.select(services, "auto", [b"nspawn".hex()])
    templates.remove(services, "auto", [chosen])
    assert [len(keeper.templates()) for keeper in keepers.values()] == [1, 0]
    assert len(templates.prune(services, "auto", keep=0, max_bytes=None, dry_run=False)) == 1
    assert templates.list_templates(services, "auto") == ()


def test_the_last_used_comes_first(
    services: Services, freeze: Callable[[str], FakeCloningProvider]
) -> None:
    freeze("aa11")
    freeze("bb22").create(MachineSpec(cluster="dev", node="w1", template="aa11"))
    assert [t.key for t in templates.list_templates(services, "fake")] == ["aa11", "bb22"]


def test_templates_are_chosen_by_how_their_keys_begin(
    services: Services, freeze: Callable[[str], FakeCloningProvider]
) -> None:
    for key in ("aa11", "aa22", "bb33"):
        freeze(key)
    found = templates.select(services, "fake", ["aa", "aa1", "bb33"])
    assert [t.key for t in found] == ["aa11", "aa22", "bb33"]
    for word in ("c", ""):
        with pytest.raises(NotFoundError) as caught:
            templates.select(services, "fake", [word])
        assert caught.value.why == "templates here: aa11, aa22, bb33"
    templates.remove(services, "fake", found[:2])
    assert [t.key for t in templates.list_templates(services, "fake")] == ["bb33"]


def test_pruning_keeps_what_was_used_last_and_can_be_tried(
    services: Services, freeze: Callable[[str], FakeCloningProvider]
) -> None:
    for key in ("aa11", "bb22", "cc33"):
        freeze(key)
    for dry_run in (True, False):
        gone = templates.prune(services, "fake", keep=1, max_bytes=None, dry_run=dry_run)
        assert [t.key for t in gone] == ["bb22", "aa11"]
    assert [t.key for t in templates.list_templates(services, "fake")] == ["cc33"]


def test_nothing_is_removed_while_a_build_goes_on(
    services: Services, freeze: Callable[[str], FakeCloningProvider]
) -> None:
    freeze("aa11")
    found = templates.list_templates(services, "fake")
    with locks.exclusive(template_removal.lock_file(services), "a build"):
        with pytest.raises(LockedError):
            templates.remove(services, "fake", found)
        with pytest.raises(LockedError):
            templates.prune(services, "fake", keep=0, max_bytes=None, dry_run=False)
    assert templates.list_templates(services, "fake") == found


def test_a_build_that_finds_all_there_makes_nothing(
    services: Services,
    freeze: Callable[[str], FakeCloningProvider],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Resolving is the cache's business; here it is known what it comes to."""

    monkeypatch.setattr(templates, "resolved", lambda _ctx: contextlib.nullcontext(LOCK))
    provider = freeze("aa11")
    cluster = load.from_overrides(Overrides(name="dev", provider="fake"))
    ctx = Context(
        services=services,
        cluster=cluster,
        provider=provider,
        directory=services.paths.state,
        run_directory=services.paths.state,
    )
    wanted = steps.wanted_templates(ctx, LOCK)
    for new in wanted.values():
        provider.create(MachineSpec(cluster=f"{HIDDEN}x", node="a"))
        provider.freeze(f"{HIDDEN}x", "a", new)
    built = templates.build(services, cluster)
    assert {t.key for t in built.templates} == {new.key for new in wanted.values()}
    assert built.made == ()
    assert not services.paths.state.exists()
