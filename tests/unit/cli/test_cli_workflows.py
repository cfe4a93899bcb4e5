"""The seam to the real workflows: each method reaches its own, on a home with nothing in it."""

from __future__ import annotations

import dataclasses

import pytest

from ohmykube.cli._workflows import RealWorkflows
from ohmykube.config.document import to_document
from ohmykube.config.load import from_overrides
from ohmykube.config.overrides import Overrides
from ohmykube.errors import NotFoundError
from ohmykube.kit.paths import from_environment
from ohmykube.progress import NullReporter
from ohmykube.state.record import Record
from ohmykube.state.store import StateStore
from ohmykube.steps.base import Services


@pytest.fixture
def services(tmp_path) -> Services:
    return Services(
        paths=from_environment({"OHMYKUBE_HOME": str(tmp_path / "home")}), reporter=NullReporter()
    )


@pytest.mark.parametrize(
    ("method", "arguments"),
    [("status", ()), ("start", ()), ("stop", ()), ("kubeconfig", ()), ("shell_argv", ("n", ()))],
)
def test_there_is_no_such_cluster(services, method, arguments) -> None:
    with pytest.raises(NotFoundError):
        getattr(RealWorkflows(), method)(services, "nope", *arguments)
    assert not services.paths.state.exists()


def test_nothing_is_there(services) -> None:
    real = RealWorkflows()
    assert real.list_clusters(services) == ()
    assert real.names(services.paths) == ()
    assert real.node_names(services.paths, "nope") == ()
    assert not services.paths.state.exists()


def test_names_come_from_the_record(services) -> None:
    cluster = from_overrides(Overrides(name="dev", workers=1, provider="nspawn"))
    StateStore(services.paths.state).create(
        Record(
            id="x",
            name="dev",
            document=to_document(cluster),
            provider="nspawn",
            kubernetes_version=cluster.kubernetes_version,
        )
    )
    real = RealWorkflows()
    assert real.names(services.paths) == ("dev",)
    assert real.node_names(services.paths, "dev") == tuple(n.name for n in cluster.nodes)


@pytest.mark.parametrize("name", ["up", "down", "doctor"])
def test_arguments_are_handed_on(services, monkeypatch, name) -> None:
    import importlib

    module = importlib.import_module(f"ohmykube.workflows.{name}")
    monkeypatch.setattr(module, name, lambda *args, **kwargs: (args, kwargs))
    real = RealWorkflows()
    if name == "doctor":
        assert real.doctor(services, "ssh", fix=True) == ((services, "ssh"), {"fix": True})
    elif name == "down":
        assert real.down(services, "dev") == ((services, "dev"), {})
    else:
        assert real.up(services, "cluster", "options") == ((services, "cluster", "options"), {})


def test_the_sdk_has_what_it_promises() -> None:
    from ohmykube import sdk

    assert len(set(sdk.__all__)) == len(sdk.__all__)
    assert all(getattr(sdk, name).__module__.startswith("ohmykube.") for name in sdk.__all__
               if hasattr(getattr(sdk, name), "__module__") and name != "Event")  # fmt: skip
    assert dataclasses.is_dataclass(sdk.MachineSpec)
