"""The fake provider's own: faults, several processes, entry point; and the recording reporter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ohmykube.errors import NotFoundError, ProviderError
from ohmykube.kit.paths import Paths
from ohmykube.model.machine import MachineSpec, MachineState
from ohmykube.progress import ItemProgress, Message
from ohmykube.providers import registry
from ohmykube.providers.base import Capabilities, CheckStatus, ProviderContext
from ohmykube.testing.fake_provider import FakeProvider, inject
from ohmykube.testing.reporter import RecordingReporter

if TYPE_CHECKING:
    from pathlib import Path

SPEC = MachineSpec(cluster="dev", node="cp1")


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(state=tmp_path / "s", data=tmp_path / "d", cache=tmp_path / "c")


@pytest.fixture
def context(paths: Paths) -> ProviderContext:
    return ProviderContext(paths=paths, reporter=RecordingReporter())


def test_is_found_by_its_name(context: ProviderContext) -> None:
    assert isinstance(registry.load("fake", context), FakeProvider)


def test_list_makes_no_files(context: ProviderContext, tmp_path: Path) -> None:
    assert list(FakeProvider(context).list("dev")) == []
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize("method", ["prepare", "list", "create", "start", "stop", "delete"])
def test_a_fault_comes_once_at_the_asked_call(
    context: ProviderContext, paths: Paths, method: str
) -> None:
    provider = FakeProvider(context)
    calls = {
        "prepare": provider.prepare,
        "list": lambda: provider.list("dev"),
        "create": lambda: provider.create(SPEC),
        "start": lambda: provider.start("dev", "cp1"),
        "stop": lambda: provider.stop("dev", "cp1"),
        "delete": lambda: provider.delete("dev", "none"),
    }
    provider.create(SPEC)
    inject(paths, method, call=2)
    calls[method]()
    with pytest.raises(ProviderError, match=f"{method} failed as asked"):
        calls[method]()
    calls[method]()


def test_a_failed_create_leaves_a_broken_machine(context: ProviderContext, paths: Paths) -> None:
    inject(paths, "create")
    with pytest.raises(ProviderError):
        FakeProvider(context).create(SPEC)
    (left,) = FakeProvider(context).list("dev")
    assert (left.state, left.ssh) == (MachineState.BROKEN, None)
    assert FakeProvider(context).create(SPEC).state is MachineState.RUNNING


def test_a_failed_check(context: ProviderContext, paths: Paths) -> None:
    provider = FakeProvider(context)
    assert [check.status for check in provider.check()] == [CheckStatus.OK]
    inject(paths, "check")
    assert [check.status for check in provider.check()] == [CheckStatus.FAIL]


def test_capabilities_can_be_given(context: ProviderContext) -> None:
    wanted = Capabilities(creates=False, powers=False)
    assert FakeProvider(context, wanted).capabilities == wanted


def test_start_of_nothing(context: ProviderContext) -> None:
    with pytest.raises(NotFoundError):
        FakeProvider(context).start("dev", "cp1")


def test_the_reporter_keeps_order_and_finds_by_kind() -> None:
    reporter = RecordingReporter()
    first, second = Message(text="a"), ItemProgress(item="b", activity="c")
    reporter.emit(first)
    reporter.emit(second)
    assert reporter.events == (first, second)
    assert reporter.of(ItemProgress) == (second,)
