"""The seam to the workflows: each command reaches its own, on a home with nothing in it."""

from __future__ import annotations

import dataclasses

import pytest

from ohmykube.cli._app import App
from ohmykube.cli._run import run


@pytest.mark.parametrize(
    "words",
    [
        ("status", "nope"),
        ("start", "nope"),
        ("stop", "nope"),
        ("kubeconfig", "nope"),
        ("shell", "n", "--name", "nope"),
        ("cp", "a", "n:/a", "--name", "nope"),
        ("image", "list", "--name", "nope"),
    ],
    ids=" ".join,
)
def test_there_is_no_such_cluster(tmp_path, capfd, words) -> None:
    assert run(words, environ={"OHMYKUBE_HOME": str(tmp_path / "home")}) == 6
    assert "nope" in capfd.readouterr().err
    assert not (tmp_path / "home" / "state" / "clusters").exists()


def test_nothing_is_there(tmp_path, capfd) -> None:
    assert run(["list"], environ={"OHMYKUBE_HOME": str(tmp_path / "home")}) == 0
    assert capfd.readouterr().out == "There is no cluster; make one with: ohmykube up\n"
    assert not (tmp_path / "home").exists()


def test_a_workflow_gets_the_services_and_all_that_was_said(tmp_path) -> None:
    app = App.for_process({"OHMYKUBE_HOME": str(tmp_path)})
    assert app.call(lambda *args, **kwargs: (args, kwargs), "ssh", fix=True) == (
        (app.services, "ssh"),
        {"fix": True},
    )
    app.bind = lambda workflow: lambda services: (workflow, services)
    assert app.call(len) == (len, app.services)
    app.close()


def test_the_sdk_has_what_it_promises() -> None:
    from ohmykube import sdk

    assert len(set(sdk.__all__)) == len(sdk.__all__)
    assert all(getattr(sdk, name).__module__.startswith("ohmykube.") for name in sdk.__all__
               if hasattr(getattr(sdk, name), "__module__") and name != "Event")  # fmt: skip
    assert dataclasses.is_dataclass(sdk.MachineSpec)
